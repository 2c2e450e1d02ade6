"""Compare embeddings clients on one machine, in one run, against the same servers.

Each client runs in a process of its own, one after another, all of them once a round;
what is reported are medians over the rounds, and ratios that were taken within a round.
A run during which other processes took a tenth of the client's cores is repeated while
there is time, and the quietest counts, whether it was the fastest or not.

Clients that send one text a request get a 64th of the texts, those that send one
request at a time, or take milliseconds a text, an eighth, both in every second round:
what is compared is the time a text. One that fails is named, and stops nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pages
from clients import CLIENTS, Client
from goals import judge
from machine import describe
from processes import HERE, Cores, interpreter, make_peers, run_client, serving
from report import QUIET, plain, summarise, write_table
from runners import ask
from runs import FLOOR, SERVERS, Run, Size, plan

TRIES = 3
STREAM = 1_000_000
QUICK = {"texts": 256, "rounds": 1, "stream": 2_000, "tries": 1, "part": 0.02}


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--texts", type=int, default=16_384)
    add("--batch", type=int, default=64, help="texts a request")
    add("--concurrency", type=int, default=32, help="in flight")
    add("--width", type=int, default=1024)
    add("--rounds", type=int, default=4)
    add("--minutes", type=float, default=20.0, help="begin no round after these")
    add("--tries", type=int, default=TRIES, help="of a run that is disturbed")
    add("--stream", type=int, default=STREAM, help="texts into a file; 0: none")
    add("--part", type=float, default=1.0, help="of the queries and limited requests")
    add("--base-delay", type=float, default=0.030, help="seconds")
    add("--per-text", type=float, default=0.0005, help="seconds")
    add("--only", default="", help="parts of names, by commas; the floor runs anyway")
    add("--peers", type=Path, help="an environment that has them; else one is made")
    add("--no-peers", action="store_true", help="leave them out")
    add("--quick", action="store_true", help="try everything once, as small as it goes")
    add("--json", type=Path, help="write all results here")
    add(
        "--pages", action="store_true", help="bring results, pages and pictures in docs"
    )
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    return options


def choose(only: str, *, peers: bool) -> list[Client]:
    """Return the clients whose names hold a part of `only`."""
    parts = [part.strip().lower() for part in only.split(",")]
    return [
        client
        for client in CLIENTS.values()
        if any(part in client.key.lower() for part in parts)
        and (peers or client.home == "ours")
    ]


class Comparison:
    """One run of the harness: servers up, rounds, results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cores = Cores.share_out()
        self.results: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.pythons = {"ours": Path(sys.executable)}
        self._find_peers()
        self._chosen = choose(options.only, peers="peers" in self.pythons)
        self._size = Size(options.texts, options.batch, options.part)
        self._ends_at = time.monotonic() + options.minutes * 60

    def _find_peers(self) -> None:
        if self.options.no_peers:
            return
        try:
            folder = self.options.peers
            python = interpreter(folder) if folder else make_peers()
            subprocess.run([str(python), "-c", ""], check=True)
            self.pythons["peers"] = python
        except (subprocess.CalledProcessError, OSError) as error:
            self.notes.append(f"The peers could not be installed ({error}).")
            say(self.notes[-1])

    def run(self) -> None:
        """Run all the rounds; Ctrl-C ends them, and what is there is reported."""
        with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
            self._urls = {
                name: stack.enter_context(serving(self._server(how), self.cores))
                for name, how in SERVERS.items()
            }
            self._run_stream()
            for number in range(1, self.options.rounds + 1):
                if not self._time_is_left:
                    self.notes.append(f"Time was over after {number - 1} round(s).")
                    break
                self._run_round(number)

    def _server(self, how: dict[str, object]) -> dict[str, object]:
        options = self.options
        usual = {"base-delay": options.base_delay, "per-text": options.per_text}
        return {"width": options.width, **usual, **how}

    @property
    def _time_is_left(self) -> bool:
        return time.monotonic() < self._ends_at

    def _run_round(self, number: int) -> None:
        every_second = number % 2 == 1
        # Not counted: it gets the memory that the others then reuse.
        self._run_one(self._size.run("texts", "float", CLIENTS[FLOOR]))
        runs = plan(self._chosen, self._size, slow=every_second, limits=every_second)
        for place, run in enumerate(runs, 1):
            self._keep(run, number, f"round {number}, {place}/{len(runs)}")

    def _keep(self, run: Run, number: int, where: str) -> None:
        tries: list[dict[str, Any]] = []
        while not tries or (len(tries) < self.options.tries and self._time_is_left):
            tries.append(self._run_one(run))
            quiet = tries[-1].get("others", 0.0) <= QUIET
            if quiet or run.task == "limits" or "failed" in tries[-1]:
                break
        result = min(tries, key=lambda tried: tried.get("others", 0.0))
        self._note(number, run.task, run.server, run.client.key, result, where)

    def _note(
        self,
        number: int,
        task: str,
        server: str,
        client: str,
        result: dict[str, Any],
        where: str,
    ) -> None:
        place = {"task": task, "server_name": server, "client": client}
        self.results.append({"round": number, **result, **place})
        found = result.get("failed") or f"{result['texts'] / result['wall']:>9,.0f}/s"
        say(f"{where:14}  {task:8}{server:13}{client:42}{found}")

    def _run_one(self, run: Run) -> dict[str, Any]:
        url = self._urls[run.server]
        arguments = self._arguments(url, run.texts, run.batch)
        words = [str(HERE / "runners.py"), run.client.key, "--task", run.task]
        with contextlib.suppress(OSError):
            ask(url, "POST", "/reset")
        python = self.pythons[run.client.home]
        result = run_client(python, words, arguments, self.cores)
        if "failed" in result:
            with contextlib.suppress(OSError):  # what it had sent tells as well
                result["server"] = ask(url, "GET", "/counts")
        return result

    def _arguments(self, url: str, texts: int, batch: int) -> dict[str, object]:
        told = {"concurrency": self.options.concurrency, "width": self.options.width}
        return {"url": url, "texts": texts, "batch": batch, **told}

    def _run_stream(self) -> None:
        count = self.options.stream
        needed = count * self.options.width * 4
        if not count or shutil.disk_usage(tempfile.gettempdir()).free < 1.2 * needed:
            self.notes += [f"There was no disk for {count:,} rows."] if count else []
            return
        say(f"A stream of {count:,} texts into a file; some minutes …")
        arguments = self._arguments(self._urls["base64"], count, self.options.batch)
        words = [str(HERE / "stream.py")]
        result = run_client(self.pythons["ours"], words, arguments, self.cores)
        task = "stream" if count == STREAM else "stream of fewer"
        self._note(1, task, "base64", "together-embed, sync", result, "stream")


def say(words: str) -> None:
    """Say on stderr how far it is, since a comparison takes its time."""
    print(f"{time.strftime('%H:%M:%S')}  {words}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the comparison; return 1 if one of ours failed or a vector was wrong."""
    options = read_options()
    comparison = Comparison(options)
    comparison.run()
    results = comparison.results
    rows, judged = summarise(results), judge(results)
    about = describe(options, comparison.cores, results, comparison.notes)
    print(write_table(rows, judged, about))
    found = {"about": about, "goals": judged, "rows": plain(rows), "results": results}
    if options.json:
        pages.write_json(options.json, found)
    if options.pages:
        pages.bring(found)
    return int(any(is_wrong(run) for run in results))


def is_wrong(run: dict[str, Any]) -> bool:
    """Return whether a run of ours failed, or any run gave a wrong vector."""
    if "failed" in run:
        return CLIENTS[run["client"]].home == "ours"
    return bool(run["right"] != run["texts"])


if __name__ == "__main__":
    sys.exit(main())
