"""Many requests through one client: sockets, threads, files and memory stay flat."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .raw import RawServer, right
from .sizes import sized
from .ways import Way

CALLS = sized(40, 4_500)
BATCHES = 50
"""Requests of a call; each tenth call has one alone, as a query has: 45 in the mean."""
GROWTH = 16 * 1024 * 1024
"""Bytes that the process may grow by after its first tenth: 80 a request."""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs Linux's /proc"
)


@dataclass(frozen=True)
class Held:
    """What this process holds: sockets and files, threads, bytes of memory."""

    files: int
    threads: int
    memory: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        for thread in threading.enumerate():
            if thread.name == "together-embed":
                thread.join(5)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        memory = pages * os.sysconf("SC_PAGE_SIZE")
        return cls(files, threading.active_count(), memory)


def texts_of(call: int) -> list[str]:
    return [f"text {call} {n}" for n in range(1 if call % 10 == 0 else BATCHES)]


async def calls_of(transport: Way, client: Any) -> AsyncIterator[int]:
    """Make the calls on the way, and yield the number of each."""
    for call in range(CALLS):
        texts = texts_of(call)
        rows = getattr(client, transport.method)(texts)
        rows = await rows if asyncio.iscoroutine(rows) else rows
        assert rows == right(texts)
        yield call


async def test_many_requests_through_one_client_leave_nothing_behind(
    transport: Way, brief_waits: None
) -> None:
    with RawServer() as server:
        client = transport.make(server.url, batch_size=1, max_concurrency=4)
        async for call in calls_of(transport, client):
            server.heads.clear()
            if call == CALLS // 10:
                early = Held.now()
        late = Held.now()
        await client.aclose()
    assert server.requests == sum(len(texts_of(call)) for call in range(CALLS))
    assert server.connections <= 4 + 1
    assert late.files <= early.files + 1
    assert late.threads <= early.threads + 1
    assert late.memory <= early.memory + GROWTH
    print(f"{transport.name}: {server.requests:,} requests; {early} then {late}")
