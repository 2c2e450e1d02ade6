"""The situations that a client has to cope with, and what would be ideal in each.

In all of them a client with nothing set has work without end. A batch is one text that
stands for a hundred, but where the number of texts matters.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

from simulation.servers import (
    Capped,
    Cold,
    Dice,
    Faulty,
    Headers,
    Level,
    Open,
    Picky,
    Rated,
    Slots,
    Windowed,
    Work,
    constant,
    silent,
    true_time,
    whole_seconds,
)
from simulation.world import ONE_WAY, Server, World
from together_embed.engine.flow import CEILING

Ideal = Callable[[float], float]
"""Texts a second that the server would carry, at a moment."""


@dataclass(frozen=True)
class Regime:
    """One situation.

    Attributes:
        name: What the table calls it.
        server: Makes the server.
        ideal: What it carries.
        seconds: How long it is watched.
        clients: How many clients there are.
        texts: Texts that are handed in together; a request holds 100 of them.
        from_second: When the watching begins at the earliest.
        max_retries: The clients' setting, where the default is not what is tried.
        hedge: Their setting of that name.
    """

    name: str
    server: Callable[[Dice], Server]
    ideal: Ideal
    seconds: float = 120.0
    clients: int = 1
    texts: int = 1
    from_second: float = 0.0
    max_retries: int = 8
    hedge: float | None = None

    def run(self, seed: int = 0) -> World:
        """Let it happen."""
        world = World(self.server(random.Random(seed)), seed)
        arrivals = random.Random(seed + 1)
        for _ in range(self.clients):
            client = world.client(self.max_retries, self.hedge, batch_size=100)
            begin = arrivals.random() if self.clients > 1 else 0.0
            client.start(batches(self.texts), begin)
        world.run(self.seconds)
        return world


def batches(texts: int) -> Iterator[list[str]]:
    """Yield batches without end."""
    names = count()
    while True:
        yield [f"text {next(names):09}" for _ in range(texts)]


def always(level: float) -> Level:
    """Stay as it is."""
    return lambda _: level


def waves(low: float, high: float, period: float) -> Level:
    """Be low, then high, for a period each."""
    return lambda now: low if int(now / period) % 2 == 0 else high


def _capped(cap: Level, headers: Headers = silent) -> Callable[[Dice], Server]:
    return lambda dice: Capped(Work(dice), cap, headers)


def _rated(
    rate: Level, burst: float, headers: Headers = silent, announce: bool = False
) -> Callable[[Dice], Server]:
    return lambda dice: Rated(
        Work(dice), rate, burst, headers=headers, announce=announce
    )


def _slots(slots: int, work: Callable[[Dice], Work] = Work) -> Callable[[Dice], Slots]:
    return lambda dice: Slots(work(dice), slots)


MEAN = 0.3
"""Seconds that a server works on a request."""
TRIP = MEAN + 2 * ONE_WAY
"""Seconds of a request, network included. Where a cap is on what is in flight, this is
what it takes: a place that an answer left is free to be used when the client knows."""
_slow = partial(Work, slow=0.02)
_BODY = 44
"""Bytes of a request for one text, which a limit on tokens counts as a hundred."""


def _tokens(size: int) -> float:
    return 100.0 * size / _BODY


REGIMES = [
    Regime("open", lambda dice: Open(Work(dice)), always(CEILING / TRIP), seconds=30),
    Regime("queue, 4 slots", _slots(4), always(4 / MEAN)),
    Regime("queue, 32 slots", _slots(32), always(32 / MEAN)),
    Regime("429 above 8", _capped(always(8)), always(8 / TRIP)),
    Regime("429 above 32", _capped(always(32)), always(32 / TRIP)),
    Regime("429 above 100", _capped(always(100)), always(100 / TRIP), seconds=60),
    Regime(
        "429 above 32, true time", _capped(always(32), true_time), always(32 / TRIP)
    ),
    Regime(
        "429 above 32, always 60 s",
        _capped(always(32), constant(60)),
        always(32 / TRIP),
    ),
    Regime("10 a second, burst 10", _rated(always(10), 10), always(10)),
    Regime("100 a second, burst 100", _rated(always(100), 100), always(100)),
    Regime("100 a second, burst 1", _rated(always(100), 1), always(100)),
    Regime("10 a second, true time", _rated(always(10), 10, true_time), always(10)),
    Regime(
        "10 a second, whole seconds",
        _rated(always(10), 10, whole_seconds),
        always(10),
    ),
    Regime(
        "10 a second, told beforehand",
        _rated(always(10), 10, true_time, announce=True),
        always(10),
    ),
    Regime(
        "tokens a minute, bucket",
        lambda dice: Rated(Work(dice), always(2_000), 60_000, unit=_tokens),
        always(20),
        seconds=300,
    ),
    Regime(
        "tokens a minute, window",
        lambda dice: Windowed(Work(dice), 120_000, 60, true_time, _tokens),
        always(20),
        seconds=300,
    ),
    Regime(
        "cap 10, then 40, by turns",
        _capped(waves(10, 40, 60)),
        lambda now: waves(10, 40, 60)(now) / TRIP,
        seconds=240,
    ),
    Regime(
        "10, then 40 a second, by turns",
        _rated(waves(10, 40, 60), 10),
        waves(10, 40, 60),
        seconds=240,
    ),
    Regime(
        "cold for 20 minutes, 32 slots",
        lambda dice: Cold(Slots(Work(dice), 32), 1200),
        lambda now: 0.0 if now < 1200 else 32 / MEAN,
        seconds=1400,
        from_second=1200,
    ),
    Regime(
        "2 % 20 times slower, 32 slots",
        _slots(32, _slow),
        always(32 / (MEAN * 1.38)),
    ),
    Regime(
        "2 % slower, 32 slots, hedged",
        _slots(32, _slow),
        # What a second request is sent for is worked on all the same.
        always(32 / (MEAN * 1.38)),
        hedge=0.05,
    ),
    Regime(
        "2 % 20 times slower, cap 32",
        lambda dice: Capped(_slow(dice), always(32)),
        always(32 / (MEAN * 1.38 + 2 * ONE_WAY)),
    ),
    Regime(
        "at most 32 texts a request",
        lambda dice: Picky(Slots(Work(dice), 16), 32),
        always(16 / MEAN * 32),
        texts=3_200,
    ),
    Regime(
        "1 in 10 fails, 32 slots",
        lambda dice: Faulty(Slots(Work(dice), 32), dice, 0.1),
        always(32 / MEAN),
    ),
    Regime(
        "20 clients, cap 40",
        _capped(always(40)),
        always(40 / TRIP),
        clients=20,
        seconds=60,
    ),
    Regime(
        "20 clients, 100 a second",
        _rated(always(100), 100),
        always(100),
        clients=20,
        seconds=60,
    ),
    Regime(
        "20 clients, 32 slots",
        _slots(32),
        always(32 / MEAN),
        clients=20,
        seconds=60,
    ),
    Regime(
        "1,000 clients, 200 a second",
        _rated(always(200), 200),
        always(200),
        clients=1000,
        seconds=30,
        max_retries=1000,
    ),
]
