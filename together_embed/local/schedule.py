"""Chooses which request meets which fault.

Thread-safe: tests change the plan while the server runs. What was queued comes first,
then what holds until further notice, then one request in so many, then chance. A
request without a text meets no fault, since there is no row that could be wrong.
"""

import random
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat
from threading import Lock

from together_embed.local.faults import EVERY_WAY, Fault, Kind

Step = Fault | Kind | int | None
"""A fault, the name of a kind, a status; None or 200 is an answer without a fault."""


class Schedule:
    """The faults that lie ahead."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: deque[Fault | None] = deque()
        self.heal()

    def heal(self) -> None:
        """Forget all faults: every request from now on is answered."""
        with self._lock:
            self._queue.clear()
            self._always: Fault | None = None
            self._period = 0
            self._rate = 0.0
            self._asked = 0
            self._turn = 0
            self._turns: Sequence[Fault] = EVERY_WAY
            self._chances: Sequence[Fault] = EVERY_WAY
            self._dice = random.Random(0)

    def fail(self, fault: Fault, times: int | None) -> None:
        """Let the next `times` requests meet `fault`; None: all, until healed."""
        with self._lock:
            if times is None:
                self._always = fault
            else:
                self._queue.extend(repeat(fault, times))

    def script(self, steps: Iterable[Step]) -> None:
        """Queue one step for each of the requests to come."""
        queued = [None if step in (None, 200) else _fault(step) for step in steps]
        with self._lock:
            self._queue.extend(queued)

    def every(self, period: int, faults: Iterable[Step]) -> None:
        """Fail each `period`-th request, the faults taking turns."""
        if period < 1:
            raise ValueError(f"a period is 1 or more, not {period}")
        chosen = _faults(faults)
        with self._lock:
            self._period, self._turns = period, chosen
            self._asked = self._turn = 0

    def storm(self, rate: float, seed: int, faults: Iterable[Step]) -> None:
        """Fail a share `rate` of the requests, by a chance that `seed` decides."""
        if not 0 <= rate <= 1:
            raise ValueError(f"a rate lies between 0 and 1, not at {rate}")
        chosen = _faults(faults)
        with self._lock:
            self._rate, self._chances = rate, chosen
            self._dice = random.Random(seed)

    def draw(self) -> Fault | None:
        """Take what the next request meets."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            if self._always is not None:
                return self._always
            return self._in_turn() or self._by_chance()

    def _in_turn(self) -> Fault | None:
        if not self._period:
            return None
        self._asked += 1
        if self._asked % self._period:
            return None
        fault = self._turns[self._turn % len(self._turns)]
        self._turn += 1
        return fault

    def _by_chance(self) -> Fault | None:
        if self._rate and self._dice.random() < self._rate:
            return self._dice.choice(self._chances)
        return None


def _fault(step: Step) -> Fault:
    if step is None:
        raise TypeError("None is no fault")
    return Fault.of(step)


def _faults(steps: Iterable[Step]) -> tuple[Fault, ...]:
    chosen = tuple(map(_fault, steps))
    if not chosen:
        raise ValueError("name at least one fault")
    return chosen
