"""Judges answers slowly: what an answer means, and whether the library reads it so.

The judge reads with the standard library's parser and looks at each thing by itself. It
shares no line with what it judges.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

from together_embed.engine import quick, wire
from together_embed.engine.rows import LISTS, Arrays, InvalidReply

Rows = list[list[float]]
ARRAYS = Arrays()
DECODE = quick.decoder()
FLOAT32_MAX = float(struct.unpack("<f", b"\xff\xff\x7f\x7f")[0])


def read(body: bytes, count: int) -> Rows | None:
    """Do what the library does with an answer; None where it refuses it."""
    try:
        return LISTS.read(wire.read_answer(body, count).embeddings, None)
    except InvalidReply:
        return None


def read_array(
    body: bytes, count: int, decode: quick.Decode | None = None
) -> Rows | None:
    """Do the same with arrays."""
    try:
        rows = ARRAYS.read(wire.read_answer(body, count, decode).embeddings, None)
    except InvalidReply:
        return None
    found: Rows = rows.tolist()
    return found


def judge(body: bytes, count: int) -> Rows | None:
    """Say which rows an answer means; None where it means none."""
    try:
        answer = json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse)
        items = answer["data"]
        assert isinstance(items, list)
        numbers = [item["index"] for item in items]
        assert all(type(number) is int for number in numbers)
        assert sorted(numbers) == list(range(count))
        rows = [_row(item["embedding"]) for item in sorted(items, key=_index)]
        assert len({len(row) for row in rows}) == 1
    except (AssertionError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return rows


def is_clear(body: bytes) -> bool:
    """Tell whether an answer is UTF-8 and names nothing twice: it means one thing.

    Its numbers, also those that nobody asks for, are such as a double can hold. What
    is not clear may be refused, and may be read as the judge reads it.
    """
    try:
        named = {"parse_float": _finite, "parse_int": _finite}
        answer = json.loads(body.decode("utf-8"), object_pairs_hook=_once, **named)
        json.dumps(answer, ensure_ascii=False).encode()  # not so with half a surrogate
    except ValueError:
        return False
    return True


def as_float32(rows: Rows | None) -> Rows | None:
    """Say what is left of rows in float32; None where a number has no place there."""
    if rows is None:
        return None
    try:
        packed = [struct.pack(f"<{len(row)}f", *row) for row in rows]
    except OverflowError:
        return None
    return [list(struct.unpack(f"<{len(row) // 4}f", row)) for row in packed]


def check(body: bytes, count: int) -> bool:
    """Read an answer in both forms, and by simdjson; hold them against the judge.

    Returns:
        Whether it was taken, with the rows that it means.

    Raises:
        AssertionError: It was misread, or refused although it is right.
    """
    meant = judge(body, count)
    rows, array = read(body, count), read_array(body, count)
    quickly = read_array(body, count, DECODE)
    # As text, since 0.0 equals -0.0.
    assert str(quickly) == str(array), ("read in another way", body, count)
    if rows is None and array is None:
        fits = meant is not None and as_float32(meant) is not None
        assert not (fits and is_clear(body)), ("refused", body, count)
        return False
    assert rows == meant, ("misread", body, count)
    assert array == as_float32(meant), ("misread into an array", body, count)
    return True


def _index(item: dict[str, Any]) -> int:
    number: int = item["index"]
    return number


def _refuse(_: str) -> None:
    raise ValueError


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError
    return float(number)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError
    return named


def _row(embedding: Any) -> list[float]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding.encode("ascii"), validate=True)
        assert base64.b64encode(raw).decode()[:-3] == embedding[:-3]
        assert raw
        assert len(raw) % 4 == 0
        row: Any = struct.unpack(f"<{len(raw) // 4}f", raw)
    else:
        assert isinstance(embedding, list)
        assert embedding
        assert all(type(number) in (int, float) for number in embedding)
        row = map(float, embedding)
    numbers = list(row)
    assert all(map(math.isfinite, numbers))
    return numbers


def packed(row: list[float]) -> str:
    """Write a row as base64 of float32."""
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
