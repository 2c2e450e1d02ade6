"""How large a request the server takes: what it has refused, what it has carried.

Limits on a batch are announced nowhere. A 400, 413 or 422 may be about the number of
texts, about their bytes, or about one of them. What was carried before tells: a request
no larger than one that was carried is refused for a text of its own, and is halved
until that text stands alone. Otherwise the size is halved for everybody, one request at
a time, until one is carried; from there a larger one is tried now and then. Where that
search ends at a text that is refused for itself, it was about that text: the refusals
of the requests that held it are taken back.

A `Portion` belongs to a client. Jobs of several threads use it without a lock: at worst
a number is a moment old, and one request more is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress

PROBE = 32
"""Requests carried between two tries of a larger one."""
NEAR = 16
"""The search ends when what was refused is this share above what was carried."""
LIKENESS = 1.25
"""A request of as many texts as were carried, and not over this share of their bytes,
is refused for one of its texts: texts differ in length, limits are round numbers."""

Refused = tuple[float, float]
"""How large a request was that was refused, and how large the larger half of it is."""


class Measure:
    """One way to measure a request: its texts, or their bytes.

    Attributes:
        limit: What a request may be now; infinite if nothing limits it.
        carried: The largest that was carried.
    """

    def __init__(self) -> None:
        self.limit = math.inf
        self.carried = 0.0
        self._refused: list[Refused] = []  # each smaller than those before

    @property
    def in_doubt(self) -> bool:
        """Whether nothing as large as the limit was carried since it was found."""
        return self.carried < self.limit < math.inf

    def refuse(self, refused: Refused) -> None:
        """Lower the limit to a half of it, or to what was carried."""
        if refused < self._least:
            self._refused.append(refused)
        self.limit = max(1.0, self.carried, min(self.limit, refused[1]))

    def acquit(self, refused: Refused) -> None:
        """Take a refusal back: it was not about the size."""
        with suppress(ValueError):
            self._refused.remove(refused)
        self._settle(searched=True)

    def carry(self, size: float, *, searched: bool) -> None:
        """Remember what was carried; it becomes the limit where there is one.

        Args:
            size: How large the request was.
            searched: Both halves of what was refused last are back. Until then the
                larger of them may go out as it is, or one text would cost a request
                more.
        """
        self.carried = max(self.carried, size)
        if self.limit < math.inf:
            self._refused = [one for one in self._refused if one[0] > self.carried]
            self._settle(searched=searched)

    def _settle(self, *, searched: bool) -> None:
        half = self._least[1]
        if searched and self.carried and half < math.inf:
            self.limit = self.carried
        else:
            self.limit = max(1.0, self.carried, half)

    @property
    def _least(self) -> Refused:
        return min(self._refused, default=(math.inf, math.inf))

    def next_try(self) -> float:
        """Return the size halfway to what was refused, or the limit if that is near."""
        least = self._least[0]
        if least - self.carried > max(1.0, self.carried / NEAR):
            return (self.carried + least) // 2
        return self.limit


Doubt = tuple[Measure, Refused]
"""A refusal that may be about a size: in which measure, and of what."""


class Portion:
    """What a client has learned of its server's limits on one request."""

    def __init__(self) -> None:
        self._texts = Measure()
        self._bytes = Measure()
        self._limited = False  # a request was refused that may have been too large
        self._carried = 0  # requests, since a larger one was tried
        self._halves = 0  # of the last that was refused, to be answered

    @property
    def in_doubt(self) -> bool:
        """Whether it may still be a text that was refused: not both halves are back."""
        return self._limited and (
            self._texts.in_doubt or self._bytes.in_doubt or self._halves > 0
        )

    @property
    def largest(self) -> int | None:
        """How many texts a request may hold; None where nothing limits that."""
        limit = self._texts.limit
        return None if limit == math.inf else int(limit)

    def allot(self) -> tuple[float, float]:
        """Return how many texts and bytes the next request may hold."""
        if not self._limited:
            return math.inf, math.inf
        texts, size = self._texts, self._bytes
        if self._carried < PROBE or self.in_doubt:
            return texts.limit, size.limit
        self._carried = 0
        return texts.next_try(), size.next_try()

    def carried(self, texts: int, size: int) -> None:
        """Learn from a request that was right."""
        self._carried += 1
        self._halves = max(0, self._halves - 1)
        self._texts.carry(texts, searched=not self._halves)
        self._bytes.carry(size, searched=not self._halves)

    def refused(
        self, texts: int, size: int, half: int, *, by_bytes: bool
    ) -> Doubt | None:
        """Learn from a refusal; return the doubt, if the size may be to blame.

        Args:
            texts: How many texts the request held.
            size: Their bytes.
            half: The bytes of that half of the texts that has more of them.
            by_bytes: The server spoke of the body's size (413).
        """
        near = 1 if by_bytes else LIKENESS
        many, large = texts > self._texts.carried, size > self._bytes.carried * near
        if not (many or large):
            return None
        about_bytes = large and (by_bytes or not many)
        measure = self._bytes if about_bytes else self._texts
        refused = (size, half) if about_bytes else (texts, (texts + 1) // 2)
        measure.refuse(refused)
        self._limited, self._halves = True, 2
        return measure, refused

    def acquit(self, doubts: Iterable[Doubt]) -> None:
        """Take refusals back that a text was to blame for."""
        self._halves = 0
        for measure, refused in doubts:
            measure.acquit(refused)
