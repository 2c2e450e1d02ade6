"""The file of the rows that have no vector: which they are, and why.

It is there when the result is, and only where a row failed: one that an earlier run
left is taken away.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from together_embed.cli.partfile import PartFile

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Failures:
    """A JSON object on a line for each failed row: line or row, id, reason.

    Attributes:
        count: How many rows have failed.
        path: Where they are written.
    """

    def __init__(self, beside: Path, unit: str) -> None:
        self.count = 0
        self.path = beside.with_name(f"{beside.name}.failed.jsonl")
        self._unit = unit
        self._part: PartFile | None = None

    def add(self, number: int, name: object, reason: str) -> None:
        """Take notice of a row; `name` is its id, None where it has none."""
        if self._part is None:
            self._part = PartFile(self.path)
        self.count += 1
        fields = {self._unit: number, "id": name, "reason": reason}
        self._part.file.write(_encode(fields) + b"\n")

    def publish(self) -> None:
        """Put the file in its place, or take an old one away."""
        if self._part is None:
            self.path.unlink(missing_ok=True)
        else:
            self._part.publish()

    def discard(self) -> None:
        """Leave nothing behind. After `publish` it does nothing."""
        if self._part is not None:
            self._part.discard()
