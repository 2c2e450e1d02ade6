"""A batch to bytes, and bytes to rows that are known to be right.

Nothing leaves this module as a vector that was not checked: the count, the `index` of
each row (a permutation), one width, every number a finite float. Whatever is wrong with
a 200 is one `InvalidReply` that says what.
"""

from __future__ import annotations

import base64
import binascii
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from struct import unpack
from typing import Any

import orjson

from together_embed.engine.outcome import Reply
from together_embed.errors import StatusError, class_of

Row = list[float]
"""One embedding: `width` Python floats."""

EXCERPT = 300
"""Characters of a server's own words that an error keeps."""


class InvalidReply(Exception):  # noqa: N818 - it names an answer
    """A 200 that is no answer to the request; the message says why."""


def encode(
    model: str, texts: Sequence[str], extra: Mapping[str, Any] | None = None
) -> bytes:
    """Return the body of the request for `texts`, in the contract's own order."""
    return orjson.dumps({"model": model, "input": texts, **(extra or {})})


def size(text: str) -> int:
    """Return how many bytes a text takes in a body, its comma included.

    Raises:
        UnicodeEncodeError: The text holds a lone surrogate.
    """
    try:
        return len(orjson.dumps(text)) + 1
    except orjson.JSONEncodeError:
        text.encode()  # names the place
        raise


def read_rows(body: bytes, count: int, width: int | None = None) -> list[Row]:
    """Return the `count` rows of an answer in the order of the request's texts.

    Args:
        body: The body of a 200.
        count: How many texts the request held.
        width: The width that every row must have; None where none is known yet.

    Raises:
        InvalidReply: Anything at all is wrong with the answer.
    """
    try:
        data = orjson.loads(body)["data"]
        items = [(item["index"], item["embedding"]) for item in data]
    except orjson.JSONDecodeError as error:
        raise InvalidReply(f"not JSON: {error.msg}") from None
    except (TypeError, KeyError, IndexError):
        raise InvalidReply("no list of rows with index and embedding") from None
    if len(items) != count:
        raise InvalidReply(f"{len(items)} rows for {count} texts")
    rows: list[Row | None] = [None] * count
    for index, embedding in items:
        if type(index) is not int or not 0 <= index < count:
            raise InvalidReply(f"index {_brief(index)} is not in 0..{count - 1}")
        if rows[index] is not None:
            raise InvalidReply(f"index {index} comes twice")
        row = _row(embedding, index)
        width = width or len(row)
        if len(row) != width:
            raise InvalidReply(f"row {index} is {len(row)} wide, not {width}")
        rows[index] = row
    return rows  # type: ignore[return-value]  # a permutation leaves no None


def _row(embedding: object, index: int) -> Row:
    """Check one embedding in either form and return it as a list of floats."""
    if type(embedding) is str:
        row = _from_base64(embedding, index)
    elif type(embedding) is list:
        row = embedding
        # countOf compares identities in C: the cheapest exact check of all types.
        if operator.countOf(map(type, row), float) != len(row):
            row = _all_floats(row, index)
    else:
        raise InvalidReply(f"row {index} is no list of numbers")
    if not row:
        raise InvalidReply(f"row {index} is empty")
    return row


def _all_floats(row: list[Any], index: int) -> Row:
    """Turn a row with JSON integers into floats; refuse everything else in it."""
    if not set(map(type, row)) <= {float, int}:
        raise InvalidReply(f"row {index} holds something that is no number")
    return [float(number) for number in row]


def _from_base64(text: str, index: int) -> Row:
    """Decode little-endian float32, and refuse what is not finite.

    A JSON number needs no such check: the parser refuses NaN and infinities.
    """
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidReply(f"row {index} is a string, but not base64") from None
    if len(packed) % 4:
        raise InvalidReply(f"row {index} is no whole number of float32")
    row = list(unpack(f"<{len(packed) // 4}f", packed))
    # The sum of finite float32 cannot overflow a double: it tells of each number.
    if not math.isfinite(sum(row)):
        raise InvalidReply(f"row {index} holds a number that is not finite")
    return row


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 20 else f"{text[:20]}…"


def read_error(reply: Reply, scrub: Callable[[str], str]) -> StatusError:
    """Return the error that an answer other than 200 stands for.

    Understands the contract's schema, `{"detail": "…"}`, `{"detail": [{"loc", "msg"}]}`
    and plain text or HTML, of which an excerpt is kept.

    Args:
        reply: The answer; its body may have been cut.
        scrub: Takes the key, and the request's texts, out of a server's words.
    """
    fields = _error_fields(reply.body)
    type_, param, code = (
        _name(fields.get(k), scrub) for k in ("type", "param", "code")
    )
    message = excerpt(str(fields.get("message") or "no message"), scrub)
    if location := reply.headers.get("location"):
        message = excerpt(f"redirect to {location.partition('?')[0]}", scrub)
    request_id = reply.headers.get("x-request-id") or fields.get("id")
    kind = class_of(reply.status, type=type_, code=code, message=message)
    return kind(
        message,
        status=reply.status,
        type=type_,
        param=param,
        code=code,
        request_id=_name(request_id, scrub),
    )


def _error_fields(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": _plain(body.decode("utf-8", "replace"))}
    if not isinstance(answer, dict):
        return {"message": _plain(str(answer))}
    error = answer.get("error", answer)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    fields = {"id": answer.get("id"), **error}
    # Newer refusals carry their kind at the top level, beside `error`.
    for name in ("type", "code"):
        fields[name] = (
            error.get(name) if error.get(name) is not None else answer.get(name)
        )
    detail = error.get("detail")
    if fields.get("message") is None and detail is not None:
        fields["message"] = _detail(detail)
    return fields


def _detail(detail: object) -> str:
    """Say what a validator found, without the input that it repeats."""
    if not isinstance(detail, list):
        return str(detail)
    found = [item for item in detail[:3] if isinstance(item, dict)]
    return "; ".join(
        f"{'.'.join(map(str, item.get('loc') or ()))}: {item.get('msg')}"
        for item in found
    )


def _plain(text: str) -> str:
    """Take the tags out of a page of HTML; leave plain text as it is."""
    text = re.sub(r"(?s)<(script|style).*?</\1>", " ", text[: 20 * EXCERPT])
    return re.sub(r"<[^<>]{1,300}>", " ", text)


def _name(value: object, scrub: Callable[[str], str]) -> str | None:
    return None if value is None else excerpt(str(value), scrub)[:100]


def excerpt(text: str, scrub: Callable[[str], str]) -> str:
    """Return the start of a server's words on one line, scrubbed before it is cut."""
    text = " ".join(scrub(text[: 20 * EXCERPT]).split())
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
