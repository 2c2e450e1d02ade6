"""What a store remembers of a model, to see whether it is still the same model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from together_embed.store.packing import Row, stamp, unstamp


@dataclass(frozen=True)
class Note:
    """What the first answers of a model were like.

    Attributes:
        width: Numbers in each vector, or None where unknown.
        model: The name that the server answered with, or None.
        canary: The digest of a text whose vector is kept to compare with, or None.
        vector: That vector, or None. The same text's vector differs a little from
            one batch to another: compare by tolerance.
        speed: Texts a second that the server carried of late, or None.
        prefixes: A digest of the prefix that each role had, or None.
    """

    width: int | None = None
    model: str | None = None
    canary: bytes | None = None
    vector: Row | None = None
    speed: float | None = None
    prefixes: dict[str, str] | None = None

    def seal(self, subject: bytes) -> bytes:
        """Return the bytes to keep under `subject`; floats keep all their bits."""
        fields = {**asdict(self), "canary": self.canary and self.canary.hex()}
        return stamp(subject, json.dumps(fields).encode())

    @classmethod
    def unseal(cls, subject: bytes, sealed: object) -> Note | None:
        """Return the note that was sealed, or None where damage has broken the seal."""
        body = unstamp(subject, sealed)
        if not body:
            return None
        names = cls.__dataclass_fields__  # a later version may know of more
        found = {k: v for k, v in json.loads(body).items() if k in names}
        canary = found.pop("canary", None)
        return cls(**found, canary=canary and bytes.fromhex(canary))
