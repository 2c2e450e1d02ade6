"""Compare finding vectors in a cache with fetching them from a server on loopback.

    python benchmarks/recall.py [--texts N] [--width N] [--rounds N]

One server answers at once; one after 30 ms and 0.5 ms a text; and one, as fast as that,
10 requests a second after a burst of 5. The cache is filled once, before the rounds;
its file is then in the system's memory. The client is told nothing but where the server
is. Every run has a process of its own, and its vectors are compared with the right
ones, bit for bit, outside of the clock. A run during which others took a tenth of the
client's cores is repeated, and the quietest counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from corpus import count_right, make_texts
from machine import describe_machine
from processes import Cores, run_client, serving
from report import QUIET
from runners import Clock

from together_embed import EmbeddingsClient

FORMS = {"lists": "embed", "array": "embed_array"}
_SOME_TIME = {"base-delay": 0.030, "per-text": 0.0005}
PACES: dict[str, dict[str, object]] = {
    "at once": {"base-delay": 0, "per-text": 0},
    "30 ms + 0.5 ms a text": _SOME_TIME,
    "10 requests a second": {**_SOME_TIME, "rate": 10, "burst": 5},
}
WARM = 10
TRIES = 3


def main() -> None:
    """Run one way where one is named, else all of them."""
    options = read_options()
    if options.form:
        print(json.dumps(measure(options)))
        return
    cores = Cores.share_out()
    with ExitStack() as stack:
        urls = {}
        for pace, told in PACES.items():
            server = serving({"width": options.width, **told}, cores)
            urls[pace] = stack.enter_context(server)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        cache = os.path.join(folder, "vectors.db")
        runs = compare(options, urls, cache, cores)
    print(f"{describe_machine(cores)}\n")
    print(
        f"{options.texts:,} texts, width {options.width}, {options.rounds} round(s).\n"
    )
    show(runs, options)


def read_options() -> argparse.Namespace:
    """Read the command line; the last four are said by this program to itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--form", "--url", "--cache"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    parser.add_argument(
        "--cpus", type=int, nargs="*", default=[], help=argparse.SUPPRESS
    )
    return parser.parse_args()


def compare(
    options: argparse.Namespace, urls: dict[str, str], cache: str, cores: Cores
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the runs of each way in each form, in the order in which they ran."""
    first = next(iter(urls.values()))

    def run(form: str, url: str, cache: str, most: int = TRIES) -> dict[str, Any]:
        told = {"form": form, "url": url, "cache": cache}
        told |= {"texts": options.texts, "width": options.width}
        tries: list[dict[str, Any]] = []
        while not tries or (tries[-1]["others"] > QUIET and len(tries) < most):
            tries.append(run_client(Path(sys.executable), [__file__], told, cores))
            assert tries[-1].get("right") == options.texts, tries[-1]
            print(form, tries[-1], file=sys.stderr, flush=True)
        return min(tries, key=lambda tried: tried["others"])

    runs = {("array", "fetched and kept"): [run("array", first, cache, 1)]}
    for _ in range(options.rounds):
        for form in FORMS:
            for pace, url in urls.items():
                runs.setdefault((form, f"fetched, {pace}"), []).append(
                    run(form, url, "")
                )
            runs.setdefault((form, "found"), []).append(run(form, first, cache))
    return runs


def show(
    runs: dict[tuple[str, str], list[dict[str, Any]]], options: argparse.Namespace
) -> None:
    """Print a table of medians, in µs a text and as parts of what fetching takes."""
    print("| | | CPU | wall | finding takes of its CPU | of its wall |")
    print("|---|---|---:|---:|---:|---:|")
    for (form, way), ran in runs.items():
        cpu, wall = (median(run[name] for run in ran) for name in ("cpu", "wall"))
        cells = [f"{seconds / options.texts * 1e6:.1f} µs" for seconds in (cpu, wall)]
        for name in ("cpu", "wall"):
            found = runs[form, "found"]
            pairs = zip(found, ran, strict=False)
            cells.append(
                f"{median(one[name] / other[name] for one, other in pairs):.2f}"
            )
        print(f"| {form} | {way} | {' | '.join(cells)} |")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Embed the texts once, on the clock."""
    if options.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, options.cpus)
    texts = make_texts(options.texts)
    clock = Clock(options.url, options.cpus)
    told = {"base_url": options.url, "cache": options.cache or None}
    with EmbeddingsClient("m", api_key="k", **told) as client:
        embed = getattr(client, FORMS[options.form])
        embed(make_texts(WARM, options.texts))
        clock.start()
        vectors = embed(texts)
        clock.stop()
    return {
        "cpu": clock.cpu,
        "wall": clock.wall,
        "others": clock.others,
        "requests": clock.server["requests"],
        "right": count_right(texts, vectors, options.width),
    }


if __name__ == "__main__":
    main()
