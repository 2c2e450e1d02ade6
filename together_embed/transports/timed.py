"""Connections of urllib3 whose answers end in time, their headers included.

The timeout of a socket is for one read: a server that sends a byte now and then would
hold a request for as long as it likes. Here the time that is left when an answer is
awaited is for all of its reads together. The usual answer costs one look at the clock.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

SWITCHED = 101
"""Of all that are no answer yet, the one after which none comes in HTTP."""


class _Reads(RawIOBase):
    """The reads of one answer, with one end for all of them."""

    def __init__(self, sock: socket.socket, raw: Any) -> None:
        self._sock, self._raw = sock, raw
        self._seconds = sock.gettimeout()
        self._ends_at = time.monotonic() + (self._seconds or 0.0)
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._seconds is not None and self._begun:
            left = self._ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer was still coming")
            self._sock.settimeout(left)
        self._begun = True  # the first read has the socket's own time, which is all
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):  # the next request finds the time as it was
                self._sock.settimeout(self._seconds)
                if _holds_more(self._sock):
                    self._sock.shutdown(socket.SHUT_RDWR)
            self._raw.close()
        super().close()


def _holds_more(sock: Any) -> bool:
    """Tell whether TLS has unpacked more than the answer, which nobody asked for.

    urllib3 drops a connection that has something to read, but looks at the network
    only: it would take this for the answer to the next request.
    """
    pending = getattr(getattr(sock, "sslobj", sock), "pending", None)
    return pending is not None and pending() > 0


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp = BufferedReader(_Reads(sock, self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        # http.client skips a 100 alone. Any other would count as the answer, and the
        # answer as that to the next request.
        while 100 <= self.status < 200 and self.status != SWITCHED:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        self.will_close |= self.status == SWITCHED
        # urllib3 would go on, and log what it could not read: a key, if it was echoed.
        if self.headers.defects or self.headers.get_payload():
            raise HTTPException("headers that are none")


class _Connection(HTTPConnection):
    response_class = _Answer
    debuglevel = 0  # whoever sets http.client's has each request printed, and its key


class _SecureConnection(HTTPSConnection):
    response_class = _Answer
    debuglevel = 0


class _Pool(HTTPConnectionPool):
    # urllib3 declares a protocol that its own connections do not fit.
    ConnectionCls = _Connection  # pyright: ignore[reportAssignmentType]


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # pyright: ignore[reportAssignmentType]


class TimedAdapter(HTTPAdapter):
    """The adapter of `requests`, whose timeout is for a request as a whole."""

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        """Make the pool's manager, as the adapter asks for it."""
        super().init_poolmanager(*given, **named)
        self._time(self.poolmanager)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Have certificates checked wherever there is TLS.

        `requests` goes by the server's address, and would trust any proxy on the way.
        """
        end = "https:" if conn.scheme == "https" else url
        super().cert_verify(conn, end, verify, cert)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
        """Return the manager of a proxy's connections."""
        return self._time(super().proxy_manager_for(*given, **named))

    def _time(self, manager: Any) -> Any:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
