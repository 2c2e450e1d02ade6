"""Small servers between a client and the endpoint: a proxy, and one that speaks TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Self


class Relay:
    """Passes bytes on to `port`; as a proxy, for whichever host it is asked for.

    Attributes:
        heads: The first line and headers of each connection's first request.
    """

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, proxy: bool = False
    ) -> None:
        self.heads: list[str] = []
        self._to = port
        self._tls = tls
        self._proxy = proxy
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in list(self._open):
            _end(connection)
        for thread in self._threads:
            thread.join(5)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._open.append(connection)
                self._begin(self._serve, connection)

    def _begin(self, target: Any, *given: Any) -> None:
        thread = threading.Thread(target=target, args=given)
        self._threads.append(thread)
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            said = connection.recv(65536)
            if not said:
                return
            head = said.partition(b"\r\n\r\n")[0].decode("latin-1")
            self.heads.append(head)
            upstream = socket.create_connection(("127.0.0.1", self._to))
            self._open.append(upstream)
            if head.startswith("CONNECT "):
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(self._origin_form(said))
            self._begin(_pump, upstream, connection)
            _pump(connection, upstream)

    def _origin_form(self, said: bytes) -> bytes:
        if not self._proxy:
            return said
        method, target, rest = said.split(b" ", 2)
        return b" ".join((method, urlsplit(target).path, rest))


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while said := source.recv(65536):
            target.sendall(said)
    _end(source)
    _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
