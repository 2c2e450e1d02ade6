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
import select
import ssl
import sys
import weakref
from contextlib import suppress
from io import BytesIO
from typing import Any

import aiohttp

from together_embed.address import proxy
from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.settings import USER_AGENT
from together_embed.transports.packed import bound_of, whole
from together_embed.transports.route import (
    Route,
    forget_variables,
    trusting,
    why_unreachable,
    why_untrusted,
)

READ_BUFFER = 1024 * 1024
"""Bytes that may wait unread before the socket is told to pause. The default of 64 KiB
would pause and resume a dozen times in an answer of 800 KB."""

LARGE = 1024 * 1024
"""Bytes of a request over which aiohttp wants a file, and warns of plain bytes."""

UNNAMED = {"User-Agent": USER_AGENT}
"""What a proxy is told beside the server's name: aiohttp would name itself and Python,
by their versions."""

CLOSED = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)
"""How the system says that the other side has closed."""


Sessions = dict[asyncio.AbstractEventLoop, aiohttp.ClientSession]


class AiohttpTransport:
    """Sessions of one process to one server, one for each event loop."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._proxy = proxy(route.url)
        self._timeout = self._within(None)
        trusted = route.trusted(self._proxy)
        self._ssl: ssl.SSLContext | bool = trusting(trusted) if trusted else True
        self._sessions: Sessions = {}
        weakref.finalize(self, _let_go, self._sessions, os.getpid()).atexit = False

    async def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post `body` and bring back what became of it, within `seconds`."""
        session = self._session()
        timeout = self._timeout
        if seconds != timeout.total:  # most requests have the same
            timeout = self._timeout = self._within(seconds)
        began, outer = False, sys.exc_info()[1]
        try:
            async with session.post(
                self._route.url,
                data=body if len(body) <= LARGE else BytesIO(body),
                headers=self._route.headers(),
                proxy=self._proxy,
                proxy_headers=UNNAMED if self._proxy else None,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                began = True
                return await _read(response)
        except Exception as error:
            return lost(error, began=began, outer=outer)
        except BaseException as error:
            forget_variables(error, outer)
            raise

    def _within(self, seconds: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=seconds, sock_connect=self._route.connect_seconds
        )

    async def aclose(self) -> None:
        """Close the session of the running loop."""
        loop = asyncio.get_running_loop()
        if session := self._sessions.pop(loop, None):
            await _ending(loop).shut(session)

    def close(self) -> None:
        """Close the sessions of all loops, now or when their loop next runs or ends."""
        while self._sessions:
            loop, session = self._sessions.popitem()
            if loop.is_running() or _runs_a_loop():
                _ending(loop).begin(session)
            elif not loop.is_closed():
                loop.run_until_complete(_ending(loop).shut(session))

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            session = self._sessions[loop] = self._open()
            _ending(loop).sessions[session] = self._sessions
        return session

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # The flow says how many are in flight; a second limit would only hide it.
            connector=_Connector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BUFFER,
            auto_decompress=False,  # `packed` does that, within bounds
            trust_env=False,
        )


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection on which something came that nobody had asked for.

    aiohttp would take that for the answer to the next request. What the loop has not
    read yet counts, too: it may not have run since. A connection that the server has
    closed is noticed in the same way, before a request is lost on it.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    async def connect(self, *given: Any, **named: Any) -> Any:
        """Return a connection that was never used, or is quiet."""
        while True:
            connection = await super().connect(*given, **named)
            protocol: Any = connection.protocol
            if protocol not in self._known:  # TLS may have news of its own at first
                self._known.add(protocol)
                return connection
            if not (protocol.should_close or _has_news(protocol.transport)):
                return connection
            connection.close()


def _has_news(transport: asyncio.Transport) -> bool:
    """Tell whether there is something to read on a connection."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Ending:
    """Stands in the place of a loop's `close`, and closes its sessions first.

    There is one for each loop, however many clients come and go there.

    Attributes:
        sessions: Those that are open, and where their transport keeps each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sessions: dict[aiohttp.ClientSession, Sessions] = {}
        self._loop = loop
        self._close = loop.close
        self._tasks: set[asyncio.Task[None]] = set()
        loop.close = self  # type: ignore[method-assign]

    def __call__(self) -> None:
        """Close the sessions, then the loop."""
        loop = self._loop
        # A loop that runs cannot be closed, and says so.
        try:
            if self.sessions and not (loop.is_running() or _runs_a_loop()):
                loop.run_until_complete(self._shut_all())
        finally:  # Ctrl-C may come
            self._close()

    def begin(self, session: aiohttp.ClientSession) -> None:
        """Close a session when the loop has its next turn, from any thread."""
        with suppress(RuntimeError):  # it was closed in between
            self._loop.call_soon_threadsafe(self._begin, session)

    async def shut(self, session: aiohttp.ClientSession) -> None:
        """Close a session, on its loop."""
        await session.close()
        kept = self.sessions.pop(session, {})
        if kept.get(self._loop) is session:
            del kept[self._loop]

    def _begin(self, session: aiohttp.ClientSession) -> None:
        task = self._loop.create_task(self.shut(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shut_all(self) -> None:
        for session in [*self.sessions]:
            await self.shut(session)
        await asyncio.gather(*self._tasks)


def _ending(loop: asyncio.AbstractEventLoop) -> _Ending:
    close = loop.close
    return close if isinstance(close, _Ending) else _Ending(loop)


def _let_go(sessions: Sessions, pid: int) -> None:
    """Close the sessions of a transport that nobody has closed, and nobody has."""
    if pid != os.getpid():
        return  # they are the parent's to close
    for loop, session in list(sessions.items()):
        _ending(loop).begin(session)


def _runs_a_loop() -> bool:
    """Tell whether this thread does, which can then run no other."""
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


async def _read(response: aiohttp.ClientResponse) -> Outcome:
    """Read the body up to a bound."""
    ok = response.status == 200
    bound = bound_of(response.status)
    if ok and (response.content_length or 0) > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > bound:
            break
    return whole(response.status, response.headers, pieces)


def lost(error: Exception, *, began: bool, outer: BaseException | None) -> Lost:
    """Say what an exception of aiohttp means; the one table of this module.

    Args:
        error: What was raised.
        began: Whether the answer's head had come.
        outer: What was being handled when the request began.
    """
    detail = type(error).__name__
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return Lost(Cause.TIMEOUT, detail)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Lost(Cause.UNTRUSTED, why_untrusted(error.certificate_error, detail))
    if isinstance(error, aiohttp.ClientConnectorError):
        return Lost(Cause.UNREACHABLE, why_unreachable(error.os_error, detail))
    closed = isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in CLOSED
    )
    if closed and not began:
        return Lost(Cause.CLOSED_EARLY, detail)
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return Lost(Cause.CONNECTION, detail)
    forget_variables(error, outer)
    return Lost(Cause.CRASH, detail, error)
