"""Run the real client against the local endpoint's limits: `python -m simulation.wire`.

What the simulation says of the engine on a virtual clock is put to the test on the
wire: sockets, an event loop, a server of its own, a machine that does other things too.
Each regime is run for some seconds over loopback and stands beside what the simulation
makes of the same numbers in the same time. With a file, its table is written anew.

A request takes the server 0.3 s in the mean, drawn as in the simulation. The ideal is
what that alone would let through, so that all that network, client and server take
shows in the share. Requests are counted at the server's limits, answers where they are
checked.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulation.measure import START, Result, measure
from simulation.regimes import MEAN, Regime, always, batches
from simulation.servers import (
    FAULTS,
    Capped,
    Dice,
    Headers,
    Picky,
    Rated,
    Slots,
    Work,
    constant,
    silent,
    true_time,
)
from simulation.world import ONE_WAY, Server
from together_embed import EmbeddingsClient
from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.engine.stats import BatchStats
from together_embed.local import Fault, LocalEndpoint
from together_embed.local.limits import Announce, Limits

SECONDS = 25.0
SICK = 0.1
"""The share of requests that fail in the last regime."""
HEADING = (
    "| over loopback | ideal, a second | share, simulated | share "
    "| refused, simulated | refused |\n|---|---|---|---|---|---|"
)
TABLE = re.compile(r"^\| over loopback .*?(?=\n\n)", re.S | re.M)
FAILURES = (
    Fault("status", status=429),
    Fault("status", status=429, headers={"retry-after": "1"}),
    *(Fault("status", status=status) for status in (500, 502, 503, 504)),
    *(Fault(kind) for kind in ("hang_up", "reset", "no_data")),
)
"""What befalls them."""
MODELLED = tuple(one for one in FAULTS if one != Lost(Cause.TIMEOUT))
"""The same, for the model: one of every kind that is over at once."""


class Watched(Limits):
    """The endpoint's limits, which note what came and what they refused.

    Attributes:
        take: Is told how many seconds the request that was let in is to take.
    """

    def __init__(self, work: Work, **limits: Any) -> None:
        super().__init__(**limits)
        self.came: list[tuple[float, bool]] = []
        self.take: Callable[[float], None]
        self._work = work

    def admit(self, in_flight: int) -> None:
        """Do what `Limits` does, and note it."""
        refused = True
        try:
            super().admit(in_flight)
            refused = False
            self.take(self._work.seconds())
        finally:
            self.came.append((time.monotonic(), refused))


@dataclass
class Failing:
    """Fails one request in so many after the work, as the endpoint does."""

    inner: Server
    dice: Dice

    def arrive(self, now: float, texts: int, size: int) -> tuple[float, Outcome]:
        """See `world.Server`."""
        done, outcome = self.inner.arrive(now, texts, size)
        failed = done > now and self.dice.random() < SICK
        return done, self.dice.choice(MODELLED) if failed else outcome


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: What it is called.
        ideal: Texts a second.
        limits: The endpoint's.
        model: Makes the same server for the simulation, of requests that take so long.
        cap: How many may be in flight: the model's network takes places of them.
        slots: How many requests the endpoint works on at once, the others waiting.
        slow: The share of requests that take 20 times as long.
        fails: Whether one in ten fails.
        most: Texts a request that it takes, at most.
    """

    name: str
    ideal: float
    limits: dict[str, Any]
    model: Callable[[Work], Server]
    cap: int | None = None
    slots: int | None = None
    slow: float = 0.0
    fails: bool = False
    most: int | None = None

    @property
    def together(self) -> int:
        """How many texts are handed in together, at most 100 of them a request."""
        return 1 if self.most is None else 3_200

    def simulate(self, seconds: float) -> Result:
        """Let the engine run against the model."""
        ideal, cap = self.ideal, self.cap
        if cap is not None:
            ideal = cap / (cap / ideal + 2 * ONE_WAY)

        def model(dice: Dice) -> Server:
            return self.model(Work(dice, slow=self.slow))

        made = Regime(self.name, model, always(ideal), seconds, texts=self.together)
        return measure(made)

    @contextmanager
    def serving(self) -> Iterator[tuple[str, Watched]]:
        """Run the endpoint for the length of the block; yield its URL and limits."""
        limits = Watched(Work(random.Random(1), slow=self.slow), **self.limits)
        with LocalEndpoint(
            dimension=8,
            limits=limits,
            slots=self.slots,
            max_texts=self.most,
            log_size=1,
        ) as endpoint:
            limits.take = endpoint.slow
            if self.fails:
                endpoint.storm(SICK, faults=FAILURES)
            yield endpoint.base_url, limits

    async def carry(self, seconds: float) -> tuple[float, float]:
        """Let the client run; return the share, and that of refused requests."""
        run, until = Run(), time.monotonic() + seconds
        with self.serving() as (url, limits):
            await run.embed(url, self.together, until)
        begin = limits.came[min(START, len(limits.came) - 1)][0]
        refused = [no for came, no in limits.came if begin <= came < until]
        refused += [True] * run.too_large  # those never come to the limits
        texts = sum(count for at, count in run.right if begin <= at < until)
        share = texts / (self.ideal * (until - begin))
        return share, sum(refused) / len(refused)

    def row(self, seconds: float) -> str:
        """Run it both ways, and return what came of it."""
        modelled = self.simulate(seconds)
        share, refused = asyncio.run(self.carry(seconds))
        return (
            f"| {self.name} | {self.ideal:.4g} | {modelled.share:.3f} | {share:.3f} "
            f"| {modelled.refused:.1%} | {refused:.1%} |"
        )


