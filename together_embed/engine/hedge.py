"""Which requests are sent a second time since they take far longer than their like.

A server that answers one request in fifty twenty times slower than the others holds up
whole calls. Where the user allows for it, a second request is sent for such a one, and
the first right answer counts. What "far longer" is, is observed: requests of about as
many bytes are alike. The share of requests that may be sent in this way is the user's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager

from together_embed.engine.plan import Ticket

REMEMBERED, ENOUGH = 256, 16
"""Requests of a size that are remembered, and how many are needed to judge others. At
the end of a call it is the slow ones that land last: they must not be the measure."""
QUANTILE, FACTOR = 0.9, 2.0
"""A request is far longer than its like at twice the time of the slowest tenth."""
SAVED = 32
"""Second requests that may be saved up: where all slows down at once, none helps."""


class Hedger:
    """What all jobs of a client have observed, and have left to spend.

    Args:
        share: Second requests, as a share of all requests.
        lock: Guards every step; held for microseconds.
    """

    def __init__(self, share: float, lock: AbstractContextManager[object]) -> None:
        self._share = share
        self._lock = lock
        self._seconds: dict[int, deque[float]] = {}  # by the power of two of the size
        self._limits: dict[int, float] = {}
        self._left = 0.0

    @property
    def left(self) -> int:
        """How many second requests may go out now."""
        return int(self._left)

    def sent(self) -> None:
        """Take notice of a request, which adds to what may be spent."""
        with self._lock:
            self._left = min(SAVED, self._left + self._share)

    def spend(self) -> None:
        """Take notice of a second request."""
        with self._lock:
            self._left -= 1

    def learn(self, size: int, seconds: float) -> None:
        """Take notice of how long a request of so many bytes took, at least."""
        kind = size.bit_length()
        with self._lock:
            taken = self._seconds.setdefault(kind, deque(maxlen=REMEMBERED))
            taken.append(seconds)
            if len(taken) >= ENOUGH:
                slow = sorted(taken)[int(QUANTILE * len(taken))]
                self._limits[kind] = FACTOR * slow

    def patience(self, size: int) -> float | None:
        """Return how many seconds a request of so many bytes may take, if known.

        Where there were too few of its size, those of the next larger one speak.
        """
        kinds = [kind for kind in [*self._limits] if kind >= size.bit_length()]
        return self._limits[min(kinds)] if kinds else None

    def due(self, in_flight: Iterable[Ticket], now: float) -> list[Ticket]:
        """Return the requests to send a second time now, the oldest first."""
        left = self.left
        if left < 1:
            return []
        due = ((self._due_at(ticket), ticket) for ticket in in_flight)
        return [ticket for at, ticket in due if at is not None and at <= now][:left]

    def next_at(self, in_flight: Iterable[Ticket], now: float) -> float | None:
        """Return when the next request will be due, if nothing happens before."""
        if self.left < 1:
            return None
        moments = (self._due_at(ticket) for ticket in in_flight)
        return min((at for at in moments if at is not None and at > now), default=None)

    def _due_at(self, ticket: Ticket) -> float | None:
        """Return when a request is far longer than its like; None is never."""
        if ticket.twin is not None:
            return None
        patience = self.patience(len(ticket.body))
        return None if patience is None else ticket.sent_at + patience


def pair(first: Ticket, second: Ticket) -> None:
    """Let two requests be about the same batch."""
    first.twin = first.other = second
    second.twin = second.other = first


def unpair(ticket: Ticket) -> Ticket | None:
    """Let a request's twin stand alone; return it, if there is one."""
    twin = ticket.twin
    if twin is not None:
        ticket.twin = twin.twin = None
    return twin
