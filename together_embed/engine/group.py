"""Texts that were handed in together, and the rows that come back for them.

A group knows each different text once. `Groups` are those of one job: they go out
whole, in the order in which they came or as they can.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from together_embed.engine.joints import Joints
from together_embed.engine.rows import Form, InvalidReply
from together_embed.engine.shape import AS_SENT, Shape
from together_embed.errors import EmbeddingsError

AT_ONCE = 200
"""Texts that are looked up together: their rows fit a processor's cache, and to make
lists of them holds an event loop for some 10 ms at a width of 1024."""
_BYTES = {"f": 4, "d": 8}


class Group:
    """Texts that were handed in together, and the rows that come back for them.

    Attributes:
        start: The number of the group's first text within the whole call.
        unique: The different texts as they are sent, in the order of their first
            appearance.
        recalled: For how many of the texts handed in a row was known.
        width: The width of the rows that were, those of pieces included; 0 for none.
        missing: How many of `unique` have no row yet, and may still get one.
        lengths: The characters of those texts of the call that are cut or split.
    """

    __slots__ = (
        "_form",
        "_hidden",
        "_joints",
        "_known",
        "_place_of",
        "_places",
        "_refused",
        "_rows",
        "_shape",
        "_times",
        "lengths",
        "missing",
        "recalled",
        "start",
        "unique",
        "width",
    )

    def __init__(
        self,
        sent: Sequence[str],
        start: int,
        form: Form,
        shape: Shape = AS_SENT,
        weights: Sequence[tuple[int, ...]] | None = None,
        hidden: str | None = None,
    ) -> None:
        first: dict[str, int] = {} if hidden is None else {hidden: 0}
        places = [first.setdefault(text, len(first)) for text in sent]
        self._hidden = hidden is not None and 0 not in places  # it is nobody's
        self.start = start
        # numpy's strings and enumerations are texts too; the encoder wants plain ones.
        self.unique = [
            text if type(text) is str else str.__str__(text) for text in first
        ]
        self.missing = len(first)
        self.recalled = self.width = 0
        self.lengths: dict[int, int] = {}
        self._form = form
        self._shape = shape or None
        self._joints = Joints(places, weights, len(first)) if weights else None
        if self._joints is not None:
            places = self._joints.places
        self._place_of: dict[str, int] | None = None  # made when it is needed
        self._known = bytearray(len(first) + len(self._joints or ()))
        self._refused: dict[int, EmbeddingsError] = {}
        self._rows: Any = None  # made when the width is known
        plain = not (self._joints or hidden) and len(first) == len(places)
        self._places = None if plain else places
        self._times = None if plain else Counter(places)

    @property
    def _handed_in(self) -> Sequence[int]:
        """The place of each text that was handed in."""
        return range(len(self.unique)) if self._places is None else self._places

    @property
    def count(self) -> int:
        """How many texts were handed in, duplicates included."""
        return len(self._handed_in)

    @property
    def copies(self) -> int:
        """How many of them are duplicates."""
        return self.count - len(self.unique)

    def is_known(self, place: int) -> bool:
        """Tell whether the text `unique[place]` has its row."""
        return bool(self._known[place])

    def place_of(self, text: str) -> int:
        """Return where in `unique` a text stands."""
        if self._place_of is None:
            self._place_of = {text: at for at, text in enumerate(self.unique)}
        return self._place_of[text]

    def lookups(self) -> Iterator[tuple[int, list[str]]]:
        """Yield texts to look up, and where they stand; `recall` follows on each.

        When all are through, those without a row come first.
        """
        count = self.missing
        for start in range(0, count, AT_ONCE):
            yield start, self.unique[start : min(start + AT_ONCE, count)]
        if self._hidden and self.missing == 1 and not self._known[0]:
            self.missing = 0  # nothing goes out that it could go along with
            self._known[0] = 1  # nor is it missed if another call brings it
        if 0 < self.missing < count:
            self.reorder(sorted(range(count), key=self._known.__getitem__))

    def recall(self, start: int, known: Iterable[tuple[str, bytes] | None]) -> None:
        """Take the rows that are known of `unique[start:]`, None where one is not.

        Rows that are not as wide as the first, or not right in this form, count as not
        known.
        """
        for (code, width), run in groupby(known, _kind):
            rows = list(run)
            if width and width == (self.width or width):
                with suppress(InvalidReply):
                    block = self._form.unpack(code, [row[1] for row in rows if row])
                    self.recalled += self.put(start, block, width)[0]
                    self.width = width
            start += len(rows)

    def leave_out(
        self,
        indices: Iterable[int],
        error: Callable[[tuple[int, ...]], EmbeddingsError],
    ) -> None:
        """Refuse texts that are not to be sent; the others come first.

        Args:
            indices: Where in the call they stand.
            error: Makes the error for the places of one text.
        """
        places = self._handed_in
        out = dict.fromkeys(places[index - self.start] for index in indices)
        kept = [place for place in range(len(self.unique)) if place not in out]
        self.reorder([*kept, *out])
        for place in range(len(kept), len(self.unique)):
            self.refuse(place, error(self.indices(place, place + 1)))

    def reorder(self, order: Sequence[int], start: int = 0) -> None:
        """Let texts change places: `unique[start:]` begins with those of `order`."""
        stop = start + len(order)
        if self._rows is not None:
            self._rows[start:stop] = self._form.spread(self._rows, order)
        self._known[start:stop] = bytes(self._known[place] for place in order)
        moved = {place: new for new, place in enumerate(order, start)}
        self._places = [moved.get(place, place) for place in self._handed_in]
        self._times = Counter(self._places)
        self.unique[start:stop] = [self.unique[place] for place in order]
        self._place_of = None
        if self._joints is not None:
            self._joints.move(moved)

    def indices(self, start: int, stop: int) -> tuple[int, ...]:
        """Return where in the call the texts of `unique[start:stop]` stand."""
        if self._places is None:
            return tuple(range(self.start + start, self.start + stop))
        among = self._joints.depending(range(start, stop)) if self._joints else ()
        return tuple(
            index
            for index, place in enumerate(self._places, self.start)
            if start <= place < stop or place in among
        )

    def missing_indices(self) -> Iterator[int]:
        """Say where in the call the texts stand that have no row yet."""
        for index, place in enumerate(self._handed_in, self.start):
            if not self._known[place] and place not in self._refused:
                yield index

    def put(self, start: int, block: Any, width: int) -> tuple[int, int]:
        """Keep the rows of `unique[start:start + len(block)]`.

        Returns:
            For how many of the texts that were handed in these are the rows, and how
            many of those were duplicates.
        """
        if self._known.count(0, start, start + len(block)) < len(block):
            return self._put_some(start, block, width)
        rows = block
        if self._shape is not None:
            rows, width = self._shape.block(block), self._shape.width(width)
        if self._rows is None:
            self._rows = self._form.empty(len(self._known), width)
        stop = start + len(block)
        self._rows[start:stop] = rows
        self.missing -= len(block)
        self._known[start:stop] = b"\1" * len(block)
        if self._times is None:
            return len(block), 0
        whole = [*range(start, stop), *self._join(start, block)]
        times = [self._times[place] for place in whole]
        done = sum(times)
        return done, done - sum(map(bool, times))

    def _put_some(self, start: int, block: Any, width: int) -> tuple[int, int]:
        """Keep the rows of those that have none: another call brought some."""
        done = duplicates = 0
        for at in range(len(block)):
            if not self._known[start + at]:
                counted = self.put(start + at, block[at : at + 1], width)
                done, duplicates = done + counted[0], duplicates + counted[1]
        return done, duplicates

    def _join(self, start: int, block: Any) -> Iterator[int]:
        """Make the rows of the texts whose last piece is among these."""
        if self._joints is None:
            return
        for place, row in enumerate(block, start):
            for slot, joined in self._joints.put(place, row):
                self._rows[slot] = self._shape.row(joined) if self._shape else joined
                self._known[slot] = 1
                yield slot

    def refuse(self, place: int, error: EmbeddingsError) -> None:
        """Remember that the text `unique[place]` gets no row, and why."""
        if self._known[place]:  # another call has brought it
            return
        self._refused[place] = error
        self.missing -= 1
        for slot in self._joints.depending((place,)) if self._joints else ():
            self._refused.setdefault(slot, error)

    @property
    def has_failures(self) -> bool:
        """Whether a text that was handed in was refused: a hidden one is nobody's."""
        return bool(self._refused and self.failures)

    @property
    def failures(self) -> dict[int, EmbeddingsError]:
        """Why texts get no row, by where in the call they stand."""
        refused = sorted(self._refused.items())
        found = {i: error for at, error in refused for i in self.indices(at, at + 1)}
        return dict(sorted(found.items()))

    def pieces(self) -> list[tuple[int, Any]]:
        """Return rows that are next to each other, and errors in the place of rows.

        A list goes out in one piece.
        """
        rows, begun = self.expand(), 0
        if not self._refused:
            return [(self.start, rows)]
        failures = self.failures
        if isinstance(rows, list):  # which hold errors as well
            rows = rows or self._form.empty(self.count, 0)
            for index, error in failures.items():
                rows[index - self.start] = error
            return [(self.start, rows)]
        pieces: list[tuple[int, Any]] = []
        for stop in [index - self.start for index in failures] + [self.count]:
            if stop > begun:
                pieces.append((self.start + begun, rows[begun:stop]))
            if stop < self.count:
                pieces.append((self.start + stop, failures[self.start + stop]))
            begun = stop + 1
        return pieces

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield a row of its own for each text that has one, by where it stands."""
        used: set[int] = set()
        for index, place in enumerate(self._handed_in, self.start):
            if self._known[place]:
                row = self._rows[place]
                yield index, row.copy() if place in used else row
                used.add(place)

    def expand(self) -> Any:
        """Return a row for every text, in the group's form."""
        if self._rows is None:
            return self._form.empty(0, 0)
        if self._places is None:
            return self._rows
        return self._form.spread(self._rows, self._places)


