"""One call, from its texts to what its caller gets: process, job and driver together.

Both colours do the same here: take what belongs to this process, make a job of the
call, and hand it to the driver of their colour. What goes wrong takes along what the
call has done all the same.
"""

from __future__ import annotations

import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from typing import Any

from together_embed.engine.batching import listed
from together_embed.engine.job import Job
from together_embed.engine.roles import Role
from together_embed.engine.rows import Form
from together_embed.engine.telling import OnProgress
from together_embed.errors import EmbeddingsError
from together_embed.partial import Partial
from together_embed.process import Process
from together_embed.settings import Settings
from together_embed.transports.tasks import Tasks
from together_embed.transports.threads import Threads


class Calls:
    """The calls of one client.

    Args:
        settings: What the client was told.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process = Process(settings)

    def rebound(self, settings: Settings) -> None:
        """Go on within the bounds of these settings, which differ in nothing else."""
        here = self.here()
        self._settings = settings
        here.rebound(settings)

    def here(self) -> Process:
        """Return what belongs to this process; a forked child starts with its own."""
        process = self._process
        if process.pid != os.getpid():
            # The parent's stays referenced: its sockets are the parent's to close.
            process = self._process = Process(self._settings, process)
        return process

    def embed(
        self,
        texts: Sequence[str],
        form: Form,
        role: Role | None,
        on_progress: OnProgress | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Any:
        """Return the rows of the texts.

        `numbers` are those that they have in the call that is resumed, if one is.

        Raises:
            EmbeddingsError: The call is not whole; `partial` holds what is there.
        """
        texts = listed(texts)  # `resume` is to find those of now
        if not texts:
            return form.empty(0, 0)
        here = self.here()
        driver = Threads(here.sync(), here.memory)
        job = here.job(driver, form, role, on_progress=on_progress, numbers=numbers)
        try:
            ((_, rows),) = driver.run(job, iter(()), texts)
        except EmbeddingsError as error:
            error.partial = self._partial(error, job, texts, form, role)
            raise error from None
        return rows

    async def aembed(
        self,
        texts: Sequence[str],
        form: Form,
        role: Role | None,
        on_progress: OnProgress | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Any:
        """Do what `embed` does on the running loop."""
        texts = listed(texts)
        if not texts:
            return form.empty(0, 0)
        here = self.here()
        driver = Tasks(here.asynchronous(), here.memory)
        job = here.job(driver, form, role, on_progress=on_progress, numbers=numbers)
        try:
            ((_, rows),) = await driver.whole(job, texts)
        except EmbeddingsError as error:
            error.partial = self._partial(error, job, texts, form, role)
            raise error from None
        return rows

    def stream(
        self,
        batches: Iterable[Sequence[str]],
        form: Form,
        role: Role | None,
        *,
        ordered: bool,
        lenient: bool,
        numbers: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number of the first text of each group, and its rows."""
        here = self.here()
        driver = Threads(here.sync(), here.memory)
        how = {"ordered": ordered, "lenient": lenient, "numbers": numbers}
        job = here.job(driver, form, role, **how)
        try:
            yield from driver.run(job, map(listed, batches))
        except EmbeddingsError as error:
            error.partial = _untaken(error, job)
            raise

    async def astream(
        self,
        batches: AsyncIterator[Sequence[str]],
        form: Form,
        role: Role | None,
        *,
        ordered: bool,
        lenient: bool,
        numbers: Sequence[int] | None = None,
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """Do what `stream` does on the running loop."""
        here = self.here()
        driver = Tasks(here.asynchronous(), here.memory)
        how = {"ordered": ordered, "lenient": lenient, "numbers": numbers}
        job = here.job(driver, form, role, **how)
        try:
            async with aclosing(driver.run(job, batches)) as groups:
                async for group in groups:
                    yield group
        except EmbeddingsError as error:
            error.partial = _untaken(error, job)
            raise

    def _partial(
        self,
        error: EmbeddingsError,
        job: Job,
        texts: Sequence[str],
        form: Form,
        role: Role | None,
    ) -> Partial:
        def again(numbers: list[int]) -> Any:
            left = [texts[number] for number in numbers]
            return self.embed(left, form, role, numbers=numbers)

        async def aagain(numbers: list[int]) -> Any:
            left = [texts[number] for number in numbers]
            return await self.aembed(left, form, role, numbers=numbers)

        results, failures, remaining = job.partial()
        if not job.began:  # a text was refused before anything was sent
            failures = dict.fromkeys(error.indices, error)
            remaining = tuple(n for n in range(len(texts)) if n not in failures)
        return Partial.left_by(error, results, failures, remaining, again, aagain)


def _untaken(error: EmbeddingsError, job: Job) -> Partial:
    """Return what a stream has that ended so, but for what was yielded."""
    results, failures, remaining = job.partial()
    failures.update(dict.fromkeys(error.indices, error))
    return Partial.left_by(error, results, failures, remaining)
