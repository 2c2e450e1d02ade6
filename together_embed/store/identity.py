"""The identity of a vector: one digest of all that decides what the vector is.

Two vectors share an identity exactly where endpoint, model, requested dimensions,
further fields of the body and the text as it was sent, prefix included, are the same.
The key, the batch size and the encoding of the answer are no part of it. Every field is
framed by its length, so that no two lists of fields run into the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

DIGEST_BYTES = 32
"""Bytes of an identity: 128 bits against collisions, chosen ones included."""

# A change of what is hashed needs a new number here, or old vectors would be mistaken.
_VECTOR = b"tembed vector 1"
_NOTE = b"tembed note 1"


def identity(
    endpoint: str, model: str, dimensions: int | None, extra: bytes, sent: str
) -> bytes:
    """Return the identity of the vector of one text.

    Args:
        endpoint: The canonical base URL.
        model: The model's name as it is sent.
        dimensions: The width asked for; None where none is.
        extra: The body's further fields, as `canonical` spells them.
        sent: The text as it is sent, prefix included.
    """
    return identities(endpoint, model, dimensions, extra, (sent,))[0]


def identities(
    endpoint: str,
    model: str,
    dimensions: int | None,
    extra: bytes,
    sent: Iterable[str],
) -> list[bytes]:
    """Return the identity of each text; what they have in common is hashed once."""
    common = _digest(_VECTOR, endpoint, model, dimensions, extra)
    found: list[bytes] = []
    for text in sent:
        own = common.copy()
        own.update(_frame(_bytes(text)))
        found.append(own.digest())
    return found


def subject(endpoint: str, model: str, dimensions: int | None, extra: bytes) -> bytes:
    """Return what a note is kept under: all of an identity but the text."""
    return _digest(_NOTE, endpoint, model, dimensions, extra).digest()


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Spell the body's further fields the same way whatever their order.

    Raises:
        TypeError: A value is none that JSON knows.
    """
    return json.dumps(
        fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True
    ).encode()


def _digest(
    use: bytes, endpoint: str, model: str, dimensions: int | None, extra: bytes
) -> blake2b:
    digest = blake2b(digest_size=DIGEST_BYTES, person=use)
    asked = b"" if dimensions is None else str(dimensions).encode()
    for part in (_bytes(endpoint), _bytes(model), asked, extra):
        digest.update(_frame(part))
    return digest


def _frame(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _bytes(text: str) -> bytes:
    # A lone surrogate cannot be sent, but asking for its identity must not fail.
    return text.encode("utf-8", "surrogatepass")
