"""Run one client once, in this process, and print what it took as one line of JSON.

A task is what is measured: "texts" embeds them in one call; "hold" does so beside a
ticker that finds the longest time for which the event loop was held; "queries" embeds
one text after the other; "limits" is "texts" without a warm-up, for a server that
refuses what is too much.

Out of the clock: imports, the making of the client, one request to warm it up, and the
check of what came back. Peak memory is the process's own high-water mark, read before
the check; it holds the interpreter, the imports and the list of vectors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clients import CLIENTS, Client, Job
from corpus import count_right, make_texts

if TYPE_CHECKING:
    from clients.registry import Embed

WARM_UP = 10_000_000  # the number of the first text of the warm-up
WARM_QUERIES = 20
TASKS = ("texts", "hold", "queries", "limits")
TICK = 0.001  # seconds


@dataclass(frozen=True)
class Result:
    """One run: seconds of wall and CPU, and what server and check counted."""

    task: str
    client: str
    package: str
    version: str
    texts: int
    wall: float
    cpu: float
    others: float  # CPU that other processes took of this one's cores, of the wall
    peak_mb: float
    right: int
    hold: float  # seconds for which the event loop was held at most, 0 is not asked
    server: dict[str, float]


def ask(url: str, method: str, path: str) -> dict[str, float]:
    """Send one request to the harness's side of the server."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    try:
        connection.request(method, path)
        answer: dict[str, float] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def cpu_seconds() -> float:
    """Return the CPU time of this process, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Return the most memory that this process held, in MB (10**6 bytes)."""
    try:
        # ru_maxrss would start from what the parent held before exec.
        with open("/proc/self/status") as status:
            lines = [line for line in status if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) * 1024 / 1e6
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used * (1 if sys.platform == "darwin" else 1024) / 1e6


def busy_seconds(cores: list[int]) -> float:
    """Return the time that `cores` were not idle since boot, whoever used them."""
    try:
        with open("/proc/stat") as stat:
            lines = [line.split() for line in stat if line.startswith("cpu")]
    except OSError:
        return 0.0
    names = {f"cpu{core}" for core in cores}
    # user, nice, system; then idle, iowait, irq, softirq; then what was stolen.
    ticks = [[*line[1:4], line[8]] for line in lines if line[0] in names]
    return sum(int(tick) for core in ticks for tick in core) / os.sysconf("SC_CLK_TCK")


class Clock:
    """Seconds of wall and CPU between `start` and `stop`, and the server's counts."""

    def __init__(self, url: str, cores: list[int]) -> None:
        self._url = url
        self._cores = cores
        self.hold = 0.0

    def start(self) -> None:
        """Reset the server's counts and start."""
        ask(self._url, "POST", "/reset")
        self._busy = busy_seconds(self._cores)
        self.hold = 0.0
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def stop(self) -> None:
        """Stop, and read what the server counted."""
        self.wall = time.perf_counter() - self._wall
        self.cpu = cpu_seconds() - self._cpu
        busy = busy_seconds(self._cores) - self._busy
        self.others = max(busy - self.cpu, 0.0) / self.wall
        self.peak_mb = peak_mb()
        self.server = ask(self._url, "GET", "/counts")


def run_sync(
    embed: Embed, task: str, warm: list[str], texts: list[str], clock: Clock
) -> Any:
    """Time `embed(texts)`, or `embed` of each."""
    if task == "queries":
        for text in warm:
            embed(text)
        clock.start()
        vectors = [embed(text) for text in texts]
    else:
        if task != "limits":
            embed(warm)
        clock.start()
        vectors = embed(texts)
    clock.stop()
    return vectors


async def run_async(
    client: Client, job: Job, task: str, warm: list[str], texts: list[str], clock: Clock
) -> Any:
    """Make the client on this loop and time what `run_sync` times."""
    embed = client.make(job)
    if task == "queries":
        for text in warm:
            await embed(text)
        clock.start()
        vectors = [await embed(text) for text in texts]
    else:
        if task != "limits":
            await embed(warm)
        ticker = asyncio.create_task(tick(clock)) if task == "hold" else None
        await asyncio.sleep(TICK)
        clock.start()
        vectors = await embed(texts)
        if ticker:
            await asyncio.sleep(2 * TICK)  # a hold at the very end is one as well
            ticker.cancel()
    clock.stop()
    await close(job)
    return vectors


async def tick(clock: Clock) -> None:
    """Note how much later than asked for the loop comes back, at most."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        clock.hold = max(clock.hold, time.perf_counter() - before - TICK)


async def close(job: Job) -> None:
    """Close what the client opened."""
    for closer in job.closers:
        waiting = closer()
        if waiting is not None:
            await waiting


def version_of(package: str) -> str:
    """Return the version that is installed here, "source" where none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"


def run(
    client: Client, job: Job, task: str, texts: list[str], width: int, cores: list[int]
) -> Result:
    """Run `client` once and check what it returned."""
    clock = Clock(job.url, cores)
    many = WARM_QUERIES if task == "queries" else job.batch
    warm = make_texts(2 if client.share > 8 else many, WARM_UP)
    if client.colour == "async":
        vectors = asyncio.run(run_async(client, job, task, warm, texts, clock))
    else:
        vectors = run_sync(client.make(job), task, warm, texts, clock)
        asyncio.run(close(job))
    return Result(
        task=task,
        client=client.key,
        package=client.package,
        version=version_of(client.package),
        texts=len(texts),
        wall=clock.wall,
        cpu=clock.cpu,
        others=clock.others,
        peak_mb=clock.peak_mb,
        right=count_right(texts, vectors, width),
        hold=clock.hold,
        server=clock.server,
    )


def main() -> None:
    """Read the options, run, and print the result."""
    parser = argparse.ArgumentParser(description="Run one client once.")
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("--task", choices=TASKS, default="texts")
    parser.add_argument("--url", required=True)
    parser.add_argument("--texts", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument(
        "--cpus", type=int, nargs="*", default=[], help="the cores to stay on"
    )
    options = parser.parse_args()
    if options.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, options.cpus)
    job = Job(options.url, options.batch, options.concurrency)
    texts = make_texts(options.texts)
    client = CLIENTS[options.client]
    task, width = options.task, options.width
    result = run(client, job, task, texts, width, options.cpus)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
