"""How many requests a server carries at once, found by small steps and their outcome.

The window opens by doubling once a round trip, as TCP's does, until a step brings
nothing or is refused. From then on it takes a small step every now and then, doubles
the steps as long as they succeed, and goes back where one does not. Two things end it:

* *refusals*: the server has a cap. The window falls to what was accepted, and further
  where refusals follow each other. One alone, at a size that was carried, is borne;
  after some such accidents, so is one alone at a size that is tried;
* *waiting*: twice as many in flight took twice as long, so that half of them only
  wait in the server's queue. The window goes back to where the last step paid.
"""

from __future__ import annotations

import math
from statistics import median

from together_embed.engine.signals import Permit

INITIAL = 10
"""Requests in flight at first: TCP's initial window (RFC 6928), chosen there as here
because a burst of ten harms nobody and saves three round trips of doubling."""
CALM = 100
"""Answers between two careful steps up: one refused step in a hundred is half of the
two per cent that a server is to be bothered with at most."""
FIRST_CALM = 12
"""The same at first, while little is known; it doubles with each step refused."""
CALM_TRIPS = 2
"""The same in round trips, for windows of more than fifty."""
WORTH = 0.25
"""A step pays if it brings this share of what it adds; the exit of BBR's startup
(Cardwell and others, 2016) is the same quarter."""
TELLING = 1.2
"""Steps below this factor are too small to be judged by time: noise is larger."""
SAMPLES = 5
"""Answers that a median of times needs at least."""
QUEUED = 2.0
"""Times of the least latency: at that, half of what is in flight only waits."""
CONSECUTIVE = 0.7
"""What remains of the window after refusals with nothing accepted between them."""
NEAR = 8
"""Requests within which a second refusal shows that one was no accident, where there
are accidents: of two in a hundred, one in seven is followed so soon; a cap that is
exceeded refuses far more."""
WARY, ACCIDENTS = 2, 4
"""So many accidents, less the refusals since that were none, show that there are such;
no more are remembered. With one, caps of a hundred were taken for accidents."""
TRANSIT = 16
"""One in so many of those in flight may be on the network when doubling is refused: a
cap that held for a moment with them is refused too often to be kept."""


