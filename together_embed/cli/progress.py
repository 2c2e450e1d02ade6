"""Shows a job's progress on stderr: a bar in a terminal, else a line now and then.

Both are drawn by a thread of their own, so that a job that waits shows that it does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from together_embed.cli.pace import Moment, Pace
from together_embed.cli.words import clock_words
from together_embed.engine.stats import Stats

EVERY = 5.0
"""Seconds between two plain lines."""


@contextmanager
def shown(name: str, counts: Callable[[], Stats]) -> Iterator[Pace]:
    """Show the course of a job as long as the block lasts; it is told by `move`."""
    pace = Pace(counts, time.monotonic())
    view = _bar(pace) if sys.stderr.isatty() else _lines(name, pace)
    with view:
        yield pace


@contextmanager
def _lines(name: str, pace: Pace) -> Iterator[None]:
    over = threading.Event()

    def tell() -> None:
        while not over.wait(EVERY):
            line = _line(pace.moment(time.monotonic()))
            sys.stderr.write(f"together-embed {name}: {line}\n")
            sys.stderr.flush()

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _line(moment: Moment) -> str:
    parts = [f"{moment.done:,} of {moment.total:,} rows"]
    if moment.speed is not None:
        parts.append(f"{moment.speed:,.0f} a second")
    if moment.left is not None:
        parts.append(f"{clock_words(moment.left)} left")
    return ", ".join([*parts, moment.state])


@contextmanager
def _bar(pace: Pace) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def draw() -> Table:
        moment = pace.moment(time.monotonic())
        total = max(moment.total, 1)
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total, moment.done, pulse=not moment.done)
        grid.add_row(bar, f"{moment.done:,} of {moment.total:,} rows")
        words = [] if moment.speed is None else [f"{moment.speed:,.0f} a second"]
        if moment.left is not None:
            words.append(f"{clock_words(moment.left)} left")
        grid.add_row(Text(moment.state, "dim"), ", ".join(words))
        return grid

    console = Console(stderr=True)
    with Live(
        get_renderable=draw, console=console, refresh_per_second=5, transient=True
    ):
        yield
