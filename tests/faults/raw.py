"""A server of bare sockets: it does to a connection what no HTTP library would.

It reads whole requests, and leaves the answer to a function, the act. The act writes
through the `Exchange`, which counts, and may do with the connection what it likes.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from typing_extensions import Self

from together_embed.local import LocalEndpoint

_known = LocalEndpoint(dimension=8)  # not started: it computes


def vector(text: str) -> list[float]:
    """Return the right vector of a text."""
    return _known.embed(text)


def right(texts: Iterable[str]) -> list[list[float]]:
    """Return what has to come back for texts."""
    return [vector(text) for text in texts]


def body_for(texts: list[str], embed: Callable[[str], Any] = vector) -> bytes:
    """Write the body of an answer to texts."""
    data = [{"index": n, "embedding": embed(text)} for n, text in enumerate(texts)]
    return json.dumps({"object": "list", "data": data, "model": "m"}).encode()


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer; a Content-Length is added where no header tells one."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any("length:" in h.lower() or "chunked" in h.lower() for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Exchange:
    """One request and the connection that it came on."""

    def __init__(
        self, server: RawServer, connection: socket.socket, texts: list[str]
    ) -> None:
        self._server = server
        self.connection = connection
        self.texts = texts
        self.answer = http(body_for(texts))

    def send(self, said: bytes) -> None:
        """Send bytes; OSError where nobody listens any more, or the server stops."""
        if self._server.stopped.is_set():
            raise ConnectionAbortedError
        self.connection.sendall(said)
        self._server.sent += len(said)

    def pause(self, seconds: float | None = None) -> None:
        """Wait for so long, or until the server stops."""
        if self._server.stopped.wait(seconds):
            raise ConnectionAbortedError

    def hang_up(self) -> None:
        """Close the connection, in good order."""
        raise ConnectionAbortedError


Act = Callable[[Exchange], None]


def answer(exchange: Exchange) -> None:
    """Do what is right."""
    exchange.send(exchange.answer)


class RawServer:
    """Answers POSTs by an act that can be changed at any time.

    Attributes:
        act: What is done with the next request.
        requests: Whole requests that arrived.
        connections: Connections that were accepted.
        sent: Bytes that the acts have sent, as far as the system took them.
        heads: The heads of the requests.
        stopped: Set when the server stops.
    """

    def __init__(self, act: Act = answer, *, tls: ssl.SSLContext | None = None) -> None:
        self.act = act
        self._tls = tls
        self.requests = self.connections = self.sent = 0
        self.heads: list[str] = []
        self.stopped = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._open:
            connection.close()

    def _begin(self, target: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=target, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.append(connection)
                self.connections += 1
                self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection.makefile("rb") as reader:
                while (texts := self._read(reader)) is not None:
                    self.act(Exchange(self, connection, texts))
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _read(self, reader: Any) -> list[str] | None:
        """Read a request; None where the connection ends before it is whole."""
        lines: list[str] = []
        while (line := reader.readline()) != b"\r\n":
            if not line.endswith(b"\n"):
                return None
            lines.append(line.decode("latin-1").strip())
        named = dict(line.lower().split(": ", 1) for line in lines[1:])
        size = int(named["content-length"])
        body = reader.read(size)
        if len(body) < size:
            return None
        self.requests += 1
        self.heads.append("\n".join(lines))
        texts = json.loads(body)["input"]
        return [texts] if isinstance(texts, str) else texts
