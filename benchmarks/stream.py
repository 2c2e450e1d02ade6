"""Stream texts into a .npy file, and print what it took as one line of JSON.

The texts come from a generator and the rows go to the file as they come, so that the
peak of memory is what the client holds. The file is checked afterwards, whole.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from clients.registry import KEY, MODEL
from corpus import make_table, make_texts, row_of
from numpy.lib import format as npy
from runners import Clock, Result, version_of

from together_embed import EmbeddingsClient

CHUNK = 10_000
PACKAGE = "together-embed"


def texts(count: int) -> Iterator[str]:
    """Yield the corpus without holding it."""
    for first in range(0, count, 1_000):
        yield from make_texts(min(1_000, count - first), first)


def pour(client: EmbeddingsClient, path: Path, count: int, width: int) -> None:
    """Write the vectors of `count` texts into a .npy file of that shape."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, header)
        for _, block in client.stream_arrays(texts(count)):
            block.astype("<f4", copy=False).tofile(file)


def count_right(path: Path, count: int, width: int) -> int:
    """Return how many rows of the file are those of their texts."""
    table = make_table(width)
    array = np.load(path, mmap_mode="r")
    right = 0
    for first in range(0, count, CHUNK):
        rows = [row_of(text) for text in make_texts(min(CHUNK, count - first), first)]
        same = array[first : first + len(rows)] == table[rows]
        right += int(same.all(axis=1).sum())
    return right


def main() -> None:
    """Read the options, run, and print the result."""
    parser = argparse.ArgumentParser(description="Stream into a file.")
    for name in ("texts", "batch", "concurrency", "width"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--cpus", type=int, nargs="*", default=[])
    options = parser.parse_args()
    if options.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, options.cpus)
    clock = Clock(options.url, options.cpus)
    client = EmbeddingsClient(
        MODEL,
        api_key=KEY,
        base_url=options.url,
        batch_size=options.batch,
        max_concurrency=options.concurrency,
    )
    with NamedTemporaryFile(suffix=".npy", dir=Path.cwd()) as file, client:
        path = Path(file.name)
        clock.start()
        pour(client, path, options.texts, options.width)
        clock.stop()
        right = count_right(path, options.texts, options.width)
    result = Result(
        task="stream",
        client=f"{PACKAGE}, sync",
        package=PACKAGE,
        version=version_of(PACKAGE),
        texts=options.texts,
        wall=clock.wall,
        cpu=clock.cpu,
        others=clock.others,
        peak_mb=clock.peak_mb,
        right=right,
        hold=0.0,
        server=clock.server,
    )
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
