"""simdjson in the place of Python floats: the same numbers, or no opinion."""

from __future__ import annotations

import json
import random
import struct
import sys

import numpy as np
import pytest

from together_embed.engine import quick, wire
from together_embed.engine.rows import Arrays
from together_embed.memory import _packed


@pytest.fixture
def decode() -> quick.Decode:
    found = quick.decoder()
    assert found is not None, "the tests need simdjson"
    return found


def numbers() -> list[float | int]:
    """Return numbers as servers write them: of float32, of doubles, whole, tiny."""
    dice = random.Random(1)
    narrow = [struct.unpack("<f", dice.randbytes(4))[0] for _ in range(3_000)]
    wide = [dice.gauss(0, 0.03) for _ in range(3_000)]
    short = [round(number, 6) for number in wide]
    edges = [1, -3, 2**53 + 1, 2**64 - 1, 1e-320, 3.4e38, 5e-324, 0.1]
    every = [*narrow, *wide, *short, *edges]
    return [number for number in every if 0 < abs(number) < 3.4e38]


def body_of(*rows: object, **more: object) -> bytes:
    data = [{"embedding": row, "index": n, "object": "x"} for n, row in enumerate(rows)]
    return json.dumps({"data": data, **more}).encode()


def test_its_arrays_are_the_plain_ones_bit_for_bit(decode: quick.Decode) -> None:
    row = numbers()
    body = body_of(row, row[::-1], usage={"total_tokens": 7}, model="m")
    plain, quickly = wire.read_answer(body, 2), wire.read_answer(body, 2, decode)
    assert [type(found) for found in quickly.embeddings] == [np.ndarray] * 2
    assert (quickly.model, quickly.tokens) == (plain.model, plain.tokens) == ("m", 7)
    form = Arrays()
    expected = form.read(plain.embeddings, None)
    assert form.read(quickly.embeddings, None).tobytes() == expected.tobytes()


def test_what_is_kept_of_its_rows_is_what_would_be_kept_of_the_plain_ones(
    decode: quick.Decode,
) -> None:
    for row in ([0.5, 2.0], [0.1, 2.0]):
        (plain,) = wire.read_answer(body_of(row), 1).embeddings
        (quickly,) = wire.read_answer(body_of(row), 1, decode).embeddings
        assert _packed(quickly) == _packed(plain)


@pytest.mark.parametrize(
    "body",
    [
        body_of("AACAPw=="),
        body_of([1.0, -0]).replace(b" 0]", b" -0]"),
        body_of([[1.0], [2.0]]),
        body_of([1.0, [2.0]]),
        body_of([1.0, "2"]),
        body_of([1.0], model="a[b"),
        body_of([1.0]).replace(b'"index": 0', b'"index": 1, "index": 0'),
        body_of([1.0]).replace(b'"index": 0', b'"index": 0.0'),
        body_of([1.0]).replace(b'{"data"', b'{"data": [], "data"'),
        b"\xef\xbb\xbf" + body_of([1.0]),
        body_of([1.0])[:-1],
        b'{"data": {"index": 0, "embedding": [1.0, [2.0]]}}',
        b"[" + body_of([1.0]) + b"]",
    ],
    ids=lambda body: body.decode("utf-8", "replace"),
)
def test_on_what_is_not_plain_it_has_no_opinion(
    body: bytes, decode: quick.Decode
) -> None:
    assert decode(body, 1) is None


def test_it_goes_on_after_an_answer_that_it_could_not_read(
    decode: quick.Decode,
) -> None:
    for body in (b"{[", body_of([1.0], ["2"]), body_of([1.0], [2.0])):
        decoded = decode(body, 2)
    assert decoded is not None


def test_without_simdjson_an_array_is_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "simdjson", None)
    monkeypatch.setattr(quick, "_simdjson", quick._simdjson.__wrapped__)
    assert quick.decoder() is None
    answer = wire.read_answer(body_of([1.0, 2.0]), 1, quick.decoder())
    assert Arrays().read(answer.embeddings, None).tolist() == [[1.0, 2.0]]
