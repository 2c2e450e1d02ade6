"""The two drivers: one carries a job out with threads, one with tasks.

Both are the same loop around the engine's steps and decide nothing. They differ in how
a request is set off and how its outcome comes home. A request that is all there is to
do goes out in the caller's own thread or task.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from together_embed.engine.job import Job, Step, Ticket
from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.engine.wire import Row

clock = time.monotonic
"""Seconds: the only clock that the engine ever sees."""

Landing = tuple[Ticket, Outcome]
ABANDONED = Lost(Cause.CONNECTION, "nobody waits for it any more")


class SyncTransport(Protocol):
    """What the driver of threads needs of a library."""

    def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""


class AsyncTransport(Protocol):
    """What the driver of tasks needs of a library."""

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""


class Threads:
    """Requests on daemon threads that live as long as the call has work for them.

    Leaving the call lets them go without waiting: what they bring home later gives its
    permit back, and is seen by nobody.
    """

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport
        self._inbox: SimpleQueue[Landing | None] = SimpleQueue()
        self._outbox: SimpleQueue[Ticket | None] = SimpleQueue()
        self._own: list[Ticket] = []
        self._threads = 0
        self._busy = 0
        self._left: Job | None = None

    def wake(self) -> None:
        """End the present wait, from any thread."""
        self._inbox.put(None)

    def run(self, job: Job, source: Iterator[Sequence[str]]) -> Iterator[list[Row]]:
        """Carry out a job, and yield its groups in order as they become whole."""
        try:
            while True:
                while job.hungry:
                    _feed(job, next(source, None))
                step = job.next_step(clock())
                if step is None:
                    break
                self._start(step, alone=job.is_alone)
                job.digest(clock())
                for ticket, outcome in self._landed(step.patience):
                    job.receive(ticket, outcome, clock())
                yield from job.take()
            yield from job.take()
            job.result()
        finally:
            self._leave(job)

    def _start(self, step: Step, *, alone: bool) -> None:
        if alone and not self._busy:
            self._own = step.launches
            return
        for ticket in step.launches:
            self._busy += 1
            self._outbox.put(ticket)
            if self._busy > self._threads:
                self._threads += 1
                threading.Thread(
                    target=self._work, name="together-embed", daemon=True
                ).start()

    def _work(self) -> None:
        while (ticket := self._outbox.get()) is not None:
            outcome = ABANDONED if self._left else self._send(ticket)
            self._inbox.put((ticket, outcome))
            if self._left:
                self._reap(self._left)

    def _send(self, ticket: Ticket) -> Outcome:
        try:
            return self._transport.send(ticket.body, ticket.seconds)
        except BaseException as error:  # else the caller would wait for ever
            return Lost(Cause.CRASH, type(error).__name__, error)

    def _landed(self, patience: float | None) -> list[Landing]:
        """Wait for the first landing or wake, and bring all that is there."""
        if self._own:
            (ticket,) = self._own
            landing = ticket, self._transport.send(ticket.body, ticket.seconds)
            self._own = []
            return [landing]
        landed: list[Landing] = []
        try:
            news = self._inbox.get(block=patience != 0, timeout=patience)
            while True:
                if news is not None:
                    self._busy -= 1
                    landed.append(news)
                news = self._inbox.get_nowait()
        except Empty:
            return landed

    def _leave(self, job: Job) -> None:
        job.close()
        self._left = job
        for ticket in self._own:
            job.receive(ticket, ABANDONED, clock())
        for _ in range(self._threads):
            self._outbox.put(None)
        self._reap(job)

    def _reap(self, job: Job) -> None:
        """Hand what landed after the end to the job, from whichever thread."""
        try:
            while True:
                if news := self._inbox.get_nowait():
                    job.receive(*news, clock())
        except Empty:
            pass


class Tasks:
    """Requests as tasks of the loop; leaving the call cancels and awaits them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._inbox: list[Landing] = []
        self._own: list[Ticket] = []
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._pull: asyncio.Task[Sequence[str] | None] | None = None

    def wake(self) -> None:
        """End the present wait, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits on it
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(
        self, job: Job, source: AsyncIterator[Sequence[str]]
    ) -> AsyncIterator[list[Row]]:
        """Carry out a job, and yield its groups in order as they become whole."""
        try:
            while True:
                await self._feed(job, source)
                step = job.next_step(clock(), awaiting=self._pull is not None)
                if step is None:
                    break
                await self._start(step, alone=job.is_alone)
                job.digest(clock())
                for ticket, outcome in await self._landed(step.patience):
                    job.receive(ticket, outcome, clock())
                for rows in job.take():
                    yield rows
            for rows in job.take():
                yield rows
            job.result()
        finally:
            await self._leave(job)

    async def _feed(self, job: Job, source: AsyncIterator[Sequence[str]]) -> None:
        """Pull the next group beside the requests: a slow source holds up nothing."""
        while job.hungry:
            if self._pull is None:
                self._pull = self._loop.create_task(_next(source))
                self._pull.add_done_callback(lambda _: self._news.set())
                await asyncio.sleep(0)
            if not self._pull.done():
                return
            _feed(job, self._pull.result())
            self._pull = None

    async def _start(self, step: Step, *, alone: bool) -> None:
        for ticket in step.expired:
            if task := self._tasks.get(ticket):
                task.cancel()
        if alone and not self._tasks:
            self._own = step.launches
            return
        for ticket in step.launches:
            task = self._loop.create_task(self._carry(ticket))
            self._tasks[ticket] = task
            task.add_done_callback(partial(self._forget, ticket))
        if step.launches:
            await asyncio.sleep(0)  # let them write before anything is decoded

    def _forget(self, ticket: Ticket, _: asyncio.Task[None]) -> None:
        del self._tasks[ticket]

    async def _carry(self, ticket: Ticket) -> None:
        try:
            outcome = await self._transport.send(ticket.body, ticket.seconds)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # else the caller would wait for ever
            outcome = Lost(Cause.CRASH, type(error).__name__, error)
        self._inbox.append((ticket, outcome))
        self._news.set()

    async def _landed(self, patience: float | None) -> list[Landing]:
        """Wait for the first landing or wake, and bring all that is there."""
        if self._own:
            (ticket,) = self._own
            landing = ticket, await self._transport.send(ticket.body, ticket.seconds)
            self._own = []
            return [landing]
        if patience == 0:
            await asyncio.sleep(0)
        else:
            timer = patience and self._loop.call_later(patience, self._news.set)
            try:
                await self._news.wait()
            finally:
                if timer:
                    timer.cancel()
        self._news.clear()
        landed, self._inbox = self._inbox, []
        return landed

    async def _leave(self, job: Job) -> None:
        left = job.close()
        waited = [*self._tasks.values(), *([self._pull] if self._pull else [])]
        for task in waited:
            task.cancel()
        try:
            await asyncio.gather(*waited, return_exceptions=True)
        finally:
            for ticket in left:
                job.receive(ticket, ABANDONED, clock())


def _feed(job: Job, texts: Sequence[str] | None) -> None:
    """Add a group, or say that there is none any more."""
    if texts is None:
        job.complete()
    else:
        job.add(texts)


async def _next(source: AsyncIterator[Sequence[str]]) -> Sequence[str] | None:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return None
