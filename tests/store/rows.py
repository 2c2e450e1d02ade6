"""Rows that tell by their numbers which key they belong to."""

from collections.abc import Sequence
from hashlib import blake2b
from struct import pack, unpack

from together_embed.store import Row


def key(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=32).digest()


def row(number: int, width: int = 8) -> Row:
    """Return float32 numbers, but for every third key, whose numbers need 64 bits."""
    exact = [number + place / 7 for place in range(width)]
    return (
        exact
        if number % 3 == 0
        else list(unpack(f"{width}f", pack(f"{width}f", *exact)))
    )


def items(numbers: Sequence[int], width: int = 8) -> list[tuple[bytes, Row]]:
    return [(key(number), row(number, width)) for number in numbers]
