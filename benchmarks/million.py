"""Embed a million lines with the command, killed half way and started again.

The local endpoint runs in this process and remembers how often it was paid for each
text; the command runs in processes of its own, whose peak of memory the system counts.
Half way it is ended with SIGKILL. What holds afterwards: the result is whole, its rows
are in order, every `--check-every`-th vector is the endpoint's own bit for bit, and no
more texts were paid for twice than may be in flight (`--max-concurrency` requests, and
one answer on its way to the disk).

Needs Linux, the extra `cli`, and some 10 GB of disk for a million texts of width 1024.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from machine import commit, memory_gb, processor
from processes import HERE, clean_environment

from together_embed.local import LocalEndpoint

START = "import sys; from together_embed.cli import main; sys.exit(main())"
MOST_MB = 400.0
TOPICS = ("bees and honey", "spiders and webs", "the harbour in winter", "old bridges")


@dataclass(frozen=True)
class Found:
    """What was found; `killed_at` and the rest count texts, memory is in MB."""

    lines: int
    width: int
    killed_at: int
    in_flight: int  # texts that may be under way at once, and so be paid twice
    paid_twice: int
    first_seconds: float
    second_seconds: float
    first_peak_mb: float
    second_peak_mb: float
    rows: int
    checked: int
    wrong: int
    machine: str
    date: str
    commit: str

    @property
    def holds(self) -> bool:
        """Whether all of it is as it has to be."""
        whole = self.rows == self.lines and not self.wrong
        slim = max(self.first_peak_mb, self.second_peak_mb) < MOST_MB
        return whole and slim and self.paid_twice <= self.in_flight


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--max-concurrency", type=int, default=16)
    parser.add_argument("--check-every", type=int, default=100, help="1 checks all")
    parser.add_argument("--folder", type=Path, help="where the files may be")
    parser.add_argument("--json", type=Path, help="write what was found here")
    return parser.parse_args()


def make_text(number: int) -> str:
    """Return the text of a line; no two are the same."""
    return f"Passage {number} is about {TOPICS[number % len(TOPICS)]}."


def write_corpus(path: Path, lines: int) -> None:
    """Write `lines` objects with an id and a text."""
    with path.open("w") as corpus:
        for number in range(lines):
            row = {"id": f"p{number}", "text": make_text(number)}
            corpus.write(json.dumps(row) + "\n")


class Command:
    """One run of `together-embed embed`, watched from outside."""

    def __init__(
        self, endpoint: LocalEndpoint, folder: Path, options: argparse.Namespace
    ) -> None:
        words = ["embed", "in.jsonl", "out.parquet", "--model", "million"]
        words += ["--batch-size", str(options.batch_size), "--no-text"]
        words += ["--max-concurrency", str(options.max_concurrency)]
        keys = {
            "TOGETHER_BASE_URL": endpoint.base_url,
            "TOGETHER_API_KEY": "not-a-key",
            "PYTHONPATH": str(HERE.parent),
        }
        self.peak_mb = 0.0
        self._begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *words],
            cwd=folder,
            env={**clean_environment(), **keys},
        )

    def look(self) -> bool:
        """Note the peak of memory so far; return whether the process still runs."""
        path = Path(f"/proc/{self.process.pid}/status")
        if self.process.poll() is None:
            for line in path.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_mb = int(line.split()[1]) * 1024 / 1e6
        self.seconds = time.monotonic() - self._begun
        return self.process.poll() is None


def watch(command: Command, endpoint: LocalEndpoint, until: int | None) -> None:
    """Wait for the command's end, or until so many texts were answered."""
    told = time.monotonic()
    while command.look() and (until is None or endpoint.texts < until):
        time.sleep(0.05)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            print(
                f"{endpoint.texts:>9,} texts, {command.peak_mb:,.0f} MB",
                file=sys.stderr,
                flush=True,
            )


def check(path: Path, endpoint: LocalEndpoint, every: int) -> tuple[int, int, int]:
    """Return the rows of the result, how many were checked, and how many are wrong."""
    rows = checked = wrong = 0
    for group in pq.ParquetFile(path).iter_batches(1_000):
        vectors = group.column("embedding").flatten().to_numpy()
        vectors = vectors.reshape(group.num_rows, -1)
        names = group.column("id").to_pylist()
        wrong += names != [f"p{rows + at}" for at in range(group.num_rows)]
        for at in range(-rows % every, group.num_rows, every):
            right = np.asarray(endpoint.embed(make_text(rows + at)), np.float32)
            checked += 1
            wrong += not np.array_equal(right, vectors[at])
        rows += group.num_rows
    return rows, checked, wrong


def examine(options: argparse.Namespace, folder: Path) -> Found:
    """Embed, kill, embed again and check."""
    write_corpus(folder / "in.jsonl", options.lines)
    with LocalEndpoint(dimension=options.width, remember_texts=True) as endpoint:
        first = Command(endpoint, folder, options)
        watch(first, endpoint, options.lines // 2)
        first.process.kill()
        first.process.wait()
        killed_at = endpoint.texts
        assert not (folder / "out.parquet").exists()
        second = Command(endpoint, folder, options)
        watch(second, endpoint, None)
        if second.process.returncode:
            raise SystemExit(f"the command ended with {second.process.returncode}")
        paid = sum(endpoint.seen.values())
        rows, checked, wrong = check(
            folder / "out.parquet", endpoint, options.check_every
        )
    return Found(
        lines=options.lines,
        width=options.width,
        killed_at=killed_at,
        in_flight=(options.max_concurrency + 1) * options.batch_size,
        paid_twice=paid - options.lines,
        first_seconds=first.seconds,
        second_seconds=second.seconds,
        first_peak_mb=first.peak_mb,
        second_peak_mb=second.peak_mb,
        rows=rows,
        checked=checked,
        wrong=wrong,
        machine=f"{processor()}, {os.cpu_count()} cores, {memory_gb():.0f} GB",
        date=f"{datetime.now(timezone.utc):%Y-%m-%d}",
        commit=commit(),
    )


def main() -> int:
    """Run; return 1 where something does not hold."""
    options = read_options()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = examine(options, Path(folder))
    text = json.dumps({**asdict(found), "holds": found.holds}, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return int(not found.holds)


if __name__ == "__main__":
    sys.exit(main())
