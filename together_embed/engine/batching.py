"""Texts to batches: by count and by bytes, each different text of a group once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from together_embed.engine import wire
from together_embed.engine.rows import Form
from together_embed.engine.stats import Course
from together_embed.errors import Attempt, EmbeddingsError, InputError


class Group:
    """Texts that were handed in together, and the rows that come back for them.

    Attributes:
        start: The number of the group's first text within the whole call.
        unique: The different texts, in the order of their first appearance.
        recalled: For how many of the texts handed in a row was known.
        width: The width of those rows.
        missing: How many of `unique` have no row yet, and may still get one.
    """

    __slots__ = (
        "_form",
        "_known",
        "_places",
        "_refused",
        "_rows",
        "_times",
        "missing",
        "recalled",
        "start",
        "unique",
        "width",
    )

    def __init__(self, texts: Sequence[str], start: int, form: Form) -> None:
        first: dict[str, int] = {}
        places = [first.setdefault(text, len(first)) for text in texts]
        self.start = start
        # numpy's strings and enumerations are texts too; the encoder wants plain ones.
        self.unique = [
            text if type(text) is str else str.__str__(text) for text in first
        ]
        self.missing = len(first)
        self.recalled = self.width = 0
        self._form = form
        self._known = bytearray(len(first))
        self._refused: dict[int, EmbeddingsError] = {}
        self._rows: Any = None  # made when the width is known
        self._places = places if len(first) < len(places) else None
        self._times = None if self._places is None else Counter(places)

    @property
    def count(self) -> int:
        """How many texts were handed in, duplicates included."""
        return len(self.unique if self._places is None else self._places)

    def recall(self, known: Sequence[tuple[str, bytes] | None]) -> None:
        """Take the rows that are known already; the texts without one come first.

        Args:
            known: For each of `unique`, its row as bytes, or None.
        """
        order = [place for place, row in enumerate(known) if row is None]
        count = len(order)
        order += [place for place, row in enumerate(known) if row is not None]
        if count == len(order):
            return
        self.unique = [self.unique[place] for place in order]
        moved = {place: new for new, place in enumerate(order)}
        places = range(len(order)) if self._places is None else self._places
        self._places = [moved[place] for place in places]
        self._times = Counter(self._places)
        for new, place in enumerate(order[count:], count):
            row = self._form.unpack(*known[place])  # type: ignore[misc]  # not None
            self.recalled += self.put(new, [row], len(row))
            self.width = len(row)

    def indices(self, start: int, stop: int) -> tuple[int, ...]:
        """Return where in the call the texts `unique[start:stop]` stand."""
        if self._places is None:
            return tuple(range(self.start + start, self.start + stop))
        places = enumerate(self._places, self.start)
        return tuple(index for index, place in places if start <= place < stop)

    def missing_indices(self) -> Iterator[int]:
        """Say where in the call the texts stand that have no row yet."""
        places = range(len(self.unique)) if self._places is None else self._places
        for index, place in enumerate(places, self.start):
            if not self._known[place] and place not in self._refused:
                yield index

    def put(self, start: int, block: Any, width: int) -> int:
        """Keep the rows of `unique[start:start + len(block)]`.

        Returns:
            For how many of the texts that were handed in these are the rows.
        """
        if self._rows is None:
            self._rows = self._form.empty(len(self.unique), width)
        stop = start + len(block)
        self._rows[start:stop] = block
        self.missing -= len(block)
        self._known[start:stop] = b"\1" * len(block)
        if self._times is None:
            return len(block)
        return sum(self._times[place] for place in range(start, stop))

    def refuse(self, place: int, error: EmbeddingsError) -> None:
        """Remember that the text `unique[place]` gets no row, and why."""
        self._refused[place] = error
        self.missing -= 1

    @property
    def failures(self) -> dict[int, EmbeddingsError]:
        """Why texts get no row, by where in the call they stand."""
        refused = sorted(self._refused.items())
        found = {i: error for at, error in refused for i in self.indices(at, at + 1)}
        return dict(sorted(found.items()))

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """Yield rows that are next to each other, and errors in the place of rows."""
        if not self._refused:
            yield self.start, self.expand()
            return
        failures = self.failures
        rows, begun = self.expand(), 0
        for stop in [index - self.start for index in failures] + [self.count]:
            if stop > begun:
                yield self.start + begun, rows[begun:stop]
            if stop < self.count:
                yield self.start + stop, failures[self.start + stop]
            begun = stop + 1

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield the row of each text that has one, by where in the call it stands."""
        places = range(len(self.unique)) if self._places is None else self._places
        for index, place in enumerate(places, self.start):
            if self._known[place]:
                yield index, self._rows[place]

    def expand(self) -> Any:
        """Return a row for every text, in the group's form."""
        if self._rows is None:
            return self._form.empty(0, 0)
        if self._places is None:
            return self._rows
        return self._form.spread(self._rows, self._places)


