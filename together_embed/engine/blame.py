"""Whose fault a refusal is: too many in flight, or too many a second.

A cap shows in that refusals come only where more is in flight than was accepted of
late; a rate in that they also come where less is. Each refusal is one vote; two more
for the one than for the other decide, and hold until two more for the other do. A
server that counts over so short a time that it minds closeness shows in the gaps
between requests. Where refusals are known to come now and then whatever one does, one
that is alone has no vote.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from together_embed.engine.signals import Permit

FRESH, FRESH_TRIPS = 32, 3
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
LATE, APART, HEAP = 2, 16, 4
"""Where some refusals mean nothing, one votes if so many of late are remembered. With
each `APART` requests one is forgotten, so it is the fourth within sixteen: where two in
a hundred come by chance, one of them in 270 is. Of a heap, `HEAP` are remembered."""


class Jury:
    """Judges refusals by what went out before them."""

    def __init__(self) -> None:
        self._sent: deque[Permit] = deque(maxlen=128)
        self._votes = 0  # below zero for a cap, above for a rate
        self._crowded = 0  # in a row
        self._sent_at = 0.0
        self._pace = False
        self._struck, self._struck_at = 0.0, 0  # refusals of late; the newest's serial

    def sent(self, permit: Permit) -> None:
        """Take notice of a request that goes out."""
        permit.gap = permit.given_at - self._sent_at
        self._sent_at = permit.given_at
        self._sent.append(permit)

    def closest(self, permit: Permit) -> float:
        """Return the least gap before a request that was accepted of late.

        Args:
            permit: A refused request's permit, with those before it.
        """
        late = [one for one in self._sent if one.serial < permit.serial]
        gaps = [after.gap for one, after in pairwise(late) if one.level and after.level]
        return min(gaps, default=0.0)

    def count_crowding(self, permit: Permit, closest: float) -> bool:
        """Count refusals for being close; tell whether this is one of several."""
        close = permit.gap < CLOSER * closest
        self._crowded = self._crowded + 1 if close else 0
        return self._crowded >= CROWDED

    def judge(
        self, permit: Permit, trip: float, *, steady: bool, wary: bool = False
    ) -> bool:
        """Tell whether a refusal that is news is about the pace, with those before it.

        Args:
            permit: The refused request's permit.
            trip: The seconds that a request usually takes.
            steady: The window was not growing fast: else any refusal would come where
                more is in flight than before, and say nothing.
            wary: Refusals are known to come now and then whatever is in flight.
        """
        if wary and self._late(permit) < LATE:
            return False
        since = permit.given_at - FRESH_TRIPS * trip
        last = permit.serial - FRESH
        levels = [
            one.level
            for one in self._sent
            if one.level >= permit.level
            and one.serial < permit.serial
            and (one.given_at >= since or one.serial >= last)
        ]
        beyond = permit.level + int(permit.level * MARGIN)
        if len(levels) <= FEW:
            self._votes = max(-MOST, self._votes - steady)
        elif sum(level >= beyond for level in levels) >= MANY:
            self._votes = min(MOST, self._votes + 1)
        if abs(self._votes) >= AGREED:
            self._pace = self._votes > 0
        return self._pace

    def acquit(self) -> None:
        """Take back what was decided: the refusals meant nothing."""
        self._votes, self._pace = 0, False

    def strike(self, permit: Permit) -> None:
        """Take a refused request off the record of what was accepted."""
        permit.level = 0
        self._struck = min(HEAP, self._late(permit) + 1)
        self._struck_at = max(self._struck_at, permit.serial)

    def _late(self, permit: Permit) -> float:
        """Return how many were refused of late, before this one."""
        since = max(0, permit.serial - self._struck_at)
        return max(0.0, self._struck - since / APART)
