"""What is done to a vector before it is handed out: cut, and scaled to length 1.

Both are done to rows on their way out, lists or arrays: what a store keeps is what the
server sent, so that clients with other wishes share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import Any

from together_embed.engine.rows import Row


@dataclass(frozen=True, slots=True)
class Shape:
    """What vectors are to be like.

    Attributes:
        cut_to: How many numbers are kept, the first ones; None keeps all. What is cut
            is scaled to length 1, as those who train such models do (Kusupati and
            others, 2022, "Matryoshka Representation Learning").
        unit: Whether rows that are not cut are scaled to length 1, too.
    """

    cut_to: int | None = None
    unit: bool = False

    def __bool__(self) -> bool:
        return self.unit or self.cut_to is not None

    def width(self, width: int) -> int:
        """Return how wide rows of such a width come out."""
        return width if self.cut_to is None else min(width, self.cut_to)

    def block(self, rows: Any) -> Any:
        """Return a block of rows, a list or an array, as it is to be handed out."""
        if not self:
            return rows
        if isinstance(rows, list):
            return [self.row(row) for row in rows]
        import numpy

        cut = rows[:, : self.cut_to]
        norms = numpy.sqrt(numpy.einsum("ij,ij->i", cut, cut, dtype=numpy.float64))
        norms[norms == 0] = 1.0
        return cut / norms[:, None]

    def row(self, row: Any) -> Any:
        """Return one row, a list or an array; a zero vector stays what it is."""
        if not self:
            return row
        if not isinstance(row, list):
            return self.block(row[None, :])[0]
        cut: Row = row[: self.cut_to]
        norm = hypot(*cut)
        if not norm:
            return cut
        return [number / norm for number in cut]


AS_SENT = Shape()
"""Rows come out as the server sent them."""
