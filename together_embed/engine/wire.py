"""A batch to bytes, and bytes to embeddings in the order of the batch's texts.

Nothing leaves this module unchecked: the count, the `index` of each row (a
permutation), and that a row is numbers or text. `rows` checks the rows themselves.
Whatever is wrong with a 200 is one `InvalidReply` that says what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from together_embed.engine.outcome import Reply
from together_embed.engine.rows import Embedding, ErrorReply, InvalidReply
from together_embed.errors import StatusError, class_of

if TYPE_CHECKING:
    from together_embed.engine.quick import Decode

EXCERPT = 300
"""Characters of a server's own words that an error keeps."""
COMPLAINT = 64 * 1024
"""Bytes of a 200 that is no answer which are looked at for an error."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Item(msgspec.Struct, gc=False):
    index: int
    embedding: list[float] | bytes


class _Answer(msgspec.Struct, gc=False):
    data: list[_Item]
    model: Any = None
    usage: Any = None


class _Complaint(msgspec.Struct, gc=False):
    error: dict[str, Any] | str


# Types, finiteness and integers that become floats cost 6 % of the parse this way;
# a second pass over parsed lists would cost 30 %.
_answers = msgspec.json.Decoder(_Answer)
_complaints = msgspec.json.Decoder(_Complaint)


def encode(
    model: str, texts: Sequence[str], extra: Mapping[str, Any] | None = None
) -> bytes:
    """Return the body of the request for `texts`, in the contract's own order."""
    return msgspec.json.encode({"model": model, "input": texts, **(extra or {})})


def size(text: str) -> int:
    """Return how many bytes a text takes in a body, its comma included.

    Raises:
        UnicodeEncodeError: The text holds a lone surrogate.
    """
    return len(msgspec.json.encode(text)) + 1


def size_of_all(texts: Sequence[str]) -> int:
    """Return the sum of the sizes of one text or more."""
    return len(msgspec.json.encode(texts)) - 1  # of n texts: n - 1 commas, two brackets


class Answer(msgspec.Struct, frozen=True):
    """An answer of the right shape; its numbers are not looked at yet.

    Attributes:
        embeddings: One for each text of the request, in their order.
        model: The name that the server answered with, or None.
        tokens: What the server counted for the request, or None.
    """

    embeddings: list[Embedding]
    model: str | None
    tokens: int | None = None


def read_answer(body: bytes, count: int, decode: Decode | None = None) -> Answer:
    """Return the answer to a request of `count` texts.

    Args:
        body: Its bytes.
        count: How many texts.
        decode: Decodes what is plainly right faster than is done here.

    Raises:
        InvalidReply: It has another shape or count, or its `index` is no permutation.
    """
    answer = _decoded(body, count, decode)
    if len(answer.data) != count:
        raise InvalidReply(f"{len(answer.data)} rows for {count} texts")
    ordered: list[Any] = [None] * count
    for item in answer.data:
        if not 0 <= item.index < count:
            raise InvalidReply(f"an index outside of 0..{count - 1}")
        if ordered[item.index] is not None:
            raise InvalidReply(f"index {item.index} comes twice")
        ordered[item.index] = item.embedding
    model = answer.model if isinstance(answer.model, str) else None
    return Answer(ordered, model, _tokens(answer.usage))


def _decoded(body: bytes, count: int, decode: Decode | None) -> _Answer:
    if decode is not None and (decoded := decode(body, count)):
        rows, model, usage = decoded
        return _Answer([_Item(*row) for row in rows], model, usage)  # type: ignore[arg-type]
    try:
        return _answers.decode(body)
    except _UNREADABLE as error:
        if said := _complaint(body):
            raise ErrorReply(said) from None
        raise InvalidReply(f"no embeddings response: {error}") from None


def _complaint(body: bytes) -> str | None:
    """Return what a gateway says that hands an error on with a status of 200."""
    try:
        error = _complaints.decode(body[:COMPLAINT]).error
    except _UNREADABLE:
        return None
    said = error if isinstance(error, str) else error.get("message")
    return None if said is None else _words(said)


