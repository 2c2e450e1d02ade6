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

    def trusted(self, through: str | None) -> str | None:
        """Return the file or folder of certificates to trust; None where no TLS is.

        The variables are asked in the order in which the more special comes first;
        without them it is the bundle that `requests` brings.

        Args:
            through: The address of the proxy, to which TLS may be spoken, too.

        Raises:
            ConfigurationError: A variable names what is not there, or no certificate.
        """
        ends = self.url, through or ""
        if not any(url.lower().startswith("https:") for url in ends):
            return None
        for name in (
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ):
            if path := os.environ.get(name):
                if not os.path.exists(path):
                    raise ConfigurationError(f"{name} names a file that is not there")
                try:
                    trusting(path)
                except OSError:  # that of TLS is one
                    raise ConfigurationError(
                        f"{name} names a file that holds no certificate, or cannot be "
                        "read"
                    ) from None
                return path
        import certifi

        return certifi.where()


def trusting(trusted: str) -> ssl.SSLContext:
    """Return what trusts a file or a folder of certificates, and nothing else.

    Raises:
        OSError: The file cannot be read, or holds none.
    """
    if os.path.isdir(trusted):
        return ssl.create_default_context(capath=trusted)
    return ssl.create_default_context(cafile=trusted)


def forget_variables(error: BaseException, outer: BaseException | None) -> None:
    """Clear the frames that an error came through: their variables hold the key.

    Some reports of errors show them, and what is let out of a transport, such as a
    cancellation, has come through frames of libraries that hold a request's headers.

    Args:
        error: What is let out.
        outer: What was being handled when the request began, which is not ours.
    """
    seen, todo = {id(outer)}, [error]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            todo += filter(None, (one.__cause__, one.__context__))


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


def why_untrusted(error: BaseException, otherwise: str) -> str:
    """Say in the words of TLS what is wrong with a certificate, on either path."""
    said: str = getattr(error, "verify_message", "")
    return said.rstrip(".") or otherwise
