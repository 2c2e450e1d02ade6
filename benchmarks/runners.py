"""Run one client once, in this process, and print what it took as one line of JSON.

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


@dataclass(frozen=True)
class Result:
    """One run: seconds of wall and CPU, and what server and check counted."""

    client: str
    package: str
    version: str
    texts: int
    wall: float
    cpu: float
    others: float  # CPU that other processes took of this one's cores, of the wall
    peak_mb: float
    right: int
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

    def start(self) -> None:
        """Reset the server's counts and start."""
        ask(self._url, "POST", "/reset")
        self._busy = busy_seconds(self._cores)
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def stop(self) -> None:
        """Stop, and read what the server counted."""
        self.wall = time.perf_counter() - self._wall
        self.cpu = cpu_seconds() - self._cpu
        busy = busy_seconds(self._cores) - self._busy
        self.others = max(busy - self.cpu, 0.0) / self.wall
        self.peak_mb = peak_mb()
        self.server = ask(self._url, "GET", "/counts")


def run_sync(embed: Embed, warm: list[str], texts: list[str], clock: Clock) -> Any:
    """Time `embed(texts)`."""
    embed(warm)
    clock.start()
    vectors = embed(texts)
    clock.stop()
    return vectors


async def run_async(
    client: Client, job: Job, warm: list[str], texts: list[str], clock: Clock
) -> Any:
    """Make the client on this loop and time `await embed(texts)`."""
    embed = client.make(job)
    await embed(warm)
    clock.start()
    vectors = await embed(texts)
    clock.stop()
    await close(job)
    return vectors


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
    client: Client, job: Job, texts: list[str], width: int, cores: list[int]
) -> Result:
    """Run `client` once and check what it returned."""
    warm = make_texts(2 if client.share > 8 else job.batch, WARM_UP)
    clock = Clock(job.url, cores)
    if client.colour == "async":
        vectors = asyncio.run(run_async(client, job, warm, texts, clock))
    else:
        vectors = run_sync(client.make(job), warm, texts, clock)
        asyncio.run(close(job))
    return Result(
        client=client.key,
        package=client.package,
        version=version_of(client.package),
        texts=len(texts),
        wall=clock.wall,
        cpu=clock.cpu,
        others=clock.others,
        peak_mb=clock.peak_mb,
        right=count_right(texts, vectors, width),
        server=clock.server,
    )


def main() -> None:
    """Read the options, run, and print the result."""
    parser = argparse.ArgumentParser(description="Run one client once.")
    parser.add_argument("client", choices=sorted(CLIENTS))
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
    result = run(client, job, texts, options.width, options.cpus)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
