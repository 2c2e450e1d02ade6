"""Rows to bytes and back, and the seal that damage breaks."""

import math
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_embed.store import Packed, pack, unpack
from together_embed.store.packing import seal, unseal

from .rows import key, row

finite = st.floats(allow_nan=False, allow_infinity=False)
single = st.floats(width=32, allow_nan=False, allow_infinity=False)


def bits(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


@given(st.lists(finite, min_size=1))
def test_a_row_comes_back_bit_for_bit(numbers: list[float]) -> None:
    assert bits(unpack(pack(numbers))) == bits(numbers)


@given(st.lists(single, min_size=1))
def test_a_row_of_float32_takes_four_bytes_a_number(numbers: list[float]) -> None:
    packed = pack(numbers)
    assert packed.code == "f"
    assert len(packed.data) == 4 * len(numbers)
    assert bits(unpack(packed)) == bits(numbers)


@pytest.mark.parametrize("number", [0.1, 1e300, 1e-300, 1e39, 5e-324, 16777217.0])
def test_one_number_that_is_no_float32_keeps_its_row_at_64_bits(number: float) -> None:
    packed = pack([0.5, number])
    assert packed.code == "d"
    assert unpack(packed) == [0.5, number]


def test_the_sign_of_zero_is_kept() -> None:
    assert math.copysign(1, unpack(pack([-0.0, 1.0]))[0]) == -1


def test_an_empty_row_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        pack([])


def test_packed_bytes_are_little_endian() -> None:
    assert pack([1.0]) == Packed("f", b"\x00\x00\x80\x3f")


def test_a_sealed_row_opens_under_its_own_key_only() -> None:
    packed = pack(row(1))
    sealed = seal(key(1), packed)
    assert unseal(key(1), sealed) == packed
    assert all(unseal(key(other), sealed) is None for other in range(2, 500))


def test_no_changed_byte_goes_unseen() -> None:
    sealed = seal(key(1), pack(row(1)))
    for place in range(len(sealed)):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(sealed)
            changed[place] ^= flip
            assert unseal(key(1), bytes(changed)) is None


@pytest.mark.parametrize("seed", range(5))
def test_no_other_bytes_are_taken_for_a_row(seed: int) -> None:
    chance = random.Random(seed)
    sealed = seal(key(1), pack(row(1)))
    for length in range(len(sealed)):
        assert unseal(key(1), sealed[:length]) is None
        assert unseal(key(1), sealed + sealed[:length]) is None or length == 0
        assert unseal(key(1), chance.randbytes(length)) is None


@pytest.mark.parametrize("other", [None, 1, 1.5, "text", []])
def test_what_is_no_bytes_is_no_row(other: object) -> None:
    assert unseal(key(1), other) is None


def test_a_stamped_form_that_nobody_knows_is_no_row() -> None:
    from together_embed.store.packing import stamp

    for body in (b"", b"f", b"fabc", b"dabcd", b"xabcd"):
        assert unseal(key(1), stamp(key(1), body)) is None