class Window:
    """The number of requests that may be in flight.

    Attributes:
        size: That number, 1 to `ceiling`.
    """

    def __init__(self, ceiling: int) -> None:
        self.size = min(INITIAL, ceiling)
        self._ceiling = ceiling
        self._times = _Times()
        self._doubling = True
        self._threshold = ceiling  # doubling ends here
        self._safe: int | None = None  # where a step that is being tried goes back to
        self._step = 1
        self._refused_last = False  # what ended the growth: a refusal, or waiting
        self._anchor = (0.0, 0.0)  # in flight, slowness: what a step is compared with
        self._least = math.inf  # the least slowness of a round
        self._home = 0  # where to return to when the least latency is known
        self._round_from = 0  # permits from this serial on are of the present round
        self._levels = 0
        self._calm = 0
        self._refused = -1  # the newest serial that was refused
        self._run = 0  # refusals with nothing accepted between them
        self._falls = False
        self._accidents = 0  # refusals alone at a size that was carried, of late
        self._before = ceiling  # what was carried when a refusal came
        self._patience = FIRST_CALM

    @property
    def ceiling(self) -> int:
        """What `size` never goes beyond."""
        return self._ceiling

    def bound(self, ceiling: int) -> None:
        """Replace the ceiling. Where it alone kept the window small, it opens again."""
        if ceiling > self._ceiling <= self.size:
            self._doubling, self._threshold = True, ceiling
        elif self._threshold == self._ceiling:
            self._threshold = ceiling
        self._threshold = min(self._threshold, ceiling)
        self._home = min(self._home, ceiling)
        self._safe = self._safe and min(self._safe, ceiling)
        self.size = min(self.size, ceiling)
        self._ceiling = ceiling

    def right(self, permit: Permit, seconds: float, size: int, newest: int) -> None:
        """Learn from a request that the server carried.

        Args:
            permit: Its permit.
            seconds: How long it took.
            size: Bytes of its body; times are compared among equals.
            newest: The serial of the newest permit.
        """
        if 2 * permit.level < self.size:
            return  # too few at work to tell anything about more
        self._calm += 1
        if self._doubling and self.size < self._threshold:
            self.size += 1
        if permit.serial < self._round_from:
            return  # sent before the present step
        self._times.add(seconds, size)
        self._levels += permit.level
        if self._times.count >= max(SAMPLES, self.size // 4):
            self._end_round()
            self._round_from = newest + 1

    def refused(self, permit: Permit, in_flight: int, *, news: bool) -> None:
        """Fall to what was accepted.

        Args:
            permit: The refused request's permit.
            in_flight: How many are in flight without it.
            news: The request was sent after the last refusal was known.
        """
        if news:
            after = permit.serial - self._refused
            self._run = self._run + 1 if after == 1 else 0
            self._falls = not self._bears(after)
            if self._falls:
                self._fall(in_flight)
                self._accidents = max(0, self._accidents - 1)
            elif not self._is_trying and after > max(NEAR, self.size // 2):
                self._accidents = min(ACCIDENTS, self._accidents + 1)
        self._refused = max(self._refused, permit.serial)
        if self._falls:
            self.size = max(1, min(self.size, in_flight))

    @property
    def _is_trying(self) -> bool:
        """Whether it is not known yet that the size can be carried."""
        return self._doubling or self._safe is not None

    def _bears(self, after: int) -> bool:
        """Tell an accident, which has nothing to do with the size, from a cap.

        Args:
            after: How many requests this one was after the last that was refused.
        """
        if self.is_wary:
            return after > (NEAR if self._is_trying else max(NEAR, self.size // 4))
        return after > self.size // 2 and not self._is_trying

    def _fall(self, in_flight: int) -> None:
        """Go back to what was carried; take steps more seldom where one failed."""
        if self._times.known:
            self._before = self.size
        if self._doubling and not self._run:
            self._threshold = max(in_flight - in_flight // TRANSIT, 1)
            self.size = max(in_flight // 2, self._safe or 0)
            self._refused_last = True
            return
        if self._run > 1:  # not one was accepted since the last
            self.size = int(self.size * CONSECUTIVE)
        if self._safe is not None:
            # Two are refused before a step is given up where there are accidents.
            calm = 2 * CALM if self.is_wary else CALM
            self._patience = min(calm, 2 * self._patience)
        elif self._run:
            self._patience = FIRST_CALM
        self._settle(by_refusal=True)

    @property
    def safe(self) -> int:
        """The size, or what it was before the step that is being tried."""
        return self._safe or self.size

    @property
    def is_wary(self) -> bool:
        """Whether refusals are known to come now and then whatever the size is."""
        return self._accidents >= WARY

    def doubt(self) -> None:
        """Take in that refusals have come whatever the pace was."""
        self._accidents = ACCIDENTS

    @property
    def is_steady(self) -> bool:
        """Whether the size is what it was, or a first small step above."""
        return not self._doubling and (self._safe is None or self._step == 1)

    def restart(self) -> None:
        """Open again by doubling, up to what was carried before, after a long pause."""
        self._threshold = min(max(self._before, 2), self._ceiling)
        self.size = 1
        self._doubling, self._safe = True, None
        self._anchor, self._least = (0.0, 0.0), math.inf

    def _end_round(self) -> None:
        """Judge the step that the round tried, and perhaps take the next."""
        level, slowness = self._levels / self._times.count, self._times.close()
        self._levels = 0
        self._least = min(self._least, slowness)
        queued = slowness > QUEUED * self._least
        if not self._doubling and self._safe and self.size < self._safe:
            self._judge_less(self._safe, level, slowness)
        elif self._is_trying:
            if self._weigh(level, slowness) and not queued:
                self._go_on()
            else:
                self._go_back()
        elif (queued or self._home) and self.size > 1:
            self._try(self.size * 3 // 4, level, slowness)
        elif self._calm >= max(self._patience, CALM_TRIPS * self.size):
            self._step = 1 if self._refused_last else max(1, self.size // 4)
            self._try(self.size + self._step, level, slowness)

    def _judge_less(self, before: int, level: float, slowness: float) -> None:
        """Judge a step down: was what is gone from flight only waiting?"""
        pays = self._weigh(level, slowness)
        if self._home:  # the least latency is what is looked for
            if not pays and self.size > 1:
                self._try(self.size * 3 // 4, level, slowness)
                return
            self.size, self._home = self._home, 0
        elif pays:  # no: it is the server that is slower now
            self.size, self._least = before, slowness
        self._settle(by_refusal=False)

    def _weigh(self, level: float, slowness: float) -> bool:
        """Compare with the anchor; move it to what pays.

        Returns:
            Whether what is in flight more (or less) than there does its share of work.
        """
        before, was = self._anchor
        if not before:
            self._anchor = (level, slowness)
            return True
        growth = level / before
        if 1 / TELLING < growth < TELLING:
            return True
        # By Little's law the throughput is what is in flight over the time it takes.
        pays = (growth * was / slowness - 1) / (growth - 1) >= WORTH
        if pays and growth > 1:
            self._anchor = (level, slowness)
        return pays

    def _try(self, size: int, level: float, slowness: float) -> None:
        self._safe = self.size
        self._anchor = (level, slowness)
        self.size = min(size, self._ceiling)

    def _go_on(self) -> None:
        """Take the next step, twice as large; what paid is kept."""
        self._safe = self.size
        if self._doubling:
            if self.size >= self._threshold:
                self._settle(by_refusal=self._threshold < self._ceiling)
        elif self.size >= self._ceiling:
            self._settle(by_refusal=False)
        elif self._refused_last and not self.is_wary:
            self._doubling, self._threshold = True, self._ceiling
        else:
            self._step *= 2
            self.size = min(self.size + self._step, self._ceiling)

    def _go_back(self) -> None:
        if not self._doubling and self._safe is not None:
            self.size = self._safe
        else:  # doubling found the queue: keep a quarter more than paid
            self.size = max(1, min(self.size, int(self._anchor[0] * 1.25) + 1))
            self._home = self.size  # perhaps there was a queue from the start
        self._settle(by_refusal=False)

    def _settle(self, *, by_refusal: bool) -> None:
        self._doubling, self._safe = False, None
        self._refused_last = by_refusal
        self._home = 0 if by_refusal else self._home
        self._calm = 0


class _Times:
    """How slow the answers of a round are, whatever their size.

    A time is divided by what is usual for requests of about that size (its power of
    two), so that a query and a full batch can stand in one median.
    """

    def __init__(self) -> None:
        self._usual: dict[int, float] = {}
        self._round: list[float] = []
        self._slowness = 1.0

    @property
    def count(self) -> int:
        return len(self._round)

    @property
    def known(self) -> bool:
        """Whether there was an answer at all."""
        return bool(self._usual)

    def add(self, seconds: float, size: int) -> None:
        kind = size.bit_length()
        usual = self._usual.get(kind)
        if usual is None:  # the first of its size: taken to be as slow as the others
            usual = self._usual[kind] = max(seconds, 1e-6) / self._slowness
        self._round.append(seconds / usual)

    def close(self) -> float:
        """End the round; return its median slowness."""
        self._slowness = max(median(self._round), 1e-6)
        self._round.clear()
        return self._slowness