@dataclass(slots=True, eq=False)
class Batch:
    """The texts `unique[start:stop]` of a group: the unit of a request.

    Attributes:
        tries: The requests that failed for it.
        stale: How many of them met a connection that the server had closed.
        size: Bytes of its texts in a body.
        most: How many texts of it may go out together; 0 is all.
        plain: It is to be asked for without `encoding_format`, after one try with it.
        course: What it has been through, in numbers.
    """

    group: Group
    start: int
    stop: int
    size: int = 0
    most: int = 0
    tries: list[Attempt] = field(default_factory=list)
    stale: int = 0
    plain: bool = False
    course: Course = field(default_factory=Course)

    @property
    def texts(self) -> list[str]:
        """The batch's texts, each different from the others."""
        return self.group.unique[self.start : self.stop]

    @property
    def retries(self) -> int:
        """How many tries count as retries: to drop the encoding is none."""
        return len(self.tries) - self.plain

    @property
    def indices(self) -> tuple[int, ...]:
        """Where in the call these texts stand."""
        return self.group.indices(self.start, self.stop)


def check(texts: Sequence[str], start: int = 0, *, blank: bool = False) -> None:
    """Refuse what is no text, before anything is sent.

    Args:
        texts: What was handed in.
        start: The number of the first of them within the whole call.
        blank: Whether blank texts may pass: what they get is the server's to say.

    Raises:
        TypeError: A bare string, or an element that is no string.
        InputError: A blank text, or one with a lone surrogate, which no body can carry.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(
            f"texts is a bare {type(texts).__name__}; hand over a list of strings"
        )
    for index, text in enumerate(texts, start):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] is a {type(text).__name__}, not a string")
        if not blank and (not text or text.isspace()):
            raise InputError(
                "an empty or blank text has no embedding", indices=(index,)
            )
        if not text.isascii():
            _check_surrogates(text, index)


def _check_surrogates(text: str, index: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a lone surrogate at character {error.start} cannot be sent",
            indices=(index,),
        ) from None


def cut(group: Group, max_texts: int, max_bytes: int) -> Iterator[Batch]:
    """Cut what a new group lacks into batches of so many texts and bytes, at most.

    A text that alone is over `max_bytes` makes a batch of its own: whether it is too
    long is the server's to say. The texts have passed `check`.
    """
    start = used = 0
    for place, text in enumerate(group.unique[: group.missing]):
        taken = wire.size(text)
        if place > start and (place - start == max_texts or used + taken > max_bytes):
            yield Batch(group, start, place, used)
            start, used = place, 0
        used += taken
    if start < group.missing:
        yield Batch(group, start, group.missing, used)


def split(batch: Batch, texts: float, size: float) -> tuple[Batch, Batch | None]:
    """Split a batch where it is over so many texts, or bytes of texts.

    Returns:
        The batch, or its head of one text at least, and the rest if there is any.
    """
    count = batch.stop - batch.start
    most = int(min(count, texts, batch.most or count))
    if most == count and batch.size <= size:
        return batch, None
    stop, used = batch.start, 0
    for text in batch.texts[:most]:
        taken = wire.size(text)
        if stop > batch.start and used + taken > size:
            break
        stop, used = stop + 1, used + taken
    left = batch.size - used
    tries, course = [*batch.tries], batch.course.fork()
    rest = replace(batch, start=stop, size=left, tries=tries, course=course)
    head = replace(batch, stop=stop, size=used)
    return head, rest if rest.start < rest.stop else None


def join(rest: Batch, following: Batch) -> bool:
    """Put what was left of a batch in front of the next, if it was neither tried."""
    if rest.group is not following.group or rest.stop != following.start:
        return False
    if rest.tries or following.tries or rest.most or following.most:
        return False
    following.start = rest.start
    following.size += rest.size
    return True
