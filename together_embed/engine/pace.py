"""How many requests, or tokens, a second: as told by the user, or learned.

A metre spaces what goes out evenly. A learned rate follows from the refusals: at each
of them the server had nothing left, so what it accepted between two is what it grants
in that time, whatever burst it allows. From there the pace goes through a cycle: a
little under that rate, slowly over it until the next refusal comes, and ever faster if
none does.
"""

from __future__ import annotations

import math
from collections import deque

from together_embed.engine.signals import Permit

CYCLE = 100
"""Requests from one refusal to the next, once a rate is known well: half of the two per
cent that a server is to be bothered with at most."""
LEAST_CYCLE = 8
"""The same, while nothing but a few requests tells the rate."""
UNDER, OVER = 0.98, 1.04
"""Where a cycle begins and where it stands after `CYCLE` requests, as shares of the
rate: what is saved in the first half is spent in the second."""
SPEED_UP = 0.25
"""The share of a cycle in which the pace doubles when the refusal does not come."""
LIFTED = 8.0
"""Times the rate: at that pace without a refusal there is no such limit any more."""
SURPRISE = 8
"""A refusal sooner than this in a cycle may say that the rate has fallen; two in a row
do."""
FALL = 0.8
"""What remains of the rate after them."""
BINDING = 1.5
"""Times the rate: what goes out by such a pace is limited by something else."""
TELLING = 16
"""Requests accepted between two refusals that are worth a rate."""
ALIKE = 0.75
"""A rate that is found again within this factor is the same, and as well known."""
FUTILE = 3
"""Refusals in a row at a pace under the rate that show it to be none: some servers, or
what stands before them, refuse now and then whatever one does."""
DEAF = 1000
"""Requests for which such refusals are borne then."""
CROWD, WITHIN = 4, 32
"""So many refusals within so many requests are heard all the same."""
MARKS = 64
"""Refusals that are remembered."""


class Metre:
    """Spaces what goes out: `rate` units a second, at most `slack` seconds' worth late.

    Attributes:
        rate: Units a second; None is without limit.
        ready_at: Nothing goes out before.
    """

    __slots__ = ("rate", "ready_at", "slack")

    def __init__(self, rate: float | None, slack: float = 0.0) -> None:
        self.rate = rate
        self.slack = slack
        self.ready_at = 0.0

    def set_rate(self, rate: float | None, now: float) -> None:
        """Go on at another rate: what is left to wait changes with it."""
        left = max(0.0, self.ready_at - now) * (self.rate or 0.0)
        self.rate = rate
        self.ready_at = now + left / rate if rate else 0.0

    def charge(self, units: float, now: float) -> None:
        """Move `ready_at` on by what `units` take."""
        if self.rate is not None:
            self.ready_at = max(self.ready_at, now - self.slack) + units / self.rate


class Pace(Metre):
    """The rate of requests that a server's refusals have taught."""

    __slots__ = (
        "_cycle",
        "_deaf_until",
        "_futile",
        "_known",
        "_marks",
        "_refused",
        "_sent",
        "_surprises",
    )

    def __init__(self) -> None:
        super().__init__(None)
        self._known = 0.0  # requests a second, what the cycle turns about
        self._cycle = LEAST_CYCLE
        self._sent = 0  # in this cycle
        self._surprises = 0  # in a row
        self._futile = 0  # in a row
        self._deaf_until = 0
        self._refused = 0
        # Refusals: the serial, the moment, and how many there had been.
        self._marks: deque[tuple[int, float, int]] = deque(maxlen=MARKS)

    def send(self, now: float, trip: float) -> None:
        """Take notice of a request that goes out; one takes `trip` seconds."""
        if self.rate is None:
            return
        self.charge(1, now)
        self._sent += 1
        over = self._sent - self._cycle
        if over <= 0:
            share = UNDER + (OVER - UNDER) * self._sent / self._cycle
        else:  # no faster than the answers can tell
            doubling = max(self._cycle * SPEED_UP, self._known * trip)
            share = float(OVER * 2.0 ** (over / doubling))
        self.rate = None if share > LIFTED else self._known * share

    def mark(self, permit: Permit) -> None:
        """Remember a refusal as a moment at which nothing was left."""
        self._refused += 1
        if not self._marks or permit.serial > self._marks[-1][0]:
            self._marks.append((permit.serial, permit.given_at, self._refused))

    @property
    def expects_refusal(self) -> bool:
        """Whether the pace is a little over the rate that is known.

        If it is far over it, something else must be holding requests back.
        """
        return self.rate is not None and 1 < self.rate / self._known < BINDING

    def in_flight(self, trip: float) -> int:
        """Return how many in flight the known rate needs, by Little's law."""
        measured = self._measure()
        return math.ceil(0.95 * measured * trip) if measured else 1

    def forget_marks(self) -> None:
        """Measure from the next refusal on."""
        self._marks.clear()

    def space(self, gap: float, now: float) -> None:
        """Send no closer than a server that minds closeness has taken.

        Args:
            gap: Seconds between two requests.
            now: The moment.
        """
        if self.rate is not None and self._known < 1 / gap < self.rate:
            self._cycle = min(CYCLE, 2 * self._cycle)
        self._known = 1 / gap
        self._begin(now)

    def refused(self, now: float, *, sure: bool) -> None:
        """Learn the rate from what was accepted since an earlier refusal.

        Args:
            now: The moment.
            sure: It is the pace that is to blame.
        """
        newest = self._marks[-1][0]
        if self._is_noise(newest):
            return
        measured = self._measure(sure)
        self._surprises = self._surprises + 1 if self._sent < SURPRISE else 0
        if self.rate is None:
            if measured is None:
                return
            near = ALIKE < measured / (self._known or measured) < 1 / ALIKE
            self._cycle = self._cycle if near else LEAST_CYCLE
            self._known = measured
        elif self._sent >= self._cycle:
            self._known = measured or self._known
            self._cycle = min(CYCLE, 2 * self._cycle)
        elif self._surprises > 1:
            self._known *= FALL
            self._cycle = max(LEAST_CYCLE, self._cycle // 2)
        elif not self._surprises and measured:
            self._known = min(self._known, measured)
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Begin a cycle, when there is one more request to be had."""
        self._sent = 0
        self.rate = self._known * UNDER
        self.ready_at = max(self.ready_at, now + 1 / self.rate)

    def _is_noise(self, newest: int) -> bool:
        """Tell whether refusals come whatever the pace is."""
        crowd = self._marks[-CROWD][0] if len(self._marks) >= CROWD else -WITHIN
        if newest < self._deaf_until and newest - crowd >= WITHIN:
            return True
        if self.rate is None or self._sent >= self._cycle:
            self._futile = 0
        elif self.rate < self._known and self._sent >= SURPRISE:
            self._futile += 1  # the server had more than was asked of it
        if self._futile < FUTILE:
            return False
        self.rate, self._futile = None, 0
        self._deaf_until = newest + DEAF
        return True

    def _measure(self, anyway: bool = False) -> float | None:
        """Return what was accepted a second, back to the mark that is telling."""
        accepted, seconds = 0, 0.0
        for serial, then, before in reversed(self._marks):
            newest, at, refused = self._marks[-1]
            accepted, seconds = newest - serial - (refused - before), at - then
            if accepted >= TELLING:
                return accepted / max(seconds, 1e-3)
        return max(accepted, 1) / (seconds or 1.0) if anyway else None
