"""Writes down how fast a job went, beside its vectors, for `plan` to read.

Every few seconds, so that what a killed job has learned is known as well. What cannot
be written down is left out: the vectors' own store says what is the matter with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from together_embed.cli.pace import Pace
from together_embed.memory import Memory
from together_embed.settings import Settings
from together_embed.store import Store, StoreError

EVERY = 10.0
"""Seconds between two notes."""


class Logbook:
    """How fast the server was, in the words of one job.

    Args:
        pace: The job's.
        cache: The file that its vectors are kept in.
        settings: The client's.
    """

    def __init__(self, pace: Pace, cache: Path, settings: Settings) -> None:
        self._pace = pace
        self._cache = cache
        self._settings = settings
        self._next = monotonic() + EVERY

    def look(self) -> None:
        """Note the speed, where it is time for it."""
        if monotonic() >= self._next:
            self.note()

    def note(self) -> None:
        """Note the speed, where there is one."""
        self._next = monotonic() + EVERY
        speed = self._pace.moment(monotonic()).speed
        if speed is None or not self._cache.is_file():
            return
        memory = Memory(Store(self._cache, strict=True), self._settings)
        with suppress(StoreError):
            memory.note_speed(speed)
        memory.close()


@contextmanager
def logged(pace: Pace, cache: Path, settings: Settings) -> Iterator[Logbook]:
    """Keep a logbook as long as the block lasts, however it ends."""
    book = Logbook(pace, cache, settings)
    try:
        yield book
    finally:
        book.note()
