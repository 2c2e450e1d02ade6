"""What both transports have to agree on: where to, whom to trust, how much to read.

`requests` and `aiohttp` read the environment each in its own way, or not at all. Here
it is read once, by the rules of `requests`, for both. `address` tells the proxy.
"""

from __future__ import annotations

import os
import ssl
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from together_embed.errors import ConfigurationError

MAX_REPLY = 256 * 1024 * 1024
"""Bytes of an answer that are read: 2,048 rows of width 4,096 as JSON take 190 MB."""
MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are read: some servers repeat the whole input."""


@dataclass(frozen=True)
class Route:
    """How to reach the server.

    Attributes:
        url: The full address to post to, its query included.
        headers: Gives the headers of a request, the key's among them: asked for each
            request, so that a rotated key is used at once.
        connect_seconds: How long making a connection may take; None: without end.
    """

    url: str
    headers: Callable[[], Mapping[str, str]]
    connect_seconds: float | None

    def trusted(self) -> str:
        """Return the file or folder of certificates to trust.

        The variables are asked in the order in which the more special comes first;
        without them it is the bundle that `requests` brings.

        Raises:
            ConfigurationError: A variable names what is not there.
        """
        for name in (
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ):
            if path := os.environ.get(name):
                if not os.path.exists(path):
                    raise ConfigurationError(f"{name} names a file that is not there")
                return path
        import certifi

        return certifi.where()


def forget_variables(error: BaseException, outer: BaseException | None) -> None:
    """Clear the frames that an error came through: their variables hold the key.

    Some reports of errors show them, and what is let out of a transport, such as a
    cancellation, has come through frames of libraries that hold a request's headers.

    Args:
        error: What is let out.
        outer: What was being handled when the request began, which is not ours.
    """
    seen, todo = {id(None), id(outer)}, [error]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            todo += [one.__cause__, one.__context__]  # type: ignore[list-item]


def why_unreachable(error: BaseException | None, otherwise: str) -> str:
    """Say in the system's words why no connection could be made, on either path.

    Args:
        error: The system's error, or that of TLS, where the library kept it.
        otherwise: What to say where it holds no words.
    """
    if isinstance(error, ssl.SSLError):
        words = (getattr(error, "reason", None) or "").replace("_", " ").lower()
        return f"TLS: {words}" if words else otherwise
    if isinstance(error, OSError):
        # aiohttp puts the address into the words of an error that has a number.
        number = error.errno or 0
        return os.strerror(number) if number > 0 else error.strerror or otherwise
    return otherwise