def _tokens(usage: object) -> int | None:
    """Read what was counted; some gateways invent a count of zero."""
    if not isinstance(usage, dict):
        return None
    counted = usage.get("total_tokens") or usage.get("prompt_tokens")
    return counted if type(counted) is int and counted > 0 else None


def read_error(reply: Reply, scrub: Callable[[str], str]) -> StatusError:
    """Return the error that an answer other than 200 stands for.

    Understands the contract's schema, `{"detail": "…"}`, `{"detail": [{"loc", "msg"}]}`
    and plain text or HTML, of which an excerpt is kept.

    Args:
        reply: The answer; its body may have been cut.
        scrub: Takes the key, and the request's texts, out of a server's words.
    """
    fields = _error_fields(reply.body, scrub)
    type_, param, code = (
        _name(fields.get(k), scrub) for k in ("type", "param", "code")
    )
    message = excerpt(_words(fields.get("message") or "no message"), scrub)
    if location := reply.headers.get("location"):
        # Without the parts of an address that may hold a secret.
        where = re.sub(r"//[^/@]*@", "//", location.partition("?")[0])
        message = excerpt(f"redirect to {where}", scrub)
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


def _error_fields(body: bytes, scrub: Callable[[str], str]) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except _UNREADABLE:
        return {"message": _plain(scrub(body.decode("utf-8", "replace")))}
    if not isinstance(answer, dict):
        return {"message": _words(answer)}
    error = answer.get("error")
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        error = answer
    fields = {"id": answer.get("id"), **error}
    # Newer refusals carry their kind at the top level, beside `error`.
    for name in ("type", "code"):
        fields[name] = (
            error.get(name) if error.get(name) is not None else answer.get(name)
        )
    detail = error.get("detail")
    if fields.get("message") is None and detail is not None:
        fields["message"] = _detail(detail)
        fields.setdefault("param", _field(detail))
    return fields


def _detail(detail: object) -> str:
    """Say what a validator found, without the input that it repeats."""
    if not isinstance(detail, list):
        return _words(detail)
    found = [item for item in detail[:3] if isinstance(item, dict)]
    return "; ".join(
        f"{_place(item.get('loc'))}: {_words(item.get('msg'))}" for item in found
    )


def _field(detail: object) -> object:
    """Return the field of the body that a validator minds, if it is one alone."""
    items = detail if isinstance(detail, list) else []
    places = [item.get("loc") if isinstance(item, dict) else None for item in items]
    fields = {
        _words(place[1]) if isinstance(place, list) and len(place) > 1 else None
        for place in places
    }
    return fields.pop() if len(fields) == 1 else None


def _place(loc: object) -> str:
    return ".".join(map(_words, loc)) if isinstance(loc, list) else _words(loc)


def _words(value: object) -> str:
    """Return a value of a server's JSON as text, whatever it sent there."""
    try:
        return str(value)
    except (RecursionError, ValueError):  # too deep, or an integer without end
        return "an answer that cannot be shown"


def _plain(text: str) -> str:
    """Take the tags out of a page of HTML; leave plain text as it is."""
    text = re.sub(r"(?s)<(script|style).*?</\1>", " ", text[: 20 * EXCERPT])
    return re.sub(r"<[^<>]{1,300}>", " ", text)


def _name(value: object, scrub: Callable[[str], str]) -> str | None:
    return None if value is None else excerpt(_words(value), scrub)[:100]


def excerpt(text: str, scrub: Callable[[str], str]) -> str:
    """Return the start of a server's words on one line, scrubbed before it is cut.

    What no printer shows, such as a command to a terminal, becomes a question mark.
    """
    text = " ".join(scrub(text)[: 20 * EXCERPT].split())
    text = text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
    return "".join(letter if letter.isprintable() else "?" for letter in text)
