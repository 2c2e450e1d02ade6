"""The driver of sync calls: requests on threads of the call's own."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from together_embed.engine.job import Job
from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.engine.plan import Step, Ticket
from together_embed.transports.drive import (
    END,
    Landing,
    Memory,
    SyncTransport,
    clock,
    end,
    keep,
)

BREATH = 0.5
"""Seconds that one wait may take. A Ctrl-C that comes just before a wait begins is
heard when it ends: CPython looks for signals between its instructions, not within."""

NAME = "together-embed"
_LOCKING = ("together_embed.engine", "together_embed.store")


class Threads:
    """Requests on daemon threads that live as long as the call has work for them.

    Leaving the call lets them go without waiting: what they bring home later gives its
    permit back, and is seen by nobody.

    Attributes:
        seat: What a job is to know of where it is carried out: what the call blocks.
    """

    def __init__(self, transport: SyncTransport, memory: Memory | None) -> None:
        self._transport = transport
        self._memory = memory
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._landed: deque[Landing] = deque()
        self._outbox: SimpleQueue[Ticket | None] = SimpleQueue()
        self._handed: set[Ticket] = set()  # to threads, and not back yet
        self._threads = 0
        self._left = self._broken = self._collected = False
        self._spoilt: Exception | None = None
        self.seat: dict[str, Any] = {"blocks": threading.get_ident()}

    def wake(self) -> None:
        """End the present wait, from any thread."""
        self._bell.put(None)

    def run(
        self, job: Job, source: Iterator[Sequence[str]], whole: Sequence[str] = END
    ) -> Iterator[Any]:
        """Carry out a job, and yield its groups in order as they become whole.

        Args:
            job: It has no texts so far.
            source: Groups of texts.
            whole: The one group that there is, in the place of a source.
        """
        try:
            if whole is not END:
                self._feed(job, whole)
                job.complete()
            while True:
                while job.hungry:
                    self._feed(job, self._next(source))
                # Whoever has the rows, or the source, may have held us up for long:
                # what came in that time is no late answer.
                self._hear(job)
                step = job.next_step(clock(), idle=not self._handed)
                if step is None:
                    break
                self._start(job, step)
                job.digest(clock())
                if self._memory is not None:
                    keep(job, self._memory)
                if not step.alone:
                    self._wait(job, step.patience)
                yield from job.take()
            yield from job.take()
            end(job, self._spoilt)
        except KeyboardInterrupt:
            self._broken = True
            raise
        except GeneratorExit:
            self._collected = _holds_a_lock()
            raise
        finally:
            try:
                if self._collected:
                    threading.Thread(
                        target=self._finish, args=(job,), name=NAME, daemon=True
                    ).start()
                else:
                    self._finish(job)
            except KeyboardInterrupt:
                self._broken = True
                self._finish(job)
                raise

    def _finish(self, job: Job) -> None:
        try:
            self._save(job)
        finally:
            self._leave(job)
            if self._memory is not None:
                self._memory.end(job)

    def _next(self, source: Iterator[Sequence[str]]) -> Sequence[str]:
        try:
            return next(source, END)
        except Exception as error:  # what it gave before is wanted all the same
            self._spoilt = error
            return END

    def _feed(self, job: Job, texts: Sequence[str]) -> None:
        """Add a group, or say that there is none any more."""
        if texts is END:
            job.complete()
            return
        hidden = self._memory.canary(job) if self._memory else None
        group = job.group(texts, hidden)
        if self._memory is not None:
            job.enter(group)
            for start, asked in group.lookups():
                group.recall(start, self._memory.recall(asked))
            if hidden and not group.missing:
                self._memory.end(job)
        job.add(group)

    def _save(self, job: Job) -> None:
        """Keep what has come, however the call ends: it is paid for."""
        self._hear(job)
        while job.is_digesting:
            job.digest(clock())
        if self._memory is not None:
            keep(job, self._memory)

    def _start(self, job: Job, step: Step) -> None:
        """Set off what the step names; who is alone is over then."""
        if step.alone:
            (ticket,) = step.launches
            landing = ticket, self._transport.send(ticket.body, ticket.seconds)
            self._landed.append(landing)
            self._hear(job)
            return
        for ticket in step.launches:
            self._outbox.put(ticket)
            self._handed.add(ticket)
            if len(self._handed) > self._threads:
                self._hire(job)

    def _hire(self, job: Job) -> None:
        worker = threading.Thread(
            target=self._work, args=(job,), name=NAME, daemon=True
        )
        self._threads += 1
        try:
            worker.start()
        except RuntimeError:  # the system has no more: fewer will do, none will not
            self._threads -= 1
            if not self._threads:
                raise

    def _work(self, job: Job) -> None:
        while (ticket := self._outbox.get()) is not None:
            if self._left:
                job.release(ticket, None, clock())
            else:
                self._landed.append((ticket, self._carry(job, ticket)))
                self._bell.put(None)

    def _carry(self, job: Job, ticket: Ticket) -> Outcome:
        try:
            outcome = self._transport.send(ticket.body, ticket.seconds)
            job.release(ticket, outcome, clock())
        except BaseException as error:  # else the caller would wait for ever
            outcome = Lost(Cause.CRASH, type(error).__name__, error)
            job.release(ticket, outcome, clock())
        return outcome

    def _wait(self, job: Job, patience: float | None) -> None:
        """Wait for the first landing or wake, and take in all that is there."""
        timeout = BREATH if patience is None else min(patience, BREATH)
        with suppress(Empty):
            self._bell.get(block=timeout > 0, timeout=timeout)
        self._hear(job)

    def _hear(self, job: Job) -> None:
        """Take in what has landed, without waiting for more."""
        while not self._bell.empty():  # nobody else takes from it
            self._bell.get_nowait()
        while self._landed:
            ticket, outcome = self._landed[0]  # stays there until it is taken in
            job.receive(ticket, outcome, clock())
            self._handed.discard(ticket)
            self._landed.popleft()

    def _leave(self, job: Job) -> None:
        self._left = True
        with suppress(Empty):  # no thread may be left to take these
            while ticket_or_end := self._outbox.get_nowait():
                self._handed.discard(ticket_or_end)
        for ticket in job.close(clock()):
            if ticket not in self._handed:
                job.release(ticket, None, clock())
        if self._broken:
            job.mend(self._handed)
        for _ in range(self._threads):
            self._outbox.put(None)


def _holds_a_lock() -> bool:
    """Tell whether a stream is closed in a thread that may hold a lock of ours.

    The collector closes one that is part of a circle wherever it comes. To end a call
    takes these locks: amid a decision the thread would wait for itself, and amid a
    transaction break that off.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - no other way
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_LOCKING):
            return True
        frame = frame.f_back
    return False
