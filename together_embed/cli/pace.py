"""How far a job is, how fast it goes, and what it waits for: told, not shown.

It knows no clock: whoever asks says what time it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from together_embed.engine.stats import Stats

WINDOW = 30.0
"""Seconds over which speed is measured."""
QUIET = 3.0
"""Seconds without a vector after which that is what there is to say."""


@dataclass(frozen=True)
class Moment:
    """How a job stands.

    Attributes:
        done: Rows that are settled, one way or the other.
        total: Rows in all.
        speed: Rows a second that the server embedded of late; None where nothing was
            measured yet.
        left: Seconds that the rest will take at that speed, None likewise.
        state: What is going on, in a few words.
    """

    done: int
    total: int
    speed: float | None
    left: float | None
    state: str


class Pace:
    """The course of one job.

    Args:
        counts: Gives the client's counts.
        now: Seconds, when the job begins.
    """

    def __init__(self, counts: Callable[[], Stats], now: float) -> None:
        self.done = 0
        self.total = 0
        self._counts = counts
        self._marks = deque([(now, 0)])
        self._moved_at = now
        self._begun = False
        self._refusals: deque[tuple[float, int]] = deque([(now, 0)])

    def move(self, done: int, now: float) -> None:
        """Say that so many rows are settled."""
        self._begun = True
        if done == self.done:
            return
        self.done = done
        self._moved_at = now
        fresh = self._fresh
        if not fresh:  # all of it came from the cache: that says nothing of the rest
            self._marks[0] = (now, 0)
        elif now - self._marks[-1][0] > WINDOW / 60 or len(self._marks) == 1:
            self._marks.append((now, fresh))

    @property
    def _fresh(self) -> int:
        """Rows that are settled and did not come from the cache."""
        return max(0, self.done - self._counts().recalled)

    def moment(self, now: float) -> Moment:
        """Return how the job stands."""
        _forget(self._marks, now)
        then, before = self._marks[0]
        seconds = now - then
        fresh = self._fresh - before
        speed = fresh / seconds if seconds > 0 and fresh > 0 else None
        rest = max(0, self.total - self.done)
        left = rest / speed if speed else None
        return Moment(self.done, self.total, speed, left, self._state(now))

    def _state(self, now: float) -> str:
        counts = self._counts()
        if not self._begun:
            self._moved_at = now
            self._begun = counts.requests > 0
            return "reading"
        self._refusals.append((now, counts.refused))
        _forget(self._refusals, now)
        refused = counts.refused - self._refusals[0][1]
        if now - self._moved_at >= QUIET:
            failed = f", {counts.failed:,} requests failed" if counts.failed else ""
            return f"no answer for {now - self._moved_at:.0f} s{failed}"
        if refused:
            return f"server refused {refused:,}, slowed down"
        if not counts.requests:
            return "from the cache"
        return f"up to {counts.limit} requests at once"


def _forget(marks: deque[tuple[float, int]], now: float) -> None:
    """Drop what is older than the window, but for the last of it."""
    while len(marks) > 1 and marks[1][0] <= now - WINDOW:
        marks.popleft()
