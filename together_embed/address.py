"""Where the server is: one canonical base URL, whatever form it was written in.

Also through which proxy the environment leads there. `requests` and `aiohttp` read it
each in its own way; here it is read by the rules of `requests`, for both.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

from together_embed.errors import ConfigurationError

BASE_URL = "https://api.together.ai/v1"
"""Where Together's published contract says that the API is."""
BASE_URL_VARIABLES = ("TOGETHER_BASE_URL", "TOGETHER_API_BASE")
"""The vendor's own variable, and the one of LangChain's users."""


def base_url(given: str | None) -> str:
    """Return the one canonical form of a base URL, from the environment if not given.

    `/v1` is added where there is no path; doubled `/v1`, slashes and a trailing
    `/embeddings` are taken away. A path that ends in `/embeddings` without a version is
    taken at its word, so that servers with the route at their root can be reached.

    Raises:
        ConfigurationError: It is no http(s) address, or carries credentials or a query.
    """
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"base_url is a {type(given).__name__}, not a string")
    named = (os.environ.get(name) for name in BASE_URL_VARIABLES)
    url = (given or next(filter(None, named), None) or BASE_URL).strip()
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"base_url must be http(s):// and a host, such as {BASE_URL}"
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            "base_url carries credentials; pass the key as api_key instead"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError("base_url carries a query; pass it as query= instead")
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    path, exact, _ = (
        path.rpartition("/embeddings")
        if path.endswith("/embeddings")
        else (path, "", "")
    )
    path = re.sub(r"(/v1)+$", "/v1", path)
    if not path and (not exact or is_together(parts.hostname)):
        path = "/v1"
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - read since it is this that checks it
        _check_host(parts.hostname or "none", literal="[" in parts.netloc)
    except ValueError:
        raise ConfigurationError(
            "base_url has an invalid host or port (letters beyond ASCII are written "
            "as xn--...)"
        ) from None
    return parts


def _check_host(host: str, *, literal: bool) -> None:
    """Refuse what libraries read differently, or raise errors of their own for.

    Letters beyond ASCII are such: two of them may be one name here and two there.

    Raises:
        ValueError: It is neither an address nor a name that can be looked up.
    """
    if literal:
        ip_address(host)
    elif not re.fullmatch(r"[\w.-]+", host, re.ASCII):
        raise ValueError
    else:
        host.encode("idna")  # an empty part, or one too long


@lru_cache(maxsize=64)  # asked for each request
def is_together(host: str) -> bool:
    """Tell whether a host is one of Together's, where no request goes without a key."""
    return re.search(r"(^|\.)together\.(ai|xyz)$", host.lower()) is not None


@lru_cache(maxsize=64)
def is_near(host: str) -> bool:
    """Tell whether a host is this machine or one of a private network, by its name."""
    try:
        address = ip_address(host)
    except ValueError:
        if re.fullmatch(r"\d+|0x[0-9a-f]+", host):
            return False  # an address, to the system
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_private or address.is_link_local


def proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address, or None.

    Raises:
        ConfigurationError: It is none that both libraries speak to.
    """
    if os.name == "posix" and not any(
        name.lower().endswith("_proxy") for name in os.environ
    ):
        return None  # the usual case, without the price of importing requests
    from requests.utils import get_environ_proxies, select_proxy

    found = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    if not found:
        return None
    # Without a scheme it is curl's habit; aiohttp would take it amiss.
    named: str = found if "://" in found else f"http://{found}"
    try:
        parts = _split(named)
    except ConfigurationError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "the environment names a proxy that is no http(s):// and a host, such as "
            "a SOCKS proxy: set HTTPS_PROXY, HTTP_PROXY or ALL_PROXY to one that is, "
            f"or NO_PROXY={urlsplit(url).hostname}"
        )
    return named
