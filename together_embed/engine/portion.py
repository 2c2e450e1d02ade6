"""How large a request the server takes: what it has refused, what it has carried.

Limits on a batch are announced nowhere. A 400, 413 or 422 may be about the number of
texts, about their bytes, or about one of them. What was carried before tells: a request
no larger than one that was carried is refused for a text of its own, and is halved
until that text stands alone. Otherwise the size is halved for everybody, one request at
a time, until one is carried; from there a larger one is tried now and then.

A `Portion` belongs to a client. Jobs of several threads use it without a lock: at worst
a number is a moment old, and one request more is refused.
"""

from __future__ import annotations

import math

PROBE = 32
"""Requests carried between two tries of a larger one."""
NEAR = 16
"""The search ends when what was refused is this share above what was carried."""

LIKENESS = 1.25
"""A request of as many texts as were carried, and not over this share of their bytes,
is refused for one of its texts: texts differ in length, limits are round numbers."""


class Measure:
    """One way to measure a request: its texts, or their bytes.

    Attributes:
        limit: What a request may be now; infinite if nothing limits it.
        carried: The largest that was carried.
    """

    def __init__(self) -> None:
        self.limit = math.inf
        self.carried = 0.0
        self._refused = self._refused_before = math.inf  # the smallest that was

    @property
    def in_doubt(self) -> bool:
        """Whether nothing as large as the limit was carried since it was found."""
        return self.carried < self.limit < math.inf

    def refuse(self, size: float) -> None:
        """Halve the limit, or fall back to what was carried."""
        if size < self._refused:
            self._refused, self._refused_before = size, self._refused
        self.limit = max(1.0, self.carried, min(self.limit, size // 2))

    def acquit(self) -> None:
        """Take the last refusal back: it was not about the size."""
        self._refused = self._refused_before
        self.limit = math.inf if self._refused == math.inf else self.carried

    def carry(self, size: float) -> None:
        """Remember what was carried; it becomes the limit where there is one."""
        self.carried = max(self.carried, size)
        if self.limit < math.inf:
            self.limit = self.carried

    def next_try(self) -> float:
        """Return the size halfway to what was refused, or the limit if that is near."""
        if self._refused - self.carried > max(1.0, self.carried / NEAR):
            return (self.carried + self._refused) // 2
        return self.limit


class Portion:
    """What a client has learned of its server's limits on one request."""

    def __init__(self) -> None:
        self._texts = Measure()
        self._bytes = Measure()
        self._carried = 0  # requests, since a larger one was tried

    @property
    def in_doubt(self) -> bool:
        """Whether a size was refused, and none carried since."""
        return self._texts.in_doubt or self._bytes.in_doubt

    @property
    def largest(self) -> int | None:
        """How many texts a request may hold; None where nothing limits that."""
        limit = self._texts.limit
        return None if limit == math.inf else int(limit)

    def allot(self) -> tuple[float, float]:
        """Return how many texts and bytes the next request may hold."""
        texts, size = self._texts, self._bytes
        if self._carried < PROBE or self.in_doubt:
            return texts.limit, size.limit
        self._carried = 0
        return texts.next_try(), size.next_try()

    def carried(self, texts: int, size: int) -> None:
        """Learn from a request that was right."""
        self._texts.carry(texts)
        self._bytes.carry(size)
        self._carried += 1

    def refused(self, texts: int, size: int, *, by_bytes: bool) -> bool:
        """Learn from a refusal; return whether the size may be to blame.

        Args:
            texts: How many texts the request held.
            size: Their bytes.
            by_bytes: The server spoke of the body's size (413).
        """
        near = 1 if by_bytes else LIKENESS
        many, large = texts > self._texts.carried, size > self._bytes.carried * near
        if not (many or large):
            self._texts.acquit()
            self._bytes.acquit()
        elif large and (by_bytes or not many):
            self._bytes.refuse(size)
        else:
            self._texts.refuse(texts)
        return many or large
