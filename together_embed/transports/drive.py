"""The two drivers: one carries a job out with threads, one with tasks.

Both are the same loop around the engine's steps and decide nothing. They differ in how
a request is set off and how its outcome comes home. A request that is all there is to
do goes out in the caller's own thread or task.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from together_embed.engine.job import Job, Step, Ticket
from together_embed.engine.outcome import Cause, Lost, Outcome

clock = time.monotonic
"""Seconds: the only clock that the engine ever sees."""

Landing = tuple[Ticket, Outcome]
END: Sequence[str] = []
"""This very list is what a source gives when it has no further group. None would not
do: in a user's list of groups it is a mistake, and not the end."""


class SyncTransport(Protocol):
    """What the driver of threads needs of a library."""

    def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""


class AsyncTransport(Protocol):
    """What the driver of tasks needs of a library."""

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post a body, and bring back what became of it within so many seconds."""


class Memory(Protocol):
    """What the drivers need of a store: both may wait for a disk."""

    def recall(self, texts: Sequence[str]) -> Sequence[tuple[str, bytes] | None]:
        """Return what is known of each text."""

    def keep(
        self, texts: Sequence[str], embeddings: Sequence[Any], model: str | None
    ) -> None:
        """Keep the embeddings of an answer; they are on disk on return."""


class Threads:
    """Requests on daemon threads that live as long as the call has work for them.

    Leaving the call lets them go without waiting: what they bring home later gives its
    permit back, and is seen by nobody.
    """

    def __init__(self, transport: SyncTransport, memory: Memory | None) -> None:
        self._transport = transport
        self._memory = memory
        self._inbox: SimpleQueue[Landing | None] = SimpleQueue()
        self._outbox: SimpleQueue[Ticket | None] = SimpleQueue()
        self._own: list[Ticket] = []
        self._handed: set[Ticket] = set()  # to threads, and not back yet
        self._threads = 0
        self._left = False

    def wake(self) -> None:
        """End the present wait, from any thread."""
        self._inbox.put(None)

    def run(self, job: Job, source: Iterator[Sequence[str]]) -> Iterator[Any]:
        """Carry out a job, and yield its groups in order as they become whole."""
        try:
            while True:
                while job.hungry:
                    self.feed(job, next(source, END))
                # Whoever has the rows, or the source, may have held us up for long:
                # what came in that time is no late answer.
                self._hear(job)
                step = job.next_step(clock())
                if step is None:
                    break
                self._start(job, step)
                job.digest(clock())
                self._keep(job)
                self._wait(job, step.patience)
                yield from job.take()
            yield from job.take()
            job.result()
        finally:
            try:
                self._save(job)
            finally:
                self._leave(job)

    def feed(self, job: Job, texts: Sequence[str]) -> None:
        """Add a group, or say that there is none any more."""
        if texts is END:
            job.complete()
            return
        group = job.group(texts)
        if self._memory is not None:
            group.recall(self._memory.recall(group.unique))
        job.add(group)

    def _save(self, job: Job) -> None:
        """Keep what has come, however the call ends: it is paid for."""
        self._hear(job)
        while job.is_digesting:
            job.digest(clock())
        self._keep(job)

    def _keep(self, job: Job) -> None:
        while job.fresh and self._memory is not None:
            texts, answer = job.fresh.popleft()
            self._memory.keep(texts, answer.embeddings, answer.model)

    def _start(self, job: Job, step: Step) -> None:
        if job.is_alone and not self._handed:
            self._own = step.launches
            return
        for ticket in step.launches:
            self._handed.add(ticket)
            self._outbox.put(ticket)
            if len(self._handed) > self._threads:
                self._hire(job)

    def _hire(self, job: Job) -> None:
        worker = threading.Thread(
            target=self._work, args=(job,), name="together-embed", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # the system has no more: fewer will do, none will not
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _work(self, job: Job) -> None:
        while (ticket := self._outbox.get()) is not None:
            if self._left:
                job.release(ticket, None, clock())
            else:
                self._inbox.put((ticket, self._carry(job, ticket)))

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
        if self._own:
            (ticket,) = self._own
            outcome = self._transport.send(ticket.body, ticket.seconds)
            self._own = []
            job.receive(ticket, outcome, clock())
            return
        with suppress(Empty):
            news = self._inbox.get(block=patience != 0, timeout=patience)
            self._hear(job, news)

    def _hear(self, job: Job, news: Landing | None = None) -> None:
        """Take in what has landed, without waiting for more."""
        with suppress(Empty):
            while True:
                if news is not None:
                    self._handed.discard(news[0])
                    job.receive(*news, clock())
                news = self._inbox.get_nowait()

    def _leave(self, job: Job) -> None:
        self._left = True
        for ticket in job.close(clock()):
            if ticket not in self._handed:
                job.release(ticket, None, clock())
        with suppress(Empty):  # no thread may be left to take these
            while ticket_or_end := self._outbox.get_nowait():
                job.release(ticket_or_end, None, clock())
        for _ in range(self._threads):
            self._outbox.put(None)


class Tasks:
    """Requests as tasks of the loop; leaving the call cancels and awaits them."""

    def __init__(self, transport: AsyncTransport, memory: Memory | None) -> None:
        self._transport = transport
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._inbox: list[Landing] = []
        self._own: list[Ticket] = []
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._pull: asyncio.Task[Sequence[str]] | None = None

    def wake(self) -> None:
        """End the present wait, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits on it
            self._loop.call_soon_threadsafe(self._news.set)

    async def run(
        self, job: Job, source: AsyncIterator[Sequence[str]]
    ) -> AsyncGenerator[Any, None]:
        """Carry out a job, and yield its groups in order as they become whole."""
        try:
            while True:
                await self._feed(job, source)
                self._hear(job)  # as it is with threads
                step = job.next_step(clock(), awaiting=self._pull is not None)
                if step is None:
                    break
                await self._start(job, step)
                job.digest(clock())
                await self._keep(job)
                await self._wait(job, step.patience)
                for rows in job.take():
                    yield rows
            for rows in job.take():
                yield rows
            job.result()
        finally:
            try:
                await self._save(job)
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
            pulled, self._pull = self._pull.result(), None
            await self.feed(job, pulled)

    async def feed(self, job: Job, texts: Sequence[str]) -> None:
        """Add a group, or say that there is none any more."""
        if texts is END:
            job.complete()
            return
        group = job.group(texts)
        if self._memory is not None:  # a disk is no friend of an event loop
            known = await asyncio.to_thread(self._memory.recall, group.unique)
            group.recall(known)
        job.add(group)

    async def _save(self, job: Job) -> None:
        """Keep what has come, however the call ends: it is paid for."""
        self._hear(job)
        while job.is_digesting:
            job.digest(clock())
        await self._keep(job)

    async def _keep(self, job: Job) -> None:
        while job.fresh and self._memory is not None:
            texts, answer = job.fresh.popleft()
            row = texts, answer.embeddings, answer.model
            await asyncio.to_thread(self._memory.keep, *row)

    async def _start(self, job: Job, step: Step) -> None:
        for ticket in step.expired:
            if task := self._tasks.get(ticket):
                task.cancel()
        if job.is_alone and not self._tasks:
            self._own = step.launches
            return
        for ticket in step.launches:
            task = self._loop.create_task(self._carry(job, ticket))
            self._tasks[ticket] = task
            task.add_done_callback(partial(self._forget, ticket))
        if step.launches:
            await asyncio.sleep(0)  # let them write before anything is decoded

    def _forget(self, ticket: Ticket, task: asyncio.Task[None]) -> None:
        del self._tasks[ticket]
        if task.cancelled():  # by somebody else, or it is over: then it is not missed
            self._land(ticket, Lost(Cause.CRASH, "", asyncio.CancelledError()))

    async def _carry(self, job: Job, ticket: Ticket) -> None:
        outcome: Outcome
        try:
            outcome = await self._transport.send(ticket.body, ticket.seconds)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # else the caller would wait for ever
            outcome = Lost(Cause.CRASH, type(error).__name__, error)
        job.release(ticket, outcome, clock())
        self._land(ticket, outcome)

    def _land(self, ticket: Ticket, outcome: Outcome) -> None:
        self._inbox.append((ticket, outcome))
        self._news.set()

    async def _wait(self, job: Job, patience: float | None) -> None:
        """Wait for the first landing or wake, and take in all that is there."""
        if self._own:
            (ticket,) = self._own
            outcome = await self._transport.send(ticket.body, ticket.seconds)
            self._own = []
            job.receive(ticket, outcome, clock())
            return
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
        self._hear(job)

    def _hear(self, job: Job) -> None:
        landed, self._inbox = self._inbox, []
        for ticket, outcome in landed:
            job.receive(ticket, outcome, clock())

    async def _leave(self, job: Job) -> None:
        left = job.close(clock())
        waited = [*self._tasks.values(), *([self._pull] if self._pull else [])]
        for task in waited:
            task.cancel()
        try:
            await asyncio.gather(*waited, return_exceptions=True)
        finally:
            for ticket in left:
                job.release(ticket, None, clock())


async def _next(source: AsyncIterator[Sequence[str]]) -> Sequence[str]:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return END
