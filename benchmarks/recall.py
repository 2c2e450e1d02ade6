"""Compare 100,000 vectors that a cache holds with fetching them over loopback.

    python benchmarks/recall.py [--texts N] [--width N] [--delay SECONDS]

Each way runs in a process of its own. `fetched` is a client without a cache, `kept` one
that fills it, `recalled` one that finds all of it there. CPU is that of the client's
process, as lists and as one array.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from together_embed import EmbeddingsClient

HERE = Path(__file__).parent
WAYS = ("fetched", "kept", "recalled")


def main() -> None:
    options = read_options()
    if options.way:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(options)
        try:
            options.url = f"http://127.0.0.1:{port_of(server)}"
            for form in ("lists", "array"):
                options.cache = os.path.join(folder, f"{form}.db")
                for way in WAYS:
                    show(form, way, options)
        finally:
            server.communicate()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--delay", type=float, default=0.0)
    for hidden in ("--way", "--form", "--url", "--cache"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


def start_server(options: argparse.Namespace) -> subprocess.Popen[str]:
    words = [f"--width={options.width}", f"--base-delay={options.delay}"]
    return subprocess.Popen(
        [sys.executable, HERE / "server.py", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def port_of(server: subprocess.Popen[str]) -> int:
    out: IO[str] | None = server.stdout
    assert out is not None
    return int(json.loads(out.readline())["port"])


def show(form: str, way: str, options: argparse.Namespace) -> None:
    """Measure in a process of its own, so that no way pays for another's memory."""
    words = [f"--{name}={value}" for name, value in vars(options).items() if value]
    words += [f"--way={way}", f"--form={form}"]
    told = subprocess.check_output([sys.executable, __file__, *words], text=True)
    found = json.loads(told)
    print(
        f"{form:6} {way:9} {found['cpu']:7.2f} s of CPU {found['wall']:7.2f} s, "
        f"{found['recalled']:,} recalled, {found['requests']:,} requests",
        flush=True,
    )


def measure(options: argparse.Namespace) -> dict[str, float]:
    texts = [f"text number {number} of a corpus" for number in range(options.texts)]
    cache = None if options.way == "fetched" else options.cache
    client = EmbeddingsClient("m", api_key="k", base_url=options.url, cache=cache)
    embed = client.embed if options.form == "lists" else client.embed_array
    usage, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    assert len(embed(texts)) == options.texts
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    stats = client.stats
    client.close()
    return {
        "cpu": cpu,
        "wall": wall,
        "recalled": stats.recalled,
        "requests": stats.requests,
    }


if __name__ == "__main__":
    main()
