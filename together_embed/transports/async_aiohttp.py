"""One request by `aiohttp`, on any event loop.

A session belongs to one loop. It is made at the loop's first request and closed when
the loop is: event loops offer no hook for that, and users end theirs in many ways
(`asyncio.run` again and again, `loop.close()` by hand), so `loop.close` itself is
wrapped on the loop that holds a session of ours.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from weakref import WeakSet

import aiohttp

from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.transports.route import MAX_ERROR, MAX_REPLY, Route

READ_BUFFER = 1024 * 1024
"""Bytes that may wait unread before the socket is told to pause. The default of 64 KiB
would pause and resume a dozen times in an answer of 800 KB."""


class AiohttpTransport:
    """Sessions of one process to one server, one for each event loop."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._proxy = route.proxy()
        self._ssl: ssl.SSLContext | bool = (
            _context(route.trusted()) if route.url.startswith("https:") else True
        )
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._hooked: WeakSet[asyncio.AbstractEventLoop] = WeakSet()

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post `body` and bring back what became of it, within `seconds`."""
        session = self._session()
        timeout = aiohttp.ClientTimeout(
            total=seconds, sock_connect=self._route.connect_seconds
        )
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

    async def aclose(self) -> None:
        """Close the session of the running loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    def close(self) -> None:
        """Close the sessions of all loops that are not in the middle of something."""
        for loop, session in list(self._sessions.items()):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(session.close(), loop)
            elif not loop.is_closed():
                loop.run_until_complete(session.close())
        self._sessions.clear()

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
            trust_env=False,
        )

    def _close_with(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the loop's session when the loop is closed."""
        if loop in self._hooked:
            return
        self._hooked.add(loop)
        close = loop.close

        def close_session_first() -> None:
            session = self._sessions.pop(loop, None)
            if session is not None and not (loop.is_closed() or loop.is_running()):
                loop.run_until_complete(session.close())
            close()

        loop.close = close_session_first  # type: ignore[method-assign]


async def _read(response: aiohttp.ClientResponse) -> Outcome:
    """Read the body up to a bound."""
    ok = response.status == 200
    bound = MAX_REPLY if ok else MAX_ERROR
    if ok and (response.content_length or 0) > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > bound:
            break
    if ok and size > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Reply(response.status, response.headers, body[:bound])


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
    closed = isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionResetError))
    if closed and not began:
        return Lost(Cause.CLOSED_EARLY, detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Lost(Cause.UNREACHABLE, detail)
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return Lost(Cause.CONNECTION, detail)
    return Lost(Cause.CRASH, detail, error)
