"""What is already known, on disk: vectors by the identity of what was sent for them.

`Store` is the door; the path of a vector is identity → packing → rows → database.
SQLite comes from the standard library. The file holds digests, vectors and a note per
model, and neither texts nor keys.
"""

from together_embed.store.identity import canonical, identities, identity, subject
from together_embed.store.notes import Note
from together_embed.store.packing import Packed, Row, pack, unpack
from together_embed.store.trouble import Reason, StoreError, StoreWarning
from together_embed.store.vectors import Store

__all__ = [
    "Note",
    "Packed",
    "Reason",
    "Row",
    "Store",
    "StoreError",
    "StoreWarning",
    "canonical",
    "identities",
    "identity",
    "pack",
    "subject",
    "unpack",
]
