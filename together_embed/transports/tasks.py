"""The driver of async calls: requests as tasks of the running loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from together_embed.engine.batching import listed
from together_embed.engine.job import Job
from together_embed.engine.outcome import Cause, Lost
from together_embed.engine.plan import Step, Ticket
from together_embed.transports.drive import (
    END,
    AsyncTransport,
    Landing,
    Memory,
    clock,
    end,
    keep,
)

MANY, COPIES = 10_000, 1_000
"""Texts that a loop looks through itself, and rows that it copies for texts that came
more than once; some times as many would hold it for 10 ms."""

Result = TypeVar("Result")


class Tasks:
    """Requests as tasks of the loop; leaving the call cancels and awaits them.

    Attributes:
        seat: What a job is to know of where it is carried out: what hosts the requests.
    """

    def __init__(self, transport: AsyncTransport, memory: Memory | None) -> None:
        self._transport = transport
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.seat: dict[str, Any] = {"host": threading.get_ident()}
        self._inbox: deque[Landing] = deque()
        self._tasks: dict[Ticket, asyncio.Task[None]] = {}
        self._pull: asyncio.Task[Sequence[str]] | None = None
        self._spoilt: Exception | None = None
        self._orderly = False  # until then, Ctrl-C may have broken off anything

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
                over = await self._turn(job)
                many = job.copies > COPIES
                for rows in await self._beside(job.take) if many else job.take():
                    yield rows
                if over:
                    break
            end(job, self._spoilt)
            self._orderly = True
        finally:
            await self._finish(job)

    async def whole(self, job: Job, texts: Sequence[str]) -> list[Any]:
        """Carry out a job of these texts and no others, and return its groups."""
        try:
            await self._add(job, texts)
            job.complete()
            while not await self._turn(job):
                pass
            many = job.copies > COPIES
            groups = await self._beside(job.take) if many else job.take()
            job.result()
            self._orderly = True
            return groups
        finally:
            await self._finish(job)

    async def _turn(self, job: Job) -> bool:
        """Do what comes next; tell whether the job is over."""
        if self._inbox:
            self._hear(job)  # as it is with threads
        awaiting, idle = self._pull is not None, not self._tasks
        step = job.next_step(clock(), awaiting=awaiting, idle=idle)
        if step is None:
            return True
        await self._start(job, step)
        job.digest(clock())
        if job.fresh:
            await self._keep(job)
        if not step.alone:
            await self._wait(job, step.patience)
        return False

    async def _finish(self, job: Job) -> None:
        try:
            if not self._orderly:  # else nothing is left
                await self._save(job)
        finally:
            try:
                await self._leave(job)
            finally:
                if not self._orderly:
                    job.mend(())
                if self._memory is not None:
                    self._memory.end(job)

    async def _feed(self, job: Job, source: AsyncIterator[Sequence[str]]) -> None:
        """Pull the next group beside the requests: a slow source holds up nothing."""
        while job.hungry:
            if self._pull is None:
                self._pull = self._loop.create_task(_next(source))
                self._pull.add_done_callback(self._arrive)
                await asyncio.sleep(0)
            if not self._pull.done():
                return
            try:
                pulled = self._pull.result()
            except Exception as error:  # what it gave before is wanted all the same
                self._spoilt, pulled = error, END
            self._pull = None
            await self._add(job, pulled)

    def _arrive(self, pull: asyncio.Task[Sequence[str]]) -> None:
        if not pull.cancelled():
            pull.exception()  # nobody may ask for it any more
        self._news.set()

    async def _add(self, job: Job, texts: Sequence[str]) -> None:
        """Add a group, or say that there is none any more."""
        if texts is END:
            job.complete()
            return
        hidden = self._memory.canary(job) if self._memory else None
        many = len(texts) > MANY
        # A text of any length is much work for an event loop, and so are many.
        if job.measures or many:
            group = await self._beside(job.group, texts, hidden)
        else:
            group = job.group(texts, hidden)
        if self._memory is not None:  # a disk is no friend of an event loop
            job.enter(group)
            for start, asked in group.lookups():
                known = await asyncio.to_thread(self._memory.recall, asked)
                group.recall(start, known)
            if hidden and not group.missing:
                self._memory.end(job)
        if many:
            await self._beside(job.add, group)
        else:
            job.add(group)

    async def _beside(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do in a thread what would hold the loop, and stay until that is over.

        A job is driven from one place at a time: it cannot be left before.
        """
        # No task, which `asyncio.run` would cancel at its end, and the thread go on.
        context, run = copy_context(), partial(work, *args)
        doing = self._loop.run_in_executor(None, lambda: context.run(run))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            while not doing.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([doing])
            if not doing.cancelled():
                doing.exception()  # nobody asks for it any more
            raise

    async def _save(self, job: Job) -> None:
        """Keep what has come, however the call ends: it is paid for."""
        self._hear(job)
        while job.is_digesting:
            job.digest(clock())
        await self._keep(job)

    async def _keep(self, job: Job) -> None:
        """Keep all of it, whoever cancels the call meanwhile, and how often."""
        if job.fresh and self._memory is not None:
            await self._beside(keep, job, self._memory)

    async def _start(self, job: Job, step: Step) -> None:
        """Set off what the step names; who is alone is over then."""
        for ticket in step.expired:
            if task := self._tasks.get(ticket):
                task.cancel()
            job.release(ticket, None, clock())
        if step.alone:
            (ticket,) = step.launches
            outcome = await self._transport.send(ticket.body, ticket.seconds)
            self._inbox.append((ticket, outcome))
            self._hear(job)
            return
        for ticket in step.launches:
            task = self._loop.create_task(self._carry(job, ticket))
            self._tasks[ticket] = task
            task.add_done_callback(partial(self._forget, ticket))
        if step.launches:
            await asyncio.sleep(0)  # let them write before anything is decoded

    def _forget(self, ticket: Ticket, task: asyncio.Task[None]) -> None:
        del self._tasks[ticket]
        # Cancelled by somebody else, or since it is over: then it is not missed.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error:  # else the caller would wait for ever
            self._inbox.append((ticket, Lost(Cause.CRASH, type(error).__name__, error)))
            self._news.set()

    async def _carry(self, job: Job, ticket: Ticket) -> None:
        outcome = await self._transport.send(ticket.body, ticket.seconds)
        self._inbox.append((ticket, outcome))
        job.release(ticket, outcome, clock())
        self._news.set()

    async def _wait(self, job: Job, patience: float | None) -> None:
        """Wait for the first landing or wake, and take in all that is there."""
        if patience == 0:
            if not job.is_finished:  # else the caller goes on at once
                # Who sleeps is woken in one turn of the loop and runs in the next: with
                # one turn between two answers it would see three of them decoded.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        else:
            timer = None
            if patience is not None:
                timer = self._loop.call_later(patience, self._news.set)
            try:
                await self._news.wait()
            finally:
                if timer:
                    timer.cancel()
        self._news.clear()
        self._hear(job)

    def _hear(self, job: Job) -> None:
        while self._inbox:
            ticket, outcome = self._inbox[0]  # as it is with threads
            job.receive(ticket, outcome, clock())
            self._inbox.popleft()

    async def _leave(self, job: Job) -> None:
        left = job.close(clock())
        waited = [*self._tasks.values(), *([self._pull] if self._pull else [])]
        for task in waited:
            task.cancel()
        try:
            if waited:  # `gather` would be deaf to being cancelled again
                await asyncio.wait(waited)
        finally:
            for ticket in left:
                job.release(ticket, None, clock())


async def _next(source: AsyncIterator[Sequence[str]]) -> Sequence[str]:
    try:
        return listed(await source.__anext__())
    except StopAsyncIteration:
        return END