class Run:
    """What one client was answered.

    Attributes:
        right: When how many texts were.
        too_large: How many requests held too many texts.
    """

    def __init__(self) -> None:
        self.right: list[tuple[float, int]] = []
        self.too_large = 0

    async def embed(self, url: str, together: int, until: float) -> None:
        """Embed texts without end until a moment."""
        async with EmbeddingsClient(
            "m",
            api_key="no-key",
            base_url=url,
            batch_size=min(together, 100),
            on_batch=self._note,
        ) as client:
            # In order, one that is slow would hold up what waits behind it.
            one_by_one = client.astream(_texts(), ordered=False)
            many = client.aembed_batches(batches(together))
            drawing = self._draw(one_by_one if together == 1 else many)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(drawing, until - time.monotonic())
            self.too_large = client.stats.failures.get("422", 0)

    def _note(self, batch: BatchStats) -> None:
        if batch.error is None:
            self.right.append((time.monotonic(), batch.texts))

    @staticmethod
    async def _draw(rows: AsyncIterator[Any]) -> None:
        async for _ in rows:
            pass


def _texts() -> Iterator[str]:
    for batch in batches(1):
        yield from batch


def _capped(cap: int, headers: Headers = silent) -> Callable[[Work], Server]:
    return lambda work: Capped(work, always(cap), headers)


def _cap(name: str, cap: int, **limits: Any) -> Case:
    said = limits.get("retry_after")
    model = _capped(cap, silent if said is None else constant(float(said)))
    limits = {"max_in_flight": cap, "announce": "nothing", **limits}
    return Case(name, cap / MEAN, limits, model, cap=cap)


def _rate(name: str, rate: float, burst: float, announce: Announce) -> Case:
    headers = silent if announce == "nothing" else true_time
    limits = {"requests_per_second": rate, "burst": burst, "announce": announce}
    told = announce == "always"
    return Case(
        name,
        rate,
        limits,
        lambda work: Rated(work, always(rate), burst, headers=headers, announce=told),
    )


CASES = [
    _cap("429 above 8", 8),
    _cap("429 above 32", 32),
    _cap("429 above 32, always 60 s", 32, retry_after="60"),
    _rate("10 a second, burst 10", 10, 10, "nothing"),
    _rate("10 a second, told beforehand", 10, 10, "always"),
    _rate("100 a second, burst 10", 100, 10, "nothing"),
    _rate("100 a second, burst 1", 100, 1, "nothing"),
    Case("queue, 32 slots", 32 / MEAN, {}, lambda work: Slots(work, 32), slots=32),
    replace(
        _cap("2 % 20 times slower, cap 32", 32),
        ideal=32 / (MEAN * 1.38),
        slow=0.02,
    ),
    Case(
        "at most 32 texts a request",
        8 / MEAN * 32,
        {},
        lambda work: Picky(Slots(work, 8), 32),
        slots=8,
        most=32,
    ),
    replace(
        _cap("1 in 10 fails, cap 32", 32),
        # What fails was worked on all the same.
        ideal=32 / MEAN * (1 - SICK),
        model=lambda work: Failing(Capped(work, always(32)), work.dice),
        fails=True,
    ),
]


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.wire", description=__doc__
    )
    parser.add_argument("page", nargs="?", type=Path)
    parser.add_argument("--only", default="", help="part of a regime's name")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each")
    asked = parser.parse_args()
    rows = [HEADING]
    for case in CASES:
        if asked.only in case.name:
            rows.append(case.row(asked.seconds))
            print(rows[-1], flush=True)
    if asked.page is not None:
        page = asked.page.read_text()
        asked.page.write_text(TABLE.sub("\n".join(rows), page, count=1))


if __name__ == "__main__":
    main()
