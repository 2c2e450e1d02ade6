"""Limits that a benchmark's server puts on its clients, and what they made of them.

A cap refuses what comes while so many requests are in flight; a rate refuses what finds
its bucket empty. Either answers 429 with no header, as most servers do: what the limit
is has to be found out. `Timeline` keeps what came when, and says what share of the
ideal it was, as `simulation/measure.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

START = 10
"""Requests that count as a client's start: what comes before the last of them is left
out of the share."""


@dataclass
class Limits:
    """What is let in; None is no limit.

    Attributes:
        cap: Requests in flight.
        rate: Requests a second.
        burst: Requests that may come at once after a pause.
    """

    cap: int | None = None
    rate: float | None = None
    burst: float = 1.0
    _level: float | None = field(default=None, init=False)
    _at: float = field(default=0.0, init=False)

    def admits(self, in_flight: int, now: float) -> bool:
        """Return whether one more request may come in now."""
        if self.cap is not None and in_flight >= self.cap:
            return False
        if self.rate is None:
            return True
        level = self.burst if self._level is None else self._level
        self._level = min(self.burst, level + (now - self._at) * self.rate)
        self._at = now
        # A hair under one: the bucket is filled by sums of floats.
        if self._level < 1 - 1e-9:
            return False
        self._level -= 1
        return True

    def ideal(self, seconds: float) -> float | None:
        """Return the requests a second that can be had, each taking `seconds`."""
        by_cap = None if self.cap is None else self.cap / seconds
        return min((x for x in (by_cap, self.rate) if x is not None), default=None)


@dataclass
class Timeline:
    """When each request came, when its answer left, and whether it was refused."""

    came: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    refused: list[bool] = field(default_factory=list)

    def add(self, came: float, left: float, refused: bool) -> None:
        """Note a request."""
        self.came.append(came)
        self.left.append(left)
        self.refused.append(refused)

    def share(self, ideal: float) -> tuple[float, float]:
        """Return the share of the ideal, and of the requests that were refused.

        Both after the start; 0.0 and 1.0 where there was nothing but a start.
        """
        begin = sorted(self.came)[min(START, len(self.came)) - 1]
        after = [
            (left, refused)
            for came, left, refused in zip(
                self.came, self.left, self.refused, strict=True
            )
            if came > begin
        ]
        if not after:
            return 0.0, 1.0
        right = sum(not refused for _, refused in after)
        seconds = max(left for left, _ in after) - begin
        return right / (seconds * ideal), 1 - right / len(after)
