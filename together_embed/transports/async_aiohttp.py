"""One request by `aiohttp`, on any event loop.

A session belongs to one loop. It is made at the loop's first request and closed when
the loop is: event loops offer no hook for that, and users end theirs in many ways
(`asyncio.run` again and again, `loop.close()` by hand), so `loop.close` itself is
wrapped on the loop that holds a session of ours.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from contextlib import suppress
from weakref import WeakSet

import aiohttp

from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.transports.packed import bound_of, whole
from together_embed.transports.route import Route

READ_BUFFER = 1024 * 1024
"""Bytes that may wait unread before the socket is told to pause. The default of 64 KiB
would pause and resume a dozen times in an answer of 800 KB."""

CLOSED = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)
"""How the system says that the other side has closed."""


class AiohttpTransport:
    """Sessions of one process to one server, one for each event loop."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._proxy = route.proxy()
        self._timeout = self._within(None)
        self._ssl: ssl.SSLContext | bool = (
            _context(route.trusted()) if route.url.startswith("https:") else True
        )
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._retired: dict[asyncio.AbstractEventLoop, list[aiohttp.ClientSession]] = {}
        self._hooked: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._shutting: set[asyncio.Task[None]] = set()

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post `body` and bring back what became of it, within `seconds`."""
        session = self._session()
        timeout = self._timeout
        if seconds != timeout.total:  # most requests have the same
            timeout = self._timeout = self._within(seconds)
        began = False
        try:
            async with session.post(
                self._route.url,
                data=body,
                headers=self._route.headers(),
                proxy=self._proxy,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                began = True
                return await _read(response)
        except Exception as error:
            return lost(error, began=began)

    def _within(self, seconds: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=seconds, sock_connect=self._route.connect_seconds
        )

    async def aclose(self) -> None:
        """Close the session of the running loop."""
        loop = asyncio.get_running_loop()
        self._retire(loop)
        await self._shut(loop)

    def close(self) -> None:
        """Close the sessions of all loops, now or when their loop next runs or ends."""
        for loop in list(self._sessions):
            self._retire(loop)
            if loop.is_running():
                with suppress(RuntimeError):  # it was closed in between
                    loop.call_soon_threadsafe(self._begin_shutting, loop)
            else:
                self._run_shut(loop)

    def _retire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let no further request use the loop's session."""
        session = self._sessions.pop(loop, None)
        if session is not None:
            self._retired.setdefault(loop, []).append(session)

    def _begin_shutting(self, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self._shut(loop))
        self._shutting.add(task)
        task.add_done_callback(self._shutting.discard)

    def _run_shut(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run a loop that rests for as long as the closing takes."""
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return  # this thread runs another loop: the end of the first one does it
        if not loop.is_closed():
            loop.run_until_complete(self._shut(loop))

    async def _shut(self, loop: asyncio.AbstractEventLoop) -> None:
        for session in self._retired.get(loop, ()):
            await session.close()
        self._retired.pop(loop, None)

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._open()
            self._sessions[loop] = session
            self._close_with(loop)
        return session

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # The flow says how many are in flight; a second limit would only hide it.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            auto_decompress=False,  # `packed` does that, within bounds
            trust_env=False,
        )

    def _close_with(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the loop's session when the loop is closed."""
        if loop in self._hooked:
            return
        self._hooked.add(loop)
        close = loop.close

        def close_session_first() -> None:
            if not loop.is_running():  # else `close` says so
                self._retire(loop)
                self._run_shut(loop)
            close()

        loop.close = close_session_first  # type: ignore[method-assign]


async def _read(response: aiohttp.ClientResponse) -> Outcome:
    """Read the body up to a bound."""
    ok = response.status == 200
    bound = bound_of(response.status)
    if ok and (response.content_length or 0) > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > bound:
            break
    return whole(response.status, response.headers, pieces)


def _context(trusted: str) -> ssl.SSLContext:
    """Trust what `requests` would trust, a file or a folder."""
    if os.path.isdir(trusted):
        return ssl.create_default_context(capath=trusted)
    return ssl.create_default_context(cafile=trusted)


def lost(error: Exception, *, began: bool) -> Lost:
    """Say what an exception of aiohttp means; the one table of this module.

    Args:
        error: What was raised.
        began: Whether the answer's head had come.
    """
    detail = type(error).__name__
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return Lost(Cause.TIMEOUT, detail)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Lost(Cause.UNTRUSTED, detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Lost(Cause.UNREACHABLE, detail)
    closed = isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in CLOSED
    )
    if closed and not began:
        return Lost(Cause.CLOSED_EARLY, detail)
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return Lost(Cause.CONNECTION, detail)
    return Lost(Cause.CRASH, detail, error)
