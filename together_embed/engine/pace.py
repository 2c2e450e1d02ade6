"""How many requests, or tokens, a second: as told by the user, or learned.

A metre spaces what goes out evenly, and catches up what was late. A learned pace
follows from the refusals (`marks`): it is set to the rate that they measure, and goes
through a cycle: a little under that rate, slowly over it until the next refusal comes,
and ever faster if none does.

What is measured is too little where the server allows no burst, since what it did not
use is lost to it. So a cycle that ended well above the rate is followed by a guess
between what was measured and the pace that was refused. Its cycle begins at the guess
itself, and goes over it late. A guess that is refused at once is taken back, and the
next ones come more seldom.
"""

from __future__ import annotations

import math
from collections import deque

from together_embed.engine.marks import TELLING, Marks

CYCLE = 100
"""Requests from one refusal to the next, once a rate is known well: half of the two per
cent that a server is to be bothered with at most."""
BRISK, SPARE = 64, 0.017
"""The same, as long as no more than this share of all requests was refused: what the
search did not cost is there for following a rate that changes."""
LEAST_CYCLE = 24
"""The same, while nothing but a few requests tells the rate."""
DEAR = 4
"""So many refusals in one cycle make the next as many times as long, at most: at a high
rate several requests are on their way when the first of them is refused."""
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
"""What remains of the rate after them; the third takes its square, and so on."""
BINDING = 1.5
"""Times the rate: what goes out by such a pace is limited by something else."""
ALIKE = 0.75
"""A rate that is found again within this factor is the same, and as well known."""
FAR = 2.0
"""Times the rate: where a cycle ended at that pace, the middle (of the logarithms) of
what was measured and what was refused is tried."""
NEARLY = 0.985
"""Where it ended closer, the server may mind closeness: this share of the pace at which
two requests were accepted behind each other is tried."""
CLOSE = 0.5
"""A request that was accepted this much closer than the pace says that it does not."""
WARIEST = 16
"""Cycles without a guess, at most, after guesses that failed."""
RUN = 4
"""Refusals after one another with nothing accepted between, from a server whose rate is
known, that show that it counts by the clock. A bucket would have filled by one."""
CLOCKED = 2.0
"""Seconds that a cycle takes, at least, where a server counts so: two of its own."""
DUE = 2 / 3
"""The share of a cycle after which a refusal is what is expected."""


