"""Compare embeddings clients on one machine, in one run, against the same server.

Each client runs in a process of its own, one after another, all of them once a round;
the table shows medians over the rounds. The ratio to the floor is taken within each
round, so that a machine that slows down between rounds changes nothing. A run during
which other processes took a tenth of the client's cores is repeated, up to twice; the
quietest counts, whether it was the fastest or not.

Answers are floats from one server, which ignores `encoding_format`, and base64 from
another, which honours it; only clients that ask for base64 are run against the latter.
Clients that send one text a request get a 64th of the texts, and those that send one
request at a time, or take milliseconds a text, an eighth: texts a second are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chart import draw
from clients import CLIENTS, Client
from machine import describe
from processes import Cores, make_peers, run_client, serving
from report import FLOOR, QUIET, Row, rate_of, summarise, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 3
BASE64 = {"float": "ignore", "base64": "honour"}  # what a server does when asked


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--texts", type=int, default=16_384)
    parser.add_argument("--batch", type=int, default=64, help="texts a request")
    parser.add_argument("--concurrency", type=int, default=32, help="in flight")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base-delay", type=float, default=0.030, help="seconds")
    parser.add_argument("--per-text", type=float, default=0.0005, help="seconds")
    parser.add_argument("--encoding", choices=("float", "base64", "both"))
    parser.add_argument(
        "--only", default="", help="parts of names, by commas; the floor runs anyway"
    )
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--table", type=Path, help="write the table here as well")
    parser.add_argument("--svg", type=Path, help="write a chart here")
    parser.set_defaults(encoding="both")
    return parser.parse_args()


def choose(only: str) -> list[Client]:
    """Return the clients whose names hold a part of `only`, the floor first."""
    parts = [part.strip().lower() for part in only.split(",")]
    chosen = [
        client
        for client in CLIENTS.values()
        if client.key != FLOOR and any(part in client.key.lower() for part in parts)
    ]
    # The slow ones last: while they wait, the system takes memory back, and the next
    # process pays for getting it again.
    chosen.sort(key=lambda client: client.share)
    return [CLIENTS[FLOOR], *chosen]


def plan(clients: list[Client], answers: list[str]) -> Iterator[tuple[Client, str]]:
    """Yield the runs of one round: the floor on floats at both ends of the fast."""
    floor, *others = clients
    fast = [client for client in others if client.share == 1]
    slow = [client for client in others if client.share != 1]
    yield floor, "float"
    yield from (
        (client, kind) for kind in answers for client in fast if fits(client, kind)
    )
    yield floor, "float"
    yield from (
        (client, kind) for kind in answers for client in slow if fits(client, kind)
    )


def fits(client: Client, answers: str) -> bool:
    """Return whether `client` has answers of this kind to ask for."""
    return answers == "float" or client.asks_base64


def tell(number: int, kind: str, result: dict[str, Any]) -> None:
    """Say on stderr what a run gave, so that a long comparison shows its progress."""
    found = result.get("failed") or f"{rate_of(result):>9,.0f} texts/s"
    name = f"{result['client']} ({kind})"
    print(f"round {number}  {name:44}{found}", file=sys.stderr, flush=True)


class Comparison:
    """One run of the harness: servers up, rounds, results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.clients = choose(options.only)
        kinds = (
            ["float", "base64"] if options.encoding == "both" else [options.encoding]
        )
        self.answers: list[str] = kinds
        self.cores = Cores.share_out()
        self.results: list[dict[str, Any]] = []
        self.pythons = {"ours": Path(sys.executable)}
        if any(client.home == "peers" for client in self.clients):
            self.pythons["peers"] = make_peers()

    def run(self) -> None:
        """Run all the rounds; every result is kept in `results`."""
        options = self.options
        settings = {
            "width": options.width,
            "base-delay": options.base_delay,
            "per-text": options.per_text,
        }
        with contextlib.ExitStack() as stack:
            self.urls = {
                kind: stack.enter_context(
                    serving({**settings, "base64": how}, self.cores)
                )
                for kind, how in BASE64.items()
            }
            for number in range(1, options.rounds + 1):
                # Not counted: it gets the memory that the others then reuse.
                self._run_one(self.clients[0], "float")
                for client, kind in plan(self.clients, self.answers):
                    self._keep(client, kind, number)

    def _keep(self, client: Client, kind: str, number: int) -> None:
        tries = []
        for _ in range(TRIES):
            tries.append(self._run_one(client, kind))
            if tries[-1].get("others", 0.0) <= QUIET:
                break
        result = min(tries, key=lambda tried: tried.get("others", 0.0))
        self.results.append({"round": number, "answers": kind, **result})
        tell(number, kind, result)

    def _run_one(self, client: Client, kind: str) -> dict[str, Any]:
        options = self.options
        arguments: dict[str, object] = {
            "url": self.urls[kind],
            "texts": max(options.texts // client.share, 1),
            "batch": options.batch,
            "concurrency": options.concurrency,
            "width": options.width,
        }
        return run_client(client, self.pythons[client.home], arguments, self.cores)


def main() -> int:
    """Run the comparison; return 1 if a client failed or gave a wrong vector."""
    options = read_options()
    comparison = Comparison(options)
    comparison.run()
    rows = summarise(comparison.results)
    about = describe(options, comparison.cores, comparison.results)
    table = write_table(rows, about)
    print(table)
    if options.table:
        options.table.write_text(table + "\n")
    if options.svg:
        options.svg.write_text(draw(rows, about))
    if options.json:
        whole = {"about": about, "results": comparison.results}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")
    return int(any(not is_right(row) for row in rows))


def is_right(row: Row) -> bool:
    """Return whether the client gave every vector right in every round."""
    return not row.failed and row.right == row.texts


if __name__ == "__main__":
    sys.exit(main())
