"""Whose fault a refusal is: too many in flight, or too many a second.

A cap shows in that refusals come only where more is in flight than was accepted of
late; a rate in that they also come where less is. Each refusal is one vote. Until the
votes agree, both the window and the pace give way.
"""

from __future__ import annotations

from collections import deque
from enum import Flag

from together_embed.engine.signals import Permit

FRESH, FRESH_TRIPS = 16, 3
"""What is of late: the newest requests, or those of so many round trips."""
MARGIN = 1 / 8
"""A server with a cap takes more than that while its answers are on their way back, as
many as the network's share of a round trip. What is taken beyond speaks against it."""
FEW, MANY = 2, 5
"""Requests accepted at such a number: so few are an accident, so many are none."""
CLOSER, CROWDED = 0.9, 2
"""Refusals in a row that came closer by this factor behind another request than all
that were accepted of late: so many, and the server counts over so short a time that it
minds closeness."""
AGREED, MOST = 2, 4
"""Votes that decide, and votes that are remembered."""


class Fault(Flag):
    """What has to give way."""

    WINDOW = 1
    PACE = 2
    BOTH = 3


class Jury:
    """Judges refusals by what went out before them."""

    def __init__(self) -> None:
        self._sent: deque[Permit] = deque(maxlen=128)
        self._votes = 0  # below zero for a cap, above for a rate
        self._crowded = 0  # in a row
        self._sent_at = 0.0

    def sent(self, permit: Permit) -> None:
        """Take notice of a request that goes out."""
        permit.gap = permit.given_at - self._sent_at
        self._sent_at = permit.given_at
        self._sent.append(permit)

    def least_gap(self, permit: Permit) -> float | None:
        """Return the seconds between requests that the server takes, if it minds them.

        Args:
            permit: A refused request's permit, with those before it.
        """
        last = permit.serial - FRESH
        gaps = [
            one.gap
            for one in self._sent
            if one.level and last <= one.serial < permit.serial
        ]
        crowded = len(gaps) > FEW and permit.gap < CLOSER * min(gaps)
        self._crowded = self._crowded + 1 if crowded else 0
        return min(gaps) if self._crowded >= CROWDED else None

    def judge(self, permit: Permit, trip: float, *, steady: bool) -> Fault:
        """Tell what a refusal that is news speaks for, with those before it.

        Args:
            permit: The refused request's permit.
            trip: The seconds that a request usually takes.
            steady: The window was not growing fast: else any refusal would come where
                more is in flight than before, and say nothing.
        """
        since = permit.given_at - FRESH_TRIPS * trip
        last = permit.serial - FRESH
        levels = [
            one.level
            for one in self._sent
            if one.level >= permit.level
            and one.serial < permit.serial
            and (one.given_at >= since or one.serial >= last)
        ]
        beyond = int(permit.level * (1 + MARGIN))
        if len(levels) <= FEW:
            if not steady:
                return Fault.BOTH
            self._votes = max(-MOST, self._votes - 1)
        elif sum(level > beyond for level in levels) > FEW:
            self._votes = min(MOST, self._votes + 1)
        elif len(levels) >= MANY and self._votes < 0:
            self._votes += 1
        if abs(self._votes) < AGREED:
            return Fault.BOTH
        return Fault.WINDOW if self._votes < 0 else Fault.PACE

    @staticmethod
    def strike(permit: Permit) -> None:
        """Take a refused request off the record of what was accepted."""
        permit.level = 0
