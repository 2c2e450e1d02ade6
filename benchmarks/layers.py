"""Show what an aim that is not reached is made of: what each layer costs by itself.

    python benchmarks/layers.py [--rounds N] [--page FILE]

Between the floor and our own path stand programs by hand that do one thing more than
the floor (`clients/bare.py`), without any check, retry or limit. Every run has a
process of its own, rounds are interleaved, ratios are taken within a round. A run
during which others took a tenth of the client's cores is repeated, and the quietest
counts.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import runners
from clients import CLIENTS, bare
from clients.ours import ADAPTIVE
from clients.rust import RUST
from goals import FLOOR_SYNC, SYNC_RUST
from machine import describe_machine
from pages import put
from processes import Cores, interpreter, make_peers, run_client, serving
from report import QUIET
from runs import FLOOR, LIMITED, LIMITED_BATCH, QUERIES, SERVERS

__all__ = ["bare"]  # importing it puts its clients on the list
TRIES = 3
Runs = dict[tuple[str, str, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Layer:
    """A client, where it runs, and how many requests in flight it is told."""

    name: str
    client: str
    server: str
    concurrency: int = 32


@dataclass(frozen=True)
class Stack:
    """One aim, and what stands between the floor and us.

    Attributes:
        title: What is measured.
        aim: What our CPU may be of the first layer's; or the least share of a limit.
        layers: The first is what all are divided by.
    """

    title: str
    aim: float
    layers: tuple[Layer, ...]


CAP = "8 in flight"
COLOURS = (("async", FLOOR, RUST), ("sync", FLOOR_SYNC, SYNC_RUST))


def _packed_lists(colour: str, floor: str) -> Stack:
    return Stack(
        f"Lists from base64, {colour}",
        0.6,
        (
            Layer("floats by hand", floor, "float"),
            Layer("base64 by hand, arrays", f"bare: base64, {colour}, array", "base64"),
            Layer("base64 by hand, lists", f"bare: base64, {colour}", "base64"),
            Layer("core, lists", f"together-embed, {colour}", "base64"),
        ),
    )


def _arrays(colour: str, rust: str, server: str, aim: float) -> Stack:
    bare = {"float": "simdjson", "base64": "base64"}[server]
    return Stack(
        f"Arrays from {server} answers, {colour}",
        aim,
        (
            Layer("the Rust client, floats", f"{rust}, array", "float"),
            Layer(f"{bare} by hand", f"bare: {bare}, {colour}, array", server),
            Layer("core", f"together-embed, {colour}, array", server),
        ),
    )


def _queries(colour: str, floor: str) -> Stack:
    below = "by hand, below LlamaIndex's base class"
    layers = [
        ("by hand", floor),
        ("by hand on our transport", f"bare: our transport, {colour}"),
        ("core", f"together-embed, {colour}"),
        ("LangChain", f"together-embed LangChain, {colour}"),
        (below, f"bare: LlamaIndex, {colour}"),
        ("LlamaIndex", f"together-embed LlamaIndex, {colour}"),
    ]
    places = [Layer(name, f"{key}, query", "instant") for name, key in layers]
    return Stack(f"One query, {colour}", 1.15, tuple(places))


STACKS = (
    *(_packed_lists(colour, floor) for colour, floor, _ in COLOURS),
    *(_arrays(colour, rust, "float", 1.0) for colour, _, rust in COLOURS),
    *(_arrays(colour, rust, "base64", 0.5) for colour, _, rust in COLOURS),
    Stack(
        "LlamaIndex, lists from floats, async",
        1.05,
        (
            Layer("by hand", FLOOR, "float"),
            Layer("by hand, below its base class", "bare: LlamaIndex, async", "float"),
            Layer("LlamaIndex", "together-embed LlamaIndex, async", "float"),
        ),
    ),
    *(_queries(colour, floor) for colour, floor, _ in COLOURS),
    Stack(
        "Share of 8 in flight",
        0.95,
        (
            Layer("by hand, told of the 8", FLOOR, CAP, 8),
            Layer("core, told of the 8", "together-embed, async", CAP, 8),
            Layer("core, told nothing", ADAPTIVE, CAP),
        ),
    ),
)


def main() -> None:
    """Run all layers of all stacks once a round, and print what they cost."""
    if sys.argv[1:2] and sys.argv[1] in CLIENTS:  # said by this program to itself
        runners.main()
        return
    options = read_options()
    stacks = [stack for stack in STACKS if options.only in stack.title]
    cores = Cores.share_out()
    runs = run_all(stacks, options, cores)
    lines = [f"{describe_machine(cores)} Medians of {options.rounds} round(s)."]
    for stack in stacks:
        lines += ["", *table(stack, runs)]
    print("\n".join(lines))
    if options.page:
        options.page.write_text(put(options.page, "layers", "\n".join(lines)))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=16_384)
    parser.add_argument("--peers", type=Path, help="an environment that has them")
    parser.add_argument("--page", type=Path, help="bring the tables into this page")
    parser.add_argument("--only", default="", help="a part of a title")
    return parser.parse_args()


def run_all(stacks: list[Stack], options: argparse.Namespace, cores: Cores) -> Runs:
    """Run each layer once a round; one that stands in two stacks runs once."""
    layers = dict.fromkeys(layer for stack in stacks for layer in stack.layers)
    pythons = {"ours": Path(sys.executable)}
    if any(CLIENTS[layer.client].home == "peers" for layer in layers):
        folder = options.peers
        pythons["peers"] = interpreter(folder) if folder else make_peers()
    places = {(layer.client, layer.server, layer.concurrency) for layer in layers}
    runs: Runs = {}
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(serving({"width": 1024, **SERVERS[name]}, cores))
            for name in dict.fromkeys(layer.server for layer in layers)
        }
        for _ in range(options.rounds):
            for place in sorted(places):
                client, server, concurrency = place
                python = pythons[CLIENTS[client].home]
                told = {"url": urls[server], "concurrency": concurrency}
                told |= _size(client, server, options.texts)
                runs.setdefault(place, []).append(_run(client, python, told, cores))
    return runs


def _size(client: str, server: str, texts: int) -> dict[str, object]:
    """Say what a client is to do there."""
    size: dict[str, object] = {"width": 1024, "task": "texts"}
    if CLIENTS[client].form == "query":
        return {**size, "task": "queries", "texts": QUERIES, "batch": 1}
    if server == CAP:
        many = LIMITED[CAP] * LIMITED_BATCH
        return {**size, "task": "limits", "texts": many, "batch": LIMITED_BATCH}
    return {**size, "texts": texts, "batch": 64}


def _run(
    client: str, python: Path, told: dict[str, object], cores: Cores
) -> dict[str, Any]:
    tries: list[dict[str, Any]] = []
    while not tries or (tries[-1]["others"] > QUIET and len(tries) < TRIES):
        tries.append(run_client(python, [__file__, client], told, cores))
        assert tries[-1].get("right") == told["texts"], (client, tries[-1])
        print(client, tries[-1]["cpu"], tries[-1]["others"], file=sys.stderr)
    return min(tries, key=lambda tried: tried["others"])


def table(stack: Stack, runs: Runs) -> list[str]:
    """Return a table of medians."""
    names = ["CPU", "wall", "CPU, of the first", "wall, of the first"]
    if stack.layers[0].server == CAP:
        names = ["share", "refused"]
    lines = [f"| {stack.title}; aim {stack.aim} | {' | '.join(names)} |"]
    lines.append("|---|" + "---:|" * len(names))
    found = [runs[one.client, one.server, one.concurrency] for one in stack.layers]
    for layer, here in zip(stack.layers, found, strict=True):
        limited = layer.server == CAP
        cells = _shares(here) if limited else [*_times(here), *_ratios(here, found[0])]
        lines.append(f"| {layer.name} | {' | '.join(cells)} |")
    return lines


def _shares(runs: list[dict[str, Any]]) -> list[str]:
    names = ("share", "refused_share")
    return [f"{median(run['server'][name] for run in runs):.1%}" for name in names]


def _times(runs: list[dict[str, Any]]) -> list[str]:
    return [f"{median(map(what, runs)) * 1e6:.0f} µs" for what in (_cpu, _above)]


def _ratios(runs: list[dict[str, Any]], first: list[dict[str, Any]]) -> list[str]:
    pairs = list(zip(runs, first, strict=True))
    return [
        f"{median(what(a) / what(b) for a, b in pairs):.2f}" for what in (_cpu, _above)
    ]


def _cpu(run: dict[str, Any]) -> float:
    return float(run["cpu"] / run["texts"])


def _above(run: dict[str, Any]) -> float:
    """Return the wall time a text; of a query, without the server's."""
    served = run["server"]["served"] if run["task"] == "queries" else 0.0
    return float((run["wall"] - served) / run["texts"])


if __name__ == "__main__":
    main()
