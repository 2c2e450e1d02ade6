"""Run the real client against the modelled servers, over loopback.

    python -m simulation.wire [NAME] [--seconds N] [--page FILE]

What the simulation says of the engine on a virtual clock is put to the test on the
wire: the same models answer behind sockets, from a process of their own, to the client
that users have, on a machine that does other things too. A model says when an answer
leaves; the server waits until then. Each regime is watched for as long both ways.

Two things differ. A request that is lost to a timeout in the simulation is closed
without an answer here, since a real one takes a minute; and a start of 20 minutes is
one of half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from simulation.measure import Result, assess, measure
from simulation.page import put_table
from simulation.regimes import MEAN, REGIMES, Regime, batches
from simulation.servers import Cold, Slots, Work
from simulation.world import ONE_WAY, Landing, Server
from together_embed import EmbeddingsClient
from together_embed.engine.outcome import Outcome, Reply

SECONDS = 100.0
"""For which a regime is watched, at most."""
START_UP = 30.0
"""Seconds until the first replica is ready."""
COLD = Regime(
    f"cold for {START_UP:g} s, 32 slots",
    lambda dice: Cold(Slots(Work(dice), 32), START_UP),
    lambda now: 0.0 if now < START_UP else 32 / MEAN,
    seconds=START_UP + 60,
    from_second=START_UP,
)
ON_THE_WIRE = [COLD if "cold" in one.name else one for one in REGIMES]
CLIENT = "x-client"
"""The header that says which client a request is from."""
HEADING = (
    "| over loopback | share, simulated | share | refused, simulated | refused |\n"
    "|---|---|---|---|---|"
)


class Modelled:
    """An HTTP server that answers what a model does, when the model does.

    Attributes:
        landings: Every request that is over; seconds count from the first.
    """

    def __init__(self, model: Server) -> None:
        self.landings: list[Landing] = []
        self._model = model
        self._began_at: float | None = None

    def now(self) -> float:
        """Return the seconds since the first request."""
        at = asyncio.get_running_loop().time()
        self._began_at = at if self._began_at is None else self._began_at
        return at - self._began_at

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        sent_at = self.now()
        body = await request.read()
        texts = len(json.loads(body)["input"])
        await self._sleep_until(sent_at + ONE_WAY)
        done, outcome = self._model.arrive(self.now(), texts, len(body))
        await self._sleep_until(done + ONE_WAY)
        status = outcome.status if isinstance(outcome, Reply) else 0
        accident = isinstance(outcome, Reply) and "x-accident" in outcome.headers
        client = int(request.headers[CLIENT])
        landing = Landing(self.now(), sent_at, status, client, texts, accident)
        self.landings.append(landing)
        return _response(request, outcome)

    async def _sleep_until(self, moment: float) -> None:
        await asyncio.sleep(moment - self.now())


def _response(request: web.Request, outcome: Outcome) -> web.Response:
    if not isinstance(outcome, Reply):
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # which nobody gets
    return web.Response(
        status=outcome.status,
        headers=dict(outcome.headers),
        body=outcome.body,
        content_type="application/json",
    )


async def serve(regime: Regime) -> None:
    """Serve a regime's model: print the port, and at the end of stdin what landed."""
    modelled = Modelled(regime.server(random.Random(0)))
    app = web.Application()
    app.router.add_post("/v1/embeddings", modelled.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps([asdict(landing) for landing in modelled.landings]))
    await runner.cleanup()


@contextmanager
def serving(regime: Regime, landings: list[Landing]) -> Iterator[str]:
    """Have a process serve; yield the base URL, and fill in what landed at the end."""
    command = [sys.executable, "-m", "simulation.wire", "--serve", regime.name]
    with subprocess.Popen(  # noqa: S603 - this very program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield f"http://127.0.0.1:{int(_pipe(server.stdout).readline())}/v1"
        told, _ = server.communicate()
    landings += [Landing(**landing) for landing in json.loads(told)]


def _pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def carry(regime: Regime) -> Result:
    """Let real clients run, and measure what became of their requests."""
    landings: list[Landing] = []
    with serving(regime, landings) as url:
        failed = asyncio.run(_run(regime, url))
    in_time = [one for one in landings if one.at <= regime.seconds]
    return assess(regime, in_time, failed)


async def _run(regime: Regime, url: str) -> int:
    """Embed with every client until the time is over; return how many have failed."""
    arrivals = random.Random(1)
    begins = [arrivals.random() * (regime.clients > 1) for _ in range(regime.clients)]
    work = [_embed(regime, url, *one) for one in enumerate(begins)]
    ends = await asyncio.gather(*work, return_exceptions=True)
    return sum(isinstance(end, Exception) for end in ends)


async def _embed(regime: Regime, url: str, number: int, begin: float) -> None:
    await asyncio.sleep(begin)
    async with EmbeddingsClient(
        "m",
        api_key="no-key",
        base_url=url,
        batch_size=min(regime.texts, 100),
        max_retries=regime.max_retries,
        hedge=regime.hedge,
        headers={CLIENT: str(number)},
        encoding_format="float",
    ) as client:
        # In order, one that is slow would hold up what waits behind it.
        one_by_one = client.astream(_texts(), ordered=False)
        many = client.aembed_batches(batches(regime.texts))
        drawing = _draw(one_by_one if regime.texts == 1 else many)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drawing, regime.seconds - begin)


async def _draw(rows: AsyncIterator[Any]) -> None:
    async for _ in rows:
        pass


def _texts() -> Iterator[str]:
    for batch in batches(1):
        yield from batch


def row(modelled: Result, carried: Result) -> str:
    """Return a line of the table."""
    failed = f" ({carried.failed} failed)" if carried.failed else ""
    return (
        f"| {carried.name}{failed} | {modelled.share:.3f} | {carried.share:.3f} "
        f"| {modelled.refused:.1%} | {carried.refused:.1%} |"
    )


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.wire",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", default="", help="part of a regime's name")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each")
    parser.add_argument("--page", type=Path, help="a page that has such a table")
    parser.add_argument("--serve", metavar="NAME", help="be the server of a regime")
    asked = parser.parse_args()
    if asked.serve is not None:
        (regime,) = (one for one in ON_THE_WIRE if one.name == asked.serve)
        asyncio.run(serve(regime))
        return
    rows = []
    print(HEADING)
    for one in ON_THE_WIRE:
        if asked.name in one.name:
            regime = replace(one, seconds=min(one.seconds, asked.seconds))
            rows.append(row(measure(regime), carry(regime)))
            print(rows[-1], flush=True)
    if asked.page is not None:
        put_table(asked.page, HEADING, rows)


if __name__ == "__main__":
    main()
