"""Models of servers: what they do with a request, as a function of its arrival.

Each keeps what it needs to know of earlier arrivals and nothing else. Arrivals come in
the order of time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush, heapreplace

import orjson

from together_embed.engine.outcome import Cause, Lost, Outcome, Reply

Dice = random.Random
Level = Callable[[float], float]
"""A limit that may change with time."""
Headers = Callable[[float], Mapping[str, str]]
"""What a refusal says, given the seconds after which there would have been room."""


@lru_cache(maxsize=512)
def right(texts: int) -> Reply:
    """Return a right answer for so many texts."""
    rows = [{"index": index, "embedding": [0.5]} for index in range(texts)]
    return Reply(200, {}, orjson.dumps({"data": rows}))


def wrong(status: int, headers: Mapping[str, str] | None = None, **error: str) -> Reply:
    """Return an answer that is none."""
    return Reply(status, headers or {}, orjson.dumps({"error": error}))


def silent(_: float) -> Mapping[str, str]:
    """Name no time."""
    return {}


def true_time(wait: float) -> Mapping[str, str]:
    """Name the true time."""
    return {"x-ratelimit-reset": f"{wait:.4f}"}


def whole_seconds(wait: float) -> Mapping[str, str]:
    """Name the true time, rounded up as `Retry-After` has it."""
    return {"retry-after": str(max(1, math.ceil(wait)))}


def constant(seconds: float) -> Headers:
    """Name always the same time, whatever the truth."""
    return lambda _: {"retry-after": f"{seconds:g}"}


@dataclass
class Work:
    """How long a request takes: log-normal, and some of them far longer.

    Attributes:
        mean: Seconds, of the usual ones.
        spread: The standard deviation of the logarithm.
        slow: The share of slow ones.
        slower: How many times slower they are.
    """

    dice: Dice
    mean: float = 0.3
    spread: float = 0.2
    slow: float = 0.0
    slower: float = 20.0

    def seconds(self) -> float:
        """Draw one."""
        drawn = self.dice.lognormvariate(-(self.spread**2) / 2, self.spread) * self.mean
        return drawn * self.slower if self.dice.random() < self.slow else drawn

    @property
    def average(self) -> float:
        """Seconds, of all of them."""
        return self.mean * (1 + self.slow * (self.slower - 1))


@dataclass
class Open:
    """Carries whatever comes, all at once."""

    work: Work

    def arrive(self, now: float, texts: int, _: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        return now + self.work.seconds(), right(texts)


@dataclass
class Slots:
    """Works on so many requests at once; the others wait in line."""

    work: Work
    slots: int
    _free: list[float] = field(default_factory=list)

    def arrive(self, now: float, texts: int, _: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        if len(self._free) < self.slots:
            done = now + self.work.seconds()
            heappush(self._free, done)
        else:
            done = max(now, self._free[0]) + self.work.seconds()
            heapreplace(self._free, done)
        return done, right(texts)


@dataclass
class Capped:
    """Refuses with 429 what comes while so many are being worked on."""

    work: Work
    cap: Level
    headers: Headers = silent
    _busy: list[float] = field(default_factory=list)

    def arrive(self, now: float, texts: int, _: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        while self._busy and self._busy[0] <= now:
            heappop(self._busy)
        if len(self._busy) >= self.cap(now):
            wait = self._busy[0] - now
            return now, wrong(429, self.headers(wait), type="model_rate_limit")
        done = now + self.work.seconds()
        heappush(self._busy, done)
        return done, right(texts)


@dataclass
class Rated:
    """Refuses with 429 what is over a rate: a bucket that refills.

    Attributes:
        rate: Units a second, as a function of time.
        burst: How many units the bucket holds.
        unit: How many units a request of so many bytes is.
        announce: Whether every answer says what is left.
    """

    work: Work
    rate: Level
    burst: float
    headers: Headers = silent
    unit: Callable[[int], float] = lambda _: 1.0
    announce: bool = False
    _level: float = math.inf
    _at: float = 0.0

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        rate, units = self.rate(now), self.unit(size)
        self._level = min(self.burst, self._level + (now - self._at) * rate)
        self._at = now
        if self._level < units - 1e-9:
            wait = (units - self._level) / rate
            return now, wrong(429, self.headers(wait), type="rate_limit")
        self._level -= units
        answer = right(texts)
        if self.announce:
            left = {
                "x-ratelimit-limit": f"{rate:g}",
                "x-ratelimit-remaining": str(int(self._level)),
                "x-ratelimit-reset": f"{max(0.0, 1 - self._level) / rate:.4f}",
            }
            answer = Reply(200, left, answer.body)
        return now + self.work.seconds(), answer


@dataclass
class Windowed:
    """Grants so many units in each window of the clock, and refuses the rest."""

    work: Work
    units: float
    window: float
    headers: Headers = silent
    unit: Callable[[int], float] = lambda _: 1.0
    _index: int = -1
    _used: float = 0.0

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        index, units = int(now / self.window), self.unit(size)
        if index != self._index:
            self._index, self._used = index, 0.0
        if self._used + units > self.units:
            wait = (index + 1) * self.window - now
            return now, wrong(429, self.headers(wait), type="rate_limit")
        self._used += units
        return now + self.work.seconds(), right(texts)


@dataclass
class Cold:
    """Has no replica that is ready until a moment."""

    inner: Slots
    ready_at: float

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        if now < self.ready_at:
            return now, wrong(503, type="routing_error", message="no replica")
        return self.inner.arrive(now, texts, size)


@dataclass
class Picky:
    """Takes so many texts a request, and tells nobody."""

    inner: Slots
    most: int
    status: int = 422

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        if texts > self.most:
            return now, wrong(self.status, message="too many inputs")
        return self.inner.arrive(now, texts, size)


ACCIDENT = {"x-accident": "1"}
"""On a refusal that no client has caused."""
FAULTS: tuple[Outcome, ...] = (
    wrong(429, ACCIDENT),
    wrong(429, {**ACCIDENT, "retry-after": "1"}),
    wrong(500),
    wrong(502),
    wrong(503, ACCIDENT),
    wrong(504),
    Lost(Cause.CLOSED_EARLY),
    Lost(Cause.CONNECTION),
    Lost(Cause.TIMEOUT),
    Reply(200, {}, b'{"data": []}'),
)
"""One of every kind."""


@dataclass
class Faulty:
    """Fails one request in so many, in every way there is."""

    inner: Slots | Capped
    dice: Dice
    share: float

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        if self.dice.random() < self.share:
            return now, self.dice.choice(FAULTS)
        return self.inner.arrive(now, texts, size)
