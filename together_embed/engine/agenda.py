"""The batches of one job that are still to go out: now, or at some later moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from together_embed.engine import batching
from together_embed.engine.batching import Batch


class Agenda:
    """See the module."""

    def __init__(self) -> None:
        self._ready: deque[Batch] = deque()
        self._delayed: list[tuple[float, int, Batch]] = []
        self._serial = 0

    @property
    def ready(self) -> int:
        """How many batches could go out now."""
        return len(self._ready)

    @property
    def size(self) -> int:
        """Bytes of the next one's texts; 0 where there is none."""
        return self._ready[0].size if self._ready else 0

    @property
    def due_at(self) -> float | None:
        """When the first of those that wait may go out."""
        return self._delayed[0][0] if self._delayed else None

    def __bool__(self) -> bool:
        return bool(self._ready or self._delayed)

    def __iter__(self) -> Iterator[Batch]:
        yield from (batch for _, _, batch in self._delayed)
        yield from self._ready

    def add(self, batches: Iterable[Batch]) -> None:
        """Put batches behind all others."""
        self._ready.extend(batches)

    def put_first(self, batch: Batch) -> None:
        """Let a batch be the next to go out."""
        self._ready.appendleft(batch)

    def put_off(self, batch: Batch, until: float) -> None:
        """Let a batch wait."""
        self._serial += 1
        heappush(self._delayed, (until, self._serial, batch))

    def pass_time(self, now: float) -> None:
        """Make ready what has waited for long enough."""
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heappop(self._delayed)[2])

    def pop(self) -> Batch:
        """Take out the batch that is next, whatever its size."""
        return self._ready.popleft()

    def next(self, most: float, size: float) -> Batch:
        """Return what is to go out next, of so many texts and bytes at most."""
        batch, rest = batching.split(self._ready.popleft(), most, size)
        if rest and not (self._ready and batching.join(rest, self._ready[0])):
            self._ready.appendleft(rest)
        return batch

    def put_largest_first(self) -> None:
        """Let large batches go out before small ones, the remains of refused ones.

        They show whether the server takes other texts than those that it refused.
        """
        by_count = sorted(self._ready, key=lambda one: one.count)
        self._ready = deque(by_count[::-1])
