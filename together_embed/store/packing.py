"""A row of floats to bytes and back, bit for bit, with a seal that damage breaks.

A packed row is little-endian float32 where every number is one, else float64. A sealed
row is 8 bytes of checksums, "f" or "d", and the numbers. The checksums run over the
row's key too: the row of another text is no row of this one.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple
from zlib import adler32, crc32

Row = list[float]
"""One embedding: `width` Python floats."""

_CHECKSUMS = struct.Struct("<II").pack
_FORMS: dict[bytes, tuple[Literal["f", "d"], int]] = {b"f": ("f", 4), b"d": ("d", 8)}


class Packed(NamedTuple):
    """A row as bytes, ready for `numpy.frombuffer(data, "<f4")` or `"<f8"`.

    Attributes:
        code: "f" for float32, "d" for float64.
        data: The numbers, little-endian, `width` times 4 or 8 bytes.
    """

    code: Literal["f", "d"]
    data: bytes


def pack(row: Row) -> Packed:
    """Pack a row, in half the bytes where float32 holds all of it.

    Raises:
        ValueError: The row is empty.
    """
    if not row:
        raise ValueError("an empty row is no vector")
    try:
        data = struct.pack(f"<{len(row)}f", *row)
    except OverflowError:  # a number that no float32 comes near
        data = b""
    narrow = Packed("f", data)
    if unpack(narrow) == row:
        return narrow
    return Packed("d", struct.pack(f"<{len(row)}d", *row))


def unpack(packed: Packed) -> Row:
    """Return the row as a list of its own."""
    code, data = packed
    return list(struct.unpack(f"<{len(data) // (4 if code == 'f' else 8)}{code}", data))


def seal(key: bytes, packed: Packed) -> bytes:
    """Return the bytes to keep under `key`."""
    code = packed.code.encode()
    return _checksums(key + code, packed.data) + code + packed.data


def unseal(key: bytes, sealed: object) -> Packed | None:
    """Return what was sealed under `key`, or None where it is not that any more."""
    if type(sealed) is not bytes:
        return None
    sums, named, data = sealed[:8], sealed[8:9], sealed[9:]
    code, size = _FORMS.get(named, ("f", 0))
    if not (size and data) or len(data) % size or sums != _checksums(key + named, data):
        return None
    return Packed(code, data)


def stamp(key: bytes, body: bytes) -> bytes:
    """Return `body` behind the checksums of it and of its key."""
    return _checksums(key, body) + body


def unstamp(key: bytes, stamped: object) -> bytes | None:
    """Return the body, or None where the checksums are not those of it and its key."""
    if type(stamped) is not bytes:
        return None
    body = stamped[8:]
    return body if stamped[:8] == _checksums(key, body) else None


def _checksums(head: bytes, body: bytes) -> bytes:
    """Return 8 bytes for all that is in both: two sums, at half a digest's cost.

    They are there against accidents: whoever can write to the file can forge any seal.
    """
    return _CHECKSUMS(crc32(body, crc32(head)), adler32(body, adler32(head)))
