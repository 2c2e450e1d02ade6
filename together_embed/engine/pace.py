"""How many requests, or tokens, a second: as told by the user, or learned.

A metre spaces what goes out evenly. A learned rate follows from the refusals: at each
of them the server had nothing left, so what it accepted between two is what it grants
in that time, whatever burst it allows. From there the pace goes through a cycle: a
little under that rate, slowly over it until the next refusal comes, and ever faster if
none does.
"""

from __future__ import annotations

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
SURPRISE = 16
"""A refusal sooner than this in a cycle says that the rate has fallen."""
FALL = 0.8
"""What remains of the rate after such a surprise."""


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

    def charge(self, units: float, now: float) -> None:
        """Move `ready_at` on by what `units` take."""
        if self.rate is not None:
            self.ready_at = max(self.ready_at, now - self.slack) + units / self.rate


class Pace(Metre):
    """The rate of requests that a server's refusals have taught."""

    __slots__ = ("_cycle", "_known", "_mark_at", "_mark_serial", "_sent")

    def __init__(self) -> None:
        super().__init__(None)
        self._known = 0.0  # requests a second, what the cycle turns about
        self._cycle = LEAST_CYCLE
        self._sent = 0  # in this cycle
        self._mark_serial, self._mark_at = -1, 0.0  # the last refusal

    def send(self, now: float) -> None:
        """Take notice of a request that goes out."""
        if self.rate is None:
            return
        self.charge(1, now)
        self._sent += 1
        share = self._share(self._sent / self._cycle)
        self.rate = None if share > LIFTED else self._known * share

    @staticmethod
    def _share(turn: float) -> float:
        if turn <= 1:
            return UNDER + (OVER - UNDER) * turn
        return float(OVER * 2.0 ** ((turn - 1) / SPEED_UP))

    def mark(self, permit: Permit) -> None:
        """Remember a refusal as a moment at which nothing was left."""
        if permit.serial > self._mark_serial:
            self._mark_serial, self._mark_at = permit.serial, permit.given_at

    def refused(self, permit: Permit, now: float) -> None:
        """Learn the rate from what was accepted since the last refusal."""
        accepted = permit.serial - self._mark_serial - 1
        seconds = max(permit.given_at - self._mark_at, 1e-3)
        self.mark(permit)
        if accepted < 0:
            return
        if self.rate is None:
            self._known = max(accepted, 1) / seconds
        elif self._sent >= self._cycle:
            self._known = accepted / seconds
        elif self._sent < SURPRISE and self._cycle > SURPRISE:
            self._known *= FALL
        elif accepted:
            self._known = min(self._known, accepted / seconds)
        else:
            self._known *= FALL
        self._cycle = min(CYCLE, max(LEAST_CYCLE, accepted))
        self._sent = 0
        self.rate = self._known * UNDER
        self.ready_at = max(self.ready_at, now + 1 / self.rate)
