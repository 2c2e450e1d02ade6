"""What a transport brings back from one request, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct


class Reply(Struct, frozen=True):
    """A whole answer.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers; look-ups do not mind the case.
        body: The body after content decoding, cut where it is an error's and long.
        carried: Bytes of the body on the network; None where they are as many.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    carried: int | None = None


class Cause(Enum):
    """Why no whole answer came."""

    CLOSED_EARLY = "the server closed the connection before it answered"
    UNREACHABLE = "no connection could be made"
    UNTRUSTED = "the server's certificate is not trusted"
    CONNECTION = "the connection was lost"
    TIMEOUT = "no complete response in time"
    TOO_LARGE = "the response is larger than any valid one"
    CRASH = "a fault in this library or below it"


class Lost(Struct, frozen=True):
    """A request without a whole answer.

    Attributes:
        cause: Which kind of loss it is; the retry policy asks nothing else.
        detail: A few words from the layer below, without addresses of memory or keys.
        error: The exception behind it where it is to be raised as it is (`CRASH`).
    """

    cause: Cause
    detail: str = ""
    error: BaseException | None = None


Outcome = Reply | Lost