class Metre:
    """Spaces what goes out: `rate` units a second.

    Who is late by no more than `slack` seconds catches up; later than that is idle.

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
            idle = now - self.ready_at > self.slack
            self.ready_at = (now if idle else self.ready_at) + units / self.rate


class Second:
    """Lets no more requests out in any second than a user said, however late some are.

    Attributes:
        ready_at: Nothing goes out before.
    """

    __slots__ = ("_rate", "_sent", "ready_at")

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._sent: deque[float] = deque()
        self.ready_at = 0.0

    def set_rate(self, rate: float | None) -> None:
        """Go on at another rate."""
        self._rate = rate
        self._look_back()

    def charge(self, now: float) -> None:
        """Take notice of a request that goes out."""
        if self._rate is not None:
            self._sent.append(now)
            self._look_back()

    def _look_back(self) -> None:
        self.ready_at = 0.0
        if self._rate is None:
            self._sent.clear()
            return
        most = max(1, int(self._rate))
        while len(self._sent) > most:
            self._sent.popleft()
        if len(self._sent) == most:
            self.ready_at = self._sent[0] + most / self._rate


class Pace(Metre):
    """The rate of requests that a server's refusals have taught.

    Attributes:
        marks: The refusals.
    """

    __slots__ = (
        "_begun_with",
        "_caution",
        "_clocked",
        "_cycle",
        "_guessed",
        "_known",
        "_measured",
        "_sent",
        "_surprises",
        "_wary",
        "marks",
    )

    def __init__(self) -> None:
        super().__init__(None)
        self.marks = Marks()
        self._known = 0.0  # requests a second, what the cycle turns about
        self._measured = 0.0  # the same, as the last refusal told it
        self._cycle = LEAST_CYCLE
        self._sent = 0  # in this cycle
        self._begun_with = 0  # refusals before this cycle
        self._surprises = 0  # in a row
        self._clocked = False  # the server counts by the clock
        self._guessed = False  # what is known is a guess
        self._wary, self._caution = 0, 1  # cycles until one is made; after a failure

    def send(self, now: float, trip: float) -> None:
        """Take notice of a request that goes out; one takes `trip` seconds."""
        if self.rate is None:
            return
        self.charge(1, now)
        self._sent += 1
        over = self._sent - self._cycle
        if over <= 0:
            begun, power = self._begins_at, 2 if self._guessed else 1
            share = begun + (OVER - begun) * math.pow(self._sent / self._cycle, power)
        else:  # no faster than the answers can tell, or the server's clock
            by_cycle = self._cycle * (1.0 if self._clocked else SPEED_UP)
            by_trip = self._known * trip
            share = OVER * math.pow(2, over / max(by_cycle, by_trip))
        self.rate = None if share > LIFTED else self._known * share

    @property
    def expects_refusal(self) -> bool:
        """Whether the pace is a little over the rate that is known.

        If it is far over it, something else must be holding requests back.
        """
        return self.rate is not None and 1 < self.rate / self._known < BINDING

    def in_flight(self, trip: float) -> int:
        """Return how many in flight are enough for the rate: twice what it needs."""
        return math.ceil(2 * (self.rate or 0.0) * trip) + 1

    def space(self, gap: float, now: float) -> None:
        """Send no closer than a server that minds closeness has taken.

        Args:
            gap: Seconds between two requests.
            now: The moment.
        """
        self._known, self._cycle = 1 / gap, LEAST_CYCLE
        self._begin(now)

    def refused(self, now: float, closest: float) -> bool:
        """Learn from a refusal that is about the pace, and begin a new cycle.

        Args:
            now: The moment.
            closest: The least seconds of late between requests that were accepted.

        Returns:
            Whether it is. If refusals come whatever the pace is, there is none then.
        """
        measured = self.marks.measure()
        if measured is None:
            return False
        self._look_for_a_clock(measured)
        if self._is_more_of_it:
            if not self._guessed or self.marks.run >= TELLING:
                self._guessed = False
                self._known = min(self._known, measured)
        elif self._count_futile():
            self.rate = None
            return False
        else:
            self._set_known(measured, closest)
        self._set_cycle(measured)
        self._measured = measured
        self._begin(now)
        return True

    @property
    def _begins_at(self) -> float:
        """The share of the rate at which a cycle begins: nobody saves up for a guess.

        What was guessed since the server allows no burst would be lost below it.
        """
        return 1.0 if self._guessed else UNDER

    @property
    def _tried(self) -> float:
        """The present pace; more than a cycle tries where nothing limits it."""
        return self.rate or 1.01 * LIFTED * self._known

    def _look_for_a_clock(self, measured: float) -> None:
        """See from refusals in a row that the server counts by the clock.

        A bucket that fills more slowly than it is asked, since the rate is small or has
        just fallen, refuses as many.
        """
        enough = RUN if self._known else TELLING
        if self.marks.run >= enough and measured > SURPRISE and not self._surprises:
            self._clocked = True

    @property
    def _is_more_of_it(self) -> bool:
        """Whether this is the last refusal again, and measures more exactly.

        Of a bucket it tells that a guess was wrong, so it is none then.
        """
        again = self.marks.run and self._known
        return bool(again) and (self._clocked or not self._guessed)

    def _count_futile(self) -> bool:
        """Count for or against a rate; tell whether refusals come whatever it is."""
        if self._sent >= DUE * self._cycle and self._cycle >= CYCLE // 2:
            self.marks.count_telling()
        elif self._tried < self._known and self._sent >= SURPRISE and not self._guessed:
            return self.marks.count_futile()
        return False

    def _set_known(self, measured: float, closest: float) -> None:
        soon = self.rate is not None and self._sent < SURPRISE
        self._surprises = self._surprises + 1 if soon else 0
        if soon and self._clocked:
            self._clocked, self._cycle = False, LEAST_CYCLE
        guessed, self._guessed = self._guessed, False
        if not self._known:
            self._known = measured
        elif guessed and self._sent < max(TELLING, self._cycle // 2):
            self._known = min(self._known, measured)  # it was wrong
            self._wary = self._caution = min(WARIEST, 2 * self._caution)
        elif guessed or self._tried > self._known:
            self._caution = 1 if guessed else self._caution
            self._known = max(measured, self._guess(measured, closest, held=guessed))
        elif self._surprises > 1:
            self._known *= FALL ** (self._surprises - 1)
        elif not self._surprises:
            self._known = min(self._known, measured)

    def _guess(self, measured: float, closest: float, *, held: bool) -> float:
        """Return a pace above the measured one, or 0 if it is not time for that.

        Args:
            measured: What was accepted a second.
            closest: The least seconds of late between requests that were accepted.
            held: What was known so far was a guess, and was right.
        """
        tried = self._tried
        if not held:
            if tried < OVER * self._known:
                return 0.0
            if self._wary and tried <= LIFTED * self._known:
                self._wary -= 1
                return 0.0
        self._guessed = True
        if tried > FAR * self._known:
            return math.sqrt(measured * tried)
        self._guessed = closest * tried >= CLOSE
        return NEARLY * min(tried, 1 / closest) if self._guessed else 0.0

    def _set_cycle(self, measured: float) -> None:
        """Make it twice as long if what was known has been found again."""
        if self._clocked:
            self._cycle = max(CYCLE, int(CLOCKED * self._known))
        elif not ALIKE < measured / (self._measured or measured) < 1 / ALIKE:
            self._cycle = LEAST_CYCLE
        elif self._sent >= self._cycle // 2 and self.rate is not None:
            cheap = self.marks.count < SPARE * self.marks.newest
            price = min(DEAR, self.marks.count - self._begun_with)
            self._cycle = min((BRISK if cheap else CYCLE) * price, 2 * self._cycle)

    def _begin(self, now: float) -> None:
        """Begin a cycle, when there is one more request to be had."""
        self._sent = 0
        self._begun_with = self.marks.count
        self.rate = self._known * self._begins_at
        self.ready_at = max(self.ready_at, now + 1 / self.rate)
