"""What one process may share among its threads and loops, and no other may.

Connections, the flow of requests, what was counted. A forked child makes one of its
own: with its parent's sockets it would read its parent's answers.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from together_embed import learned
from together_embed.caution import warn
from together_embed.engine.flow import CEILING, Flow
from together_embed.engine.hedge import Hedger
from together_embed.engine.job import Job
from together_embed.engine.plan import Plan
from together_embed.engine.retry import Policy
from together_embed.engine.roles import Role
from together_embed.engine.rows import Form
from together_embed.engine.sharing import Sharing
from together_embed.engine.stats import BatchStats, Stats, Tallies, Tally
from together_embed.settings import Settings
from together_embed.transports.drive import clock
from together_embed.transports.route import Route

if TYPE_CHECKING:
    from together_embed.memory import Memory
    from together_embed.transports.async_aiohttp import AiohttpTransport
    from together_embed.transports.sync_requests import RequestsTransport
    from together_embed.transports.tasks import Tasks
    from together_embed.transports.threads import Threads


class Process:
    """See the module.

    Attributes:
        pid: The process that this belongs to.
        parent: What a forked child found; kept, as its sockets are not ours to close.
        flow: How many requests may be in flight.
        memory: The store on disk, if there is one.
        by_requests: The sync transport, once it was needed.
        by_aiohttp: The async transport, likewise.
    """

    def __init__(self, settings: Settings, parent: Process | None = None) -> None:
        self.pid = os.getpid()
        self.parent = parent
        self._settings = settings
        self._dialect = learned.dialect(settings)
        self._plan = Plan(
            model=settings.model,
            extra=settings.further_fields,
            batch_size=settings.batch_size,
            max_batch_bytes=settings.max_batch_bytes,
            timeout=settings.read_seconds,
            deadline=settings.deadline,
            width=settings.dimensions,
            allow_blank=settings.allow_blank,
            keeps=settings.cache is not None,
            scrub=settings.scrub,
            limit=settings.limit,
            shape=settings.shape,
            ready=cache(settings.require_key),  # until it has passed once
        )
        self._policy = Policy(settings.max_retries, random.random)
        self.flow = Flow(
            settings.max_concurrency or CEILING,
            self._policy,
            threading.Lock(),
            requests_per_second=settings.requests_per_second,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self._route = Route(
            settings.url, settings.request_headers, settings.connect_seconds
        )
        self._lock = threading.Lock()
        self._tallies = Tallies(threading.Lock())
        self._sharing = Sharing(threading.Lock())
        share = settings.hedge
        self._hedger = None if share is None else Hedger(share, threading.Lock())
        self._last: Tally | None = None
        self.memory = _memory(settings)
        self.by_requests: RequestsTransport | None = None
        self.by_aiohttp: AiohttpTransport | None = None

    def rebound(self, settings: Settings) -> None:
        """Let the flow go on within the bounds of these settings."""
        self.flow.bound(
            settings.max_concurrency or CEILING,
            clock(),
            requests_per_second=settings.requests_per_second,
            tokens_per_minute=settings.tokens_per_minute,
        )

    def job(
        self, driver: Threads | Tasks, form: Form, role: Role | None, **how: Any
    ) -> Job:
        """Make a job for one call, for this driver to carry out."""
        shared = self._plan, self._policy, self.flow, self._dialect
        prefix = self._settings.roles.prefix(role) if role else ""
        if self.memory is not None:
            self.memory.meet(role)
        return Job(
            *shared,
            clock(),
            driver.wake,
            form,
            prefix=prefix,
            on_batch=self._tell if self._settings.on_batch else None,
            on_end=self._end,
            tallies=self._tallies,
            sharing=self._sharing,
            hedger=self._hedger,
            **(driver.seat | how),
        )

    @property
    def stats(self) -> Stats:
        """What all calls have sent so far."""
        return self._tallies.stats(self.flow, self._dialect)

    @property
    def last_stats(self) -> Stats | None:
        """The same of the call that ended last, if one has."""
        last = self._last
        return None if last is None else last.stats(self.flow, self._dialect)

    def _end(self, last: Tally) -> None:
        self._last = last

    def _tell(self, batch: BatchStats) -> None:
        """Tell the user's hook, whose mistakes must cost no vector."""
        since_epoch = time.time() - clock()
        begun = batch.started_at + since_epoch
        told = replace(batch, started_at=begun, server=self._settings.base_url)
        try:
            if self._settings.on_batch is not None:
                self._settings.on_batch(told)
        except Exception as error:
            words = f"on_batch raised {type(error).__name__}: {error}"
            warn(RuntimeWarning(self._settings.scrub(words)))

    def sync(self) -> RequestsTransport:
        """Return the sync transport; its library is loaded only now."""
        if self.by_requests is None:
            from together_embed.transports.sync_requests import RequestsTransport

            with self._lock:
                self.by_requests = self.by_requests or RequestsTransport(self._route)
        return self.by_requests

    def asynchronous(self) -> AiohttpTransport:
        """Return the async transport; its library is loaded only now."""
        if self.by_aiohttp is None:
            from together_embed.transports.async_aiohttp import AiohttpTransport

            with self._lock:
                self.by_aiohttp = self.by_aiohttp or AiohttpTransport(self._route)
        return self.by_aiohttp

    def close(self) -> None:
        """Close connections and files; they are opened again when they are needed."""
        if self.by_requests:
            self.by_requests.close()
        if self.by_aiohttp:
            self.by_aiohttp.close()
        if self.memory:
            self.memory.close()


def _memory(settings: Settings) -> Memory | None:
    """Open what the settings name; SQLite is loaded only then."""
    if settings.cache is None:
        return None
    from together_embed.memory import Memory
    from together_embed.store import Store

    return Memory(Store(settings.cache, max_bytes=settings.max_cache_bytes), settings)
