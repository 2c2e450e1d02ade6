"""Texts that go out in pieces: which pieces are whose, and the row that they make.

A joint stands for a text as its pieces do for theirs: it has a place of its own, behind
those of all that is sent, and gets a row when the last of its pieces has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from operator import mul
from typing import Any

from together_embed.engine.rows import Row


@dataclass(slots=True)
class Joint:
    """A text in pieces.

    Attributes:
        pieces: The places of its pieces, in their order.
        weights: The tokens of each.
        rows: Those that have come, by place.
    """

    pieces: tuple[int, ...]
    weights: tuple[int, ...]
    rows: dict[int, Row]


class Joints:
    """The joints of a group.

    Args:
        places: The place of each piece, text after text.
        weights: For each text the tokens of each of its pieces.
        first: The first place that is free for a joint.

    Attributes:
        places: The place of each text: its only piece's, or its joint's.
    """

    def __init__(
        self, places: Sequence[int], weights: Sequence[tuple[int, ...]], first: int
    ) -> None:
        self._joints: dict[int, Joint] = {}
        self.places: list[int] = []
        slots: dict[tuple[int, ...], int] = {}
        at = 0
        for parts in weights:
            pieces = tuple(places[at : at + len(parts)])
            at += len(parts)
            if len(parts) == 1:
                self.places.append(pieces[0])
                continue
            slot = slots.setdefault(pieces, first + len(slots))
            self._joints[slot] = Joint(pieces, parts, {})
            self.places.append(slot)
        self._index()

    def __len__(self) -> int:
        return len(self._joints)

    def move(self, moved: Mapping[int, int]) -> None:
        """Follow pieces to their new places."""
        for joint in self._joints.values():
            joint.pieces = tuple(moved.get(place, place) for place in joint.pieces)
            joint.rows = {moved.get(at, at): row for at, row in joint.rows.items()}
        self._index()

    def depending(self, places: Iterable[int]) -> set[int]:
        """Return the places of the joints that any of these pieces belongs to."""
        return {slot for place in places for slot in self._of.get(place, ())}

    def put(self, place: int, row: Any) -> Iterator[tuple[int, Row]]:
        """Take the row of a piece; yield the joints that are whole now, and theirs."""
        for slot in self._of.get(place, ()):
            joint = self._joints[slot]
            joint.rows[place] = row if isinstance(row, list) else row.tolist()
            if len(joint.rows) == len(set(joint.pieces)):
                rows, joint.rows = joint.rows, {}
                yield slot, merge([rows[p] for p in joint.pieces], joint.weights)

    def _index(self) -> None:
        self._of: dict[int, list[int]] = {}
        for slot, joint in self._joints.items():
            for place in set(joint.pieces):
                self._of.setdefault(place, []).append(slot)


def merge(rows: Sequence[Row], weights: Sequence[int]) -> Row:
    """Return the mean of rows by weight, as long as the rows are.

    Its norm is the weighted mean of theirs: 1 where a model's vectors are of norm 1,
    and whatever is usual where they are not. Rows that cancel out have no direction in
    common; then the heaviest stands for all, and no zero vector is made up.
    """
    total = sum(weights)
    parts = [weight / total for weight in weights]
    mean = [sum(map(mul, parts, numbers)) for numbers in zip(*rows, strict=True)]
    norm = sum(part * hypot(*row) for part, row in zip(parts, rows, strict=True))
    length = hypot(*mean)
    if length <= norm * 1e-9:
        return list(rows[max(range(len(rows)), key=weights.__getitem__)])
    return [number * (norm / length) for number in mean]
