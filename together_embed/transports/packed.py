"""Unpacks the body of an answer, no further than a right one can be.

Both transports read bodies as they come over the network, and have them unpacked here:
so both refuse the same, the bytes on the network can be counted, and an answer that
unpacks to a thousand times its size is dropped at the bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.transports.route import MAX_ERROR, MAX_REPLY

STEP = 1024 * 1024
"""Bytes that are unpacked at a time, at most."""
PIECE = 64 * 1024
"""Bytes that are given to zlib at a time: it hands back copies of what is left."""
MEMBERS = 10_000
"""Parts of a gzip body, each packed by itself: one is usual, and many empty ones make
much work of few bytes."""
ZLIB, RAW, GZIP = 15, -15, 31
"""What zlib calls the three wrappings of deflate."""


def bound_of(status: int) -> int:
    """Return how many bytes of an answer's body are read, packed or not."""
    return MAX_REPLY if status == 200 else MAX_ERROR


def whole(status: int, headers: Mapping[str, str], pieces: list[bytes]) -> Outcome:
    """Return the answer whose body came in these pieces, as far as it was read."""
    bound, size = bound_of(status), sum(map(len, pieces))
    if status == 200 and size > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity") or not body:
        return Reply(status, headers, body[:bound], size)
    unpacked: list[bytes] = []
    try:
        for piece in _pieces(body, coding):
            unpacked.append(piece)
            bound -= len(piece)
            if bound < 0:
                break
    except zlib.error:
        if status == 200:
            return Lost(Cause.CONNECTION, "the answer could not be unpacked")
        unpacked = []  # its status says enough
    if status == 200 and bound < 0:
        return Lost(Cause.TOO_LARGE, f"over {bound_of(status)} bytes")
    return Reply(status, headers, b"".join(unpacked)[: bound_of(status)], size)


def _pieces(body: bytes, coding: str) -> Iterator[bytes]:
    """Yield the content of a body, piece by piece.

    Raises:
        zlib.error: It is not of that coding, or not whole, or of an unknown one.
    """
    if coding in ("gzip", "x-gzip"):
        kind = GZIP
    elif coding == "deflate":  # some servers leave the wrapping out
        kind = ZLIB if body[0] & 0x0F == 8 else RAW
    else:
        raise zlib.error("a coding that nobody asked for")
    at = members = 0
    while at < len(body):
        members += 1
        if members > MEMBERS:
            raise zlib.error("in more parts than anybody packs")
        unpacker = zlib.decompressobj(kind)
        while not unpacker.eof:
            given = unpacker.unconsumed_tail
            if not given:
                given = body[at : at + PIECE]
                at += len(given)
            piece = unpacker.decompress(given, STEP)
            if not piece and not given and not unpacker.eof:
                raise zlib.error("not whole")
            yield piece
        if kind != GZIP:
            return
        at -= len(unpacker.unused_data)
