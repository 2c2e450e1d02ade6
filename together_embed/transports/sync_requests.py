"""One request by `requests`, from any thread.

The adapter is used without a session: a session would follow redirects, keep cookies,
put credentials from `~/.netrc` in the key's place, and work out the proxies anew for
each request.
"""

from __future__ import annotations

import ssl
import sys
from typing import Any

import requests
from urllib3 import Timeout
from urllib3 import exceptions as urllib3_errors

from together_embed.address import proxy
from together_embed.engine.outcome import Cause, Lost, Outcome
from together_embed.transports.packed import bound_of, whole
from together_embed.transports.route import (
    Route,
    forget_variables,
    why_unreachable,
    why_untrusted,
)
from together_embed.transports.timed import TimedAdapter

POOL = 1024
"""Idle connections that are kept: more than may ever be in flight, so that none is
thrown away with a warning."""
PIECE = 256 * 1024
"""Bytes that are read between two looks at the bound, at most."""


class RequestsTransport:
    """Connections of one process to one server, shared by its threads."""

    def __init__(self, route: Route) -> None:
        self._route = route
        through = proxy(route.url)
        self._options: dict[str, Any] = {
            "verify": route.trusted(through) or True,
            "proxies": {route.url.partition(":")[0]: through} if through else {},
            "stream": True,
        }
        self._adapter = TimedAdapter(pool_connections=1, pool_maxsize=POOL)
        self._blank = requests.Request("POST", route.url).prepare()

    def send(self, body: bytes, seconds: float | None) -> Outcome:
        """Post `body` and bring back what became of it, within `seconds`."""
        began, outer = False, sys.exc_info()[1]
        try:
            with self._post(body, seconds) as response:
                began = True
                return _read(response)
        except Exception as error:
            return lost(error, began=began, outer=outer)
        except BaseException as error:
            forget_variables(error, outer)
            raise

    def close(self) -> None:
        """Close the idle connections."""
        self._adapter.close()

    def _post(self, body: bytes, seconds: float | None) -> requests.Response:
        request = self._blank.copy()
        request.headers.update(self._route.headers())
        request.headers["Content-Length"] = str(len(body))
        request.body = body
        timeout: Any = Timeout(seconds, self._route.connect_seconds)
        return self._adapter.send(request, timeout=timeout, **self._options)


def _read(response: requests.Response) -> Outcome:
    """Read the body up to a bound."""
    ok = response.status_code == 200
    bound = bound_of(response.status_code)
    if ok and (response.raw.length_remaining or 0) > bound:
        return Lost(Cause.TOO_LARGE, f"over {bound} bytes")
    response.raw.enforce_content_length = True  # urllib3 1 does not, unless told
    # What is there already, and not all of a piece, where urllib3 can do that.
    read = getattr(response.raw, "read1", response.raw.read)
    pieces: list[bytes] = []
    size = 0
    while piece := read(PIECE, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > bound:
            break
    return whole(response.status_code, response.headers, pieces)


def lost(error: Exception, *, began: bool, outer: BaseException | None) -> Lost:
    """Say what an exception of the layers below means; the one table of this module.

    Args:
        error: What was raised.
        began: Whether the answer's head had come.
        outer: What was being handled when the request began.
    """
    reason = _root(error)
    detail = type(reason).__name__
    # urllib3 1 looks at the host's name itself, and has an error of its own for it.
    if isinstance(reason, ssl.SSLCertVerificationError) or detail == "CertificateError":
        return Lost(Cause.UNTRUSTED, why_untrusted(reason, "Hostname mismatch"))
    greeting = isinstance(error, requests.exceptions.SSLError) and not began
    if greeting or isinstance(reason, urllib3_errors.NewConnectionError):
        below = reason if greeting else reason.__cause__ or reason.__context__
        return Lost(Cause.UNREACHABLE, why_unreachable(below, detail))
    if isinstance(
        reason, (requests.Timeout, urllib3_errors.TimeoutError, TimeoutError)
    ):
        return Lost(Cause.TIMEOUT, detail)
    # http.client's RemoteDisconnected is a ConnectionResetError too.
    closed = isinstance(reason, (ConnectionResetError, BrokenPipeError))
    if closed and not began:
        return Lost(Cause.CLOSED_EARLY, detail)
    if isinstance(
        error, (requests.RequestException, urllib3_errors.HTTPError, OSError)
    ):
        return Lost(Cause.CONNECTION, detail)
    forget_variables(error, outer)
    return Lost(Cause.CRASH, detail, error)


def _root(error: BaseException) -> BaseException:
    """Return what an exception of requests or urllib3 was made from."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or (error.args[-1:] or [None])[0]
        if isinstance(inner, BaseException):
            error = inner
    return error