def _kind(row: tuple[str, bytes] | None) -> tuple[str, int]:
    """Return the code and the width of a row, "" and 0 where there is none."""
    if row is None:
        return "", 0
    code, data = row
    return code, len(data) // _BYTES[code]


class Groups:
    """The groups of one job that were not handed out yet.

    Args:
        ordered: Whether a group waits for its predecessors.
        lenient: Whether a group with errors in the place of rows is whole.
    """

    def __init__(self, *, ordered: bool, lenient: bool) -> None:
        self._ordered = ordered
        self._lenient = lenient
        self._groups: deque[Group] = deque()

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, group: Group) -> None:
        """Put a group behind the others."""
        self._groups.append(group)

    @property
    def is_missing_any(self) -> bool:
        """Whether a text has no row yet, and may still get one."""
        for group in self._groups:  # noqa: SIM110 - asked at each step
            if group.missing:
                return True
        return False

    @property
    def is_first_whole(self) -> bool:
        """Whether nothing is missing in the first."""
        return bool(self._groups) and not self._groups[0].missing

    @property
    def copies(self) -> int:
        """How many duplicates there are where the first is whole."""
        return sum(group.copies for group in self._groups) if self.is_first_whole else 0

    def take(self) -> list[Group]:
        """Return those that can be handed out now; they are forgotten here."""
        taken: list[Group] = []
        while self._groups and self._is_whole(self._groups[0]):
            taken.append(self._groups.popleft())
        if not self._ordered:
            taken += [group for group in self._groups if self._is_whole(group)]
            rest = (group for group in self._groups if not self._is_whole(group))
            self._groups = deque(rest)
        return taken

    def _is_whole(self, group: Group) -> bool:
        return not group.missing and (self._lenient or not group.has_failures)

    def missing_indices(self) -> tuple[int, ...]:
        """Say where in the call the texts stand that have no row yet."""
        return tuple(i for group in self._groups for i in group.missing_indices())

    def partial(self) -> tuple[dict[int, Any], dict[int, EmbeddingsError]]:
        """Return the rows that are there, and why texts have none."""
        results: dict[int, Any] = {}
        failures: dict[int, EmbeddingsError] = {}
        for group in self._groups:
            results.update(group.results())
            failures.update(group.failures)
        return results, failures
