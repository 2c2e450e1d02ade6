"""Refusals as marks: what was accepted between them, and whether they mean anything.

At each refusal a server that grants a rate has nothing left. So what it accepted
between two of them is what it grants in that time, whatever burst it allows. Of
refusals with nothing accepted between them the last counts: a server that counts by
the clock has nothing left until its second is over, and grants the next one then.
Other refusals come now and then whatever one does; those measure nothing.
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
SECOND = 1.0
"""Seconds: refusals that follow one another for longer are of no limit by the second,
which would be over."""


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
        self._futile = 0

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

    def count_telling(self) -> None:
        """Take in that a refusal came where one was due."""
        self._futile = max(0, self._futile - 1)

    def count_futile(self) -> bool:
        """Take in a refusal although the server had more than was asked of it.

        Returns:
            Whether there were so many that what is measured is no rate.
        """
        self._futile += 2
        if self._futile < FUTILE:
            return False
        self._futile = 0
        return True
