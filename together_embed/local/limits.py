"""Decides whether a request may be served now, as a server under load does.

Three limits, each off unless set: how many requests may be in flight, how many may
come in a second (a bucket that refills, `burst` deep), and for how many there is room
to be worked on at once while the others queue. All can be changed while it runs.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from together_embed.local.contract import Refused

Announce = Literal["nothing", "refusals", "always"]


@dataclass
class Limits:
    """The limits of one endpoint.

    Attributes:
        max_in_flight: Requests in flight above which one is refused with 429.
        requests_per_second: Rate above which a request is refused with 429.
        burst: How many requests may come at once after a pause; 1 or more.
        announce: Whether `x-ratelimit-*` and `Retry-After` come never, on refusals, or
            the former on every answer.
        retry_after: A `Retry-After` to send instead of the true one.
        clock: Seconds that only grow.
    """

    max_in_flight: int | None = None
    requests_per_second: float | None = None
    burst: float = 1.0
    announce: Announce = "refusals"
    retry_after: str | None = None
    clock: Callable[[], float] = time.monotonic
    _level: float | None = field(default=None, init=False, repr=False)
    _filled_at: float = field(default=0.0, init=False, repr=False)

    def admit(self, in_flight: int) -> None:
        """Let one request in, `in_flight` others being there.

        Raises:
            Refused: 429, with headers where they are to be announced.
        """
        if self.max_in_flight is not None and in_flight >= self.max_in_flight:
            raise self._refusal("model_rate_limit", None)
        if self.requests_per_second is None:
            return
        level = self._refill(self.requests_per_second)
        # A hair under one: the bucket is filled by sums of floats.
        if level < 1 - 1e-9:
            wait = (1 - level) / self.requests_per_second
            raise self._refusal("rate_limit", wait)
        self._level = level - 1

    def headers(self) -> dict[str, str]:
        """Give the headers of an answer that was not refused."""
        rate = self.requests_per_second
        if self.announce != "always" or rate is None:
            return {}
        return self._state(rate)

    def _refill(self, rate: float) -> float:
        now = self.clock()
        level = self.burst if self._level is None else self._level
        self._level = min(self.burst, level + (now - self._filled_at) * rate)
        self._filled_at = now
        return self._level

    def _refusal(self, kind: str, wait: float | None) -> Refused:
        headers: dict[str, str] = {}
        if self.announce != "nothing" and wait is not None:
            headers["x-ratelimit-reset"] = f"{wait:.4f}"
            headers["Retry-After"] = str(math.ceil(wait))
            if self.announce == "always" and self.requests_per_second:
                headers |= self._state(self.requests_per_second)
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        message = "Too many requests at once" if wait is None else "Too many requests"
        return Refused(429, message, type=kind, headers=headers)

    def _state(self, rate: float) -> dict[str, str]:
        level = max(0.0, self._refill(rate))
        return {
            "x-ratelimit-limit": f"{rate:g}",
            "x-ratelimit-remaining": str(int(level)),
            "x-ratelimit-reset": f"{max(0.0, 1 - level) / rate:.4f}",
        }
