"""Refusals as marks: what was accepted between them, and whether they mean anything.

At each refusal a server that grants a rate has nothing left. So what it accepted
between two of them is what it grants in that time, whatever burst it allows. Of
refusals with nothing accepted between them the last counts: a server that counts by
the clock has nothing left until its second is over, and grants the next one then.
Other refusals come now and then whatever one does; those are borne for a while.
"""

from __future__ import annotations

from collections import deque

from together_embed.engine.signals import Permit

TELLING = 16
"""Requests accepted between two refusals that are worth a rate."""
MARKS = 2 * TELLING
"""Marks that are remembered: between any two of them something was accepted."""
FUTILE = 3
"""Doubts that a rate is none: two for each refusal at a pace under it, one less for
each that came when it was due. Some servers, or what stands before them, refuse now and
then whatever one does."""
DEAF = 1000
"""Requests for which such refusals are borne then; twice as many each further time."""
SECOND = 1.0
"""Seconds: refusals that follow one another for longer are of no limit by the second,
which would be over."""
CROWD, WITHIN = 6, 32
"""So many refusals within so many requests are heard all the same."""


class Marks:
    """The refusals of late.

    Attributes:
        count: Refusals so far.
        newest: The serial of the newest request that was refused.
        run: Refusals since the one before which something was accepted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.newest = -1
        self.run = 0
        # The serial, the moment, and how many refusals there had been.
        self._marks: deque[tuple[int, float, int]] = deque(maxlen=MARKS)
        self._counted = 0  # refusals, at the newest
        self._run_since = 0.0
        self._crowd: deque[int] = deque(maxlen=CROWD)
        self._futile = 0
        self._deaf_until = 0
        self._deafness = DEAF

    def add(self, permit: Permit) -> None:
        """Remember a refusal as a moment at which nothing was left."""
        self.count += 1
        if permit.serial <= self.newest:
            return
        if permit.serial - self.newest > self.count - self._counted:
            self.run, self._run_since = 0, permit.given_at
        else:
            self.run += 1
            if self._marks:
                self._marks.pop()
        self.newest, self._counted = permit.serial, self.count
        self._marks.append((permit.serial, permit.given_at, self.count))
        self._crowd.append(permit.serial)

    def clear(self) -> None:
        """Measure from the next refusal on."""
        self._marks.clear()

    def measure(self) -> float | None:
        """Return what was accepted a second, back to the mark that is telling.

        None where there is none from which on anything was.
        """
        accepted, seconds = 0, 0.0
        for serial, then, before in reversed(self._marks):
            newest, at, refused = self._marks[-1]
            accepted, seconds = newest - serial - (refused - before), at - then
            if accepted >= TELLING:
                break
        return accepted / max(seconds, 1e-3) if accepted and seconds else None

    @property
    def are_lasting(self) -> bool:
        """Whether nothing is accepted for so long that only waiting helps."""
        lasted = self._marks[-1][1] - self._run_since if self._marks else 0.0
        return self.run >= TELLING and lasted > SECOND

    @property
    def are_borne(self) -> bool:
        """Whether refusals are taken no notice of now."""
        crowd = self._crowd[0] if len(self._crowd) == CROWD else -WITHIN
        crowded = self.newest - crowd < WITHIN
        return self.newest < self._deaf_until and not crowded

    def count_telling(self) -> None:
        """Take in that a refusal came where one was due."""
        self._futile = max(0, self._futile - 1)

    def count_futile(self) -> bool:
        """Take in a refusal although the server had more than was asked of it.

        Returns:
            Whether refusals are to be borne from now on.
        """
        self._futile += 2
        if self._futile < FUTILE:
            return False
        self._futile = 0
        self._deaf_until = self.newest + self._deafness
        self._deafness *= 2
        return True
