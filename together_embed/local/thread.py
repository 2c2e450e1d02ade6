"""Runs an aiohttp handler on a loopback socket, in a thread with its own event loop.

`start` returns when connections are accepted, `stop` when all of them are closed and
the thread is gone. In a forked child `stop` does nothing: the server is its parent's.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http import HttpProcessingError


def _tells_no_headers(record: logging.LogRecord) -> bool:
    """Drop what aiohttp says of broken requests: it may quote a header with a key."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


LOG = logging.getLogger("together_embed.local")
LOG.addFilter(_tells_no_headers)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ServerThread:
    """A server that accepts connections between `start` and `stop`."""

    def __init__(
        self,
        handler: Handler,
        *,
        on_connect: Callable[[], object],
        max_bytes: int | None,
        keep_alive: float,
    ) -> None:
        self._handler = handler
        self._on_connect = on_connect
        self._max_bytes = max_bytes
        self._keep_alive = keep_alive
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        """Listen, and give the port.

        Raises:
            OSError: If the address is taken or is not of this machine.
            RuntimeError: If it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("an endpoint runs once; make another one")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=1024)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._main,
            args=(listening, ready),
            name="together-embed-local",
            daemon=True,
        )
        chosen: int = listening.getsockname()[1]
        self._thread.start()
        ready.wait()
        return chosen

    def stop(self) -> None:
        """Close the socket and every connection, and wait for the thread to end."""
        # In a forked child no thread but its own is alive.
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    def _main(self, listening: socket.socket, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(listening, ready))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            ready.set()  # even where the start failed: nobody waits for ever
            listening.close()
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        # For aiohttp, 0 stands for no limit.
        app = web.Application(client_max_size=self._max_bytes or 0)
        app.router.add_route("*", "/{path:.*}", self._handler)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=LOG,
            # A client that gives up ends what was being done for it.
            handler_cancellation=True,
            keepalive_timeout=self._keep_alive,
            shutdown_timeout=0.01,
        )
        await runner.setup()
        try:
            await self._accept(runner, listening, ready)
        finally:
            await runner.cleanup()

    async def _accept(
        self, runner: web.AppRunner, listening: socket.socket, ready: threading.Event
    ) -> None:
        make_protocol = runner.server
        if make_protocol is None:
            raise RuntimeError("aiohttp's runner was set up without a server")

        def connected() -> asyncio.Protocol:
            self._on_connect()
            return make_protocol()

        server = await self._loop.create_server(connected, sock=listening, backlog=1024)
        ready.set()
        await self._stopped.wait()
        # A connection accepted in the turn in which a server closes is dropped, and its
        # socket left open: accept no more first, and let the last ones arrive.
        self._loop.remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
