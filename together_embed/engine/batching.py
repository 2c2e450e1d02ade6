"""Texts to batches: by count and by bytes, each different text of a group once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from together_embed.engine import wire
from together_embed.engine.group import Group
from together_embed.engine.portion import Doubt
from together_embed.engine.stats import Course
from together_embed.errors import Attempt, InputError

TOGETHER = 1_000
"""Texts whose bytes are counted at once where they may fit: a fifth of the work."""


class Batch(Struct, eq=False):
    """The texts `unique[start:stop]` of a group: the unit of a request.

    Attributes:
        tries: The requests that failed for it.
        stale: How many of them met a connection that the server had closed.
        size: Bytes of its texts in a body.
        most: How many texts of it may go out together; 0 is all.
        plain: How many texts it held when it was refused with `encoding_format`; it is
            asked for without that from then on, and so are its parts. 0 is not refused.
        course: What it has been through, in numbers.
        doubts: The refusals of larger batches with these texts that may have been
            about the size.
        honoured: How often the server had taken base64 when a batch with these texts
            was first refused.
        waits: How many of the tries met what is waited out by the clock.
        waits_since: When the first of them did.
    """

    group: Group
    start: int
    stop: int
    size: int = 0
    most: int = 0
    tries: list[Attempt] = field(default_factory=list)
    stale: int = 0
    plain: int = 0
    course: Course = field(default_factory=Course)
    doubts: tuple[Doubt, ...] = ()
    honoured: int | None = None
    waits: int = 0
    waits_since: float | None = None

    @property
    def count(self) -> int:
        """How many texts it has."""
        return self.stop - self.start

    @property
    def texts(self) -> list[str]:
        """The batch's texts, each different from the others."""
        return self.group.unique[self.start : self.stop]

    @property
    def retries(self) -> int:
        """How many tries count as retries: no dropped encoding, no wait."""
        return len(self.tries) - bool(self.plain) - self.waits

    def wait_out(self, seconds: float, now: float) -> bool:
        """Count a try that is no retry, for so long from the first; tell if it is."""
        if self.waits_since is None:
            self.waits_since = now
        waits = now - self.waits_since < seconds
        self.waits += waits
        return waits

    @property
    def indices(self) -> tuple[int, ...]:
        """Where in the call these texts stand."""
        return self.group.indices(self.start, self.stop)


def listed(texts: Iterable[str]) -> list[str]:
    """Return what was handed in as a list that nobody else can change.

    Raises:
        TypeError: A bare string, or nothing that holds texts.
    """
    bare = isinstance(texts, (str, bytes))
    if bare or not isinstance(texts, (list, Iterable)):  # of a list it is seen at once
        kind = f"{'bare ' if bare else ''}{type(texts).__name__}"
        raise TypeError(f"texts is a {kind}; hand over a list of strings")
    return [*texts]


def check(texts: Sequence[str], start: int = 0, *, blank: bool = False) -> None:
    """Refuse what is no text, before anything is sent.

    Args:
        texts: What was handed in.
        start: The number of the first of them within the whole call.
        blank: Whether blank texts may pass: what they get is the server's to say.

    Raises:
        TypeError: An element is no string.
        InputError: A blank text, the error names all; or one with a lone surrogate,
            which no body can carry.
    """
    for index, text in enumerate(texts, start):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] is a {type(text).__name__}, not a string")
        if not blank and _is_blank(text):
            found = enumerate(texts, start)  # all, or a user would mend one at a time
            indices = tuple(i for i, other in found if _is_blank(other))
            raise InputError("an empty or blank text has no embedding", indices=indices)
        if not text.isascii():
            _check_surrogates(text, index)


def unfit(texts: Sequence[str], start: int, *, blank: bool) -> dict[int, InputError]:
    """Return why `check` refuses texts, by their numbers, where others go out.

    Raises:
        TypeError: An element is no string.
    """
    found: dict[int, InputError] = {}
    for index, text in enumerate(texts, start):
        try:
            check((text,), index, blank=blank)
        except InputError as error:  # noqa: PERF203 - only where there is one
            found[index] = error.with_traceback(None)
    return found


def _is_blank(text: object) -> bool:
    return isinstance(text, str) and (not text or text.isspace())


def _check_surrogates(text: str, index: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a lone surrogate at character {error.start} cannot be sent",
            indices=(index,),
        ) from None


def cut(group: Group, max_texts: int, max_bytes: int) -> list[Batch]:
    """Cut what a new group lacks into batches of so many texts and bytes, at most.

    A text that alone is over `max_bytes` makes a batch of its own: whether it is too
    long is the server's to say. The texts have passed `check`.
    """
    batches, start, missing = [], 0, group.missing
    while start < missing:
        most = min(start + max_texts, missing)
        stop, used = _fit(group.unique, start, most, max_bytes)
        batches.append(Batch(group, start, stop, used))
        start = stop
    return batches


def _fit(texts: Sequence[str], start: int, stop: int, size: float) -> tuple[int, int]:
    """Return up to where texts fit into a size, one at least, and their bytes."""
    if stop - start <= TOGETHER:
        some = texts[start:stop]
        if sum(map(len, some)) <= size and (used := wire.size_of_all(some)) <= size:
            return stop, used
    used = 0
    for place in range(start, stop):
        taken = wire.size(texts[place])
        if place > start and used + taken > size:
            return place, used
        used += taken
    return stop, used


def split(batch: Batch, texts: float, size: float) -> tuple[Batch, Batch | None]:
    """Split a batch where it is over so many texts, or bytes of texts.

    Returns:
        The batch, or its head of one text at least, and the rest if there is any.
    """
    most = int(min(batch.count, texts, batch.most or batch.count))
    if most == batch.count and batch.size <= size:
        return batch, None
    stop, used = _fit(batch.group.unique, batch.start, batch.start + most, size)
    left = batch.size - used
    tries, course = [*batch.tries], batch.course.fork()
    rest = replace(batch, start=stop, size=left, tries=tries, course=course)
    head = replace(batch, stop=stop, size=used)
    return head, rest if rest.start < rest.stop else None


def part(batch: Batch, start: int, stop: int) -> Batch:
    """Return a batch of some of a batch's texts, with what it has been through."""
    if (start, stop) == (batch.start, batch.stop):
        return batch
    size = wire.size_of_all(batch.group.unique[start:stop])
    tries, course = [*batch.tries], batch.course.fork()
    return replace(batch, start=start, stop=stop, size=size, tries=tries, course=course)


def join(rest: Batch, following: Batch) -> bool:
    """Put what was left of a batch in front of the next, if it was neither tried."""
    if rest.group is not following.group or rest.stop != following.start:
        return False
    if rest.tries or following.tries or rest.most or following.most:
        return False
    following.start = rest.start
    following.size += rest.size
    return True
