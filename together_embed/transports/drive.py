"""What both drivers have in common: a clock, a landing, and what they need to drive.

A driver is a loop around the engine's steps and decides nothing. `threads` and `tasks`
differ in how a request is set off and how its outcome comes home. A request that is all
there is to do goes out in the caller's own thread or task.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from together_embed.engine.job import Job
from together_embed.engine.outcome import Outcome
from together_embed.engine.plan import Ticket

clock = time.monotonic
"""Seconds: the only clock that the engine ever sees."""

Landing = tuple[Ticket, Outcome]
END: Sequence[str] = []
"""This very list is what a source gives when it has no further group. None would not
do: in a user's list of groups it is a mistake, and not the end."""


def end(job: Job, spoilt: Exception | None) -> None:
    """End a job's run with what it failed with, or with what its source raised."""
    try:
        if spoilt is not None:
            raise spoilt
    finally:
        job.result()


def keep(job: Job, memory: Memory) -> None:
    """Keep what was answered; what Ctrl-C breaks off stays first, and is kept then."""
    while job.fresh:
        texts, answer = job.fresh[0][:2]
        try:
            memory.keep(texts, answer.embeddings, answer.model)
        except Exception:
            job.kept()
            raise
        job.kept()


class SyncTransport(Protocol):
    """What the driver of threads needs of a library."""

    def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""
        ...


class AsyncTransport(Protocol):
    """What the driver of tasks needs of a library."""

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""
        ...


class Memory(Protocol):
    """What the drivers need of a store: both may wait for a disk."""

    def canary(self, call: object) -> str | None:
        """Return a text for a call to send along with others, if there is one now."""
        ...

    def end(self, call: object) -> None:
        """Hear that a call is over, or sends nothing that it could go along with."""
        ...

    def recall(self, texts: Sequence[str]) -> Sequence[tuple[str, bytes] | None]:
        """Return what is known of each text."""
        ...

    def keep(
        self, texts: Sequence[str], embeddings: Sequence[Any], model: str | None
    ) -> None:
        """Keep the embeddings of an answer; they are on disk on return."""
