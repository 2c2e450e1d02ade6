"""Settings that were checked once: the key, hidden, and one canonical base URL."""

from __future__ import annotations

import math
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Literal, Protocol, TypeGuard
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from together_embed.engine.roles import Roles
from together_embed.errors import ConfigurationError

BASE_URL = "https://api.together.ai/v1"
"""Where Together's published contract says that the API is."""
KEY_VARIABLE = "TOGETHER_API_KEY"
BASE_URL_VARIABLES = ("TOGETHER_BASE_URL", "TOGETHER_API_BASE")
"""The vendor's own variable, and the one of LangChain's users."""


class HasSecret(Protocol):
    """A secret as pydantic keeps it (`SecretStr`)."""

    def get_secret_value(self) -> str:
        """Return the secret."""


KeySource = str | HasSecret | Callable[[], str] | None


class Key:
    """An API key that shows itself to nobody but the request's header.

    It is neither printed nor pickled: an unpickled one asks the environment. A callable
    is asked for each request, so that keys can be rotated.
    """

    __slots__ = ("_shown", "_source")

    def __init__(self, source: KeySource = None) -> None:
        self._source = source
        # Where keys rotate, a server may repeat one that the source has forgotten.
        self._shown: deque[str] = deque(maxlen=64)
        if isinstance(source, str) or _has_secret(source):
            self.reveal()  # an unusable key is refused at once

    def reveal(self) -> str | None:
        """Return the cleaned key, or None where there is none.

        Raises:
            ConfigurationError: The key cannot stand in a header.
        """
        source = self._source
        if source is None:
            source = os.environ.get(KEY_VARIABLE)
        elif _has_secret(source):
            source = source.get_secret_value()
        elif callable(source):
            source = source()
        key = _clean(source)
        if key is not None and key not in self._shown:
            self._shown.append(key)
        return key

    @property
    def rotates(self) -> bool:
        """Whether it is asked for each request."""
        return callable(self._source) and not _has_secret(self._source)

    def scrub(self, words: str) -> str:
        """Take the keys of late out of what a server said."""
        return _hide(words, *tuple(self._shown))

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce__(self) -> tuple[type[Key], tuple[()]]:
        return Key, ()

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self


def _has_secret(source: object) -> TypeGuard[HasSecret]:
    return hasattr(source, "get_secret_value")


def _clean(key: object) -> str | None:
    """Undo what copying a key adds to it; refuse what no header can carry."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigurationError(f"the API key is a {type(key).__name__}, not a string")
    key = key.strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        key = key[1:-1].strip()
    if key[:7].lower() == "bearer ":
        key = key[7:].strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key) or re.search(r"[\"']", key):
        raise ConfigurationError(
            "the API key holds a space, a quote or a character that no header can "
            "carry; copy it anew (it is not shown here)"
        )
    return key or None


@dataclass(frozen=True)
class Settings:
    """What a client was told, checked.

    Attributes are those of `EmbeddingsClient`, which documents them.
    """

    model: str
    key: Key
    base_url: str
    batch_size: int
    max_batch_bytes: int
    timeout: float | tuple[float | None, float | None] | None
    deadline: float | None
    max_retries: int
    max_concurrency: int | None
    requests_per_second: float | None
    tokens_per_minute: float | None
    dimensions: int | None
    encoding_format: Literal["auto", "float", "base64"]
    # Headers and fields may hold secrets of gateways: they are never printed.
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    extra_body: Mapping[str, Any] = field(repr=False)
    roles: Roles
    cache: str | None
    on_drift: Literal["warn", "error"]
    allow_blank: bool
    allow_insecure_http: bool

    def __post_init__(self) -> None:
        if not self.model or not isinstance(self.model, str):
            raise ConfigurationError("model must be the name of an embedding model")
        _json("model", self.model)
        _json("extra_body", self.extra_body)
        for name in ("batch_size", "max_batch_bytes", "max_concurrency", "dimensions"):
            _at_least(name, getattr(self, name), 1)
        _at_least("max_retries", self.max_retries, 0)
        if isinstance(self.timeout, tuple) and len(self.timeout) != 2:
            raise ConfigurationError("timeout is seconds, or (connect, read) seconds")
        for rate in (self.requests_per_second, self.tokens_per_minute):
            if rate is not None and not 0 < rate < math.inf:
                raise ConfigurationError("a rate is a positive, finite number")
        for seconds in (self.connect_seconds, self.read_seconds):
            _seconds("timeout", seconds)
        _seconds("deadline", self.deadline)
        for name, value in self.headers.items():
            _header(name, value)
        if self.encoding_format not in ("auto", "float", "base64"):
            raise ConfigurationError(
                "encoding_format is 'auto', 'float' or 'base64', "
                f"not {self.encoding_format!r}"
            )
        if self.on_drift not in ("warn", "error"):
            raise ConfigurationError(
                f"on_drift is 'warn' or 'error', not {self.on_drift!r}"
            )
        taken = {"model", "input", "dimensions"} & self.extra_body.keys()
        if taken:
            raise ConfigurationError(
                f"extra_body cannot set {', '.join(sorted(taken))}: "
                "these have parameters of their own"
            )

    @property
    def connect_seconds(self) -> float | None:
        """Seconds to make a connection."""
        return self.timeout[0] if isinstance(self.timeout, tuple) else self.timeout

    @property
    def read_seconds(self) -> float | None:
        """Seconds from sending a request to its whole answer."""
        return self.timeout[1] if isinstance(self.timeout, tuple) else self.timeout

    def without_secrets(self) -> Settings:
        """Return what may be pickled: no header that is there to carry a secret."""
        kept = {k: v for k, v in self.headers.items() if not _is_secret(k)}
        return replace(self, headers=kept)

    def require_key(self) -> None:
        """Say at once that a key is missing; one that rotates is asked for later.

        Raises:
            ConfigurationError: As `request_headers`.
        """
        if not self.key.rotates:
            self.request_headers()

    def request_headers(self) -> dict[str, str]:
        """Return the headers of a request, the key's among them.

        Raises:
            ConfigurationError: There is no key and the host is Together's, or the key
                would go over a network in the clear.
        """
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
            # In one spelling, so that the user's own replace these.
            **{name.title(): value for name, value in self.headers.items()},
        }
        key = self.key.reveal()
        host = urlsplit(self.base_url).hostname or ""
        if key is None:
            if is_together(host) and "Authorization" not in headers:
                raise ConfigurationError(
                    f"no API key: set {KEY_VARIABLE} or pass api_key"
                )
            return headers
        if not (
            self.base_url.startswith("https:")
            or self.allow_insecure_http
            or _is_near(host)
        ):
            raise ConfigurationError(
                f"the key would go to {host} over plain http, for all to read: use "
                "https, or pass allow_insecure_http=True"
            )
        headers["Authorization"] = f"Bearer {key}"
        return headers

    def scrub(self, words: str) -> str:
        """Take the key out of what a server said."""
        for value in self.headers.values():
            secret = value.split()[-1:]  # without a scheme such as Bearer
            words = _hide(words, *secret)
        return self.key.scrub(words)


def _is_secret(header: str) -> bool:
    words = ("authorization", "api-key", "token", "secret", "cookie")
    return any(word in header.lower() for word in words)


def _hide(words: str, *secrets: str) -> str:
    for secret in secrets:
        if len(secret) > 3:
            words = words.replace(secret, "[hidden]")
    return words


def _at_least(name: str, value: object, least: int) -> None:
    if value is None and name in ("max_concurrency", "dimensions"):
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"{name} is {value!r}; it must be at least {least}")


LONGEST = 1_000_000
"""Seconds, eleven days: the system refuses waits not much longer than that."""


def _seconds(name: str, value: object) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= LONGEST:  # type: ignore[operator]
        raise ConfigurationError(
            f"{name} is {value!r}; it must be seconds above 0, or None for no bound"
        )


def _header(name: object, value: object) -> None:
    """Refuse what would break the request, or show up in the error that says so."""
    words = isinstance(name, str) and isinstance(value, str)
    if not words or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", str(name)):
        raise ConfigurationError("headers: names and values must be plain strings")
    if not re.fullmatch(r"[\t\x20-\x7e]*", str(value)):
        raise ConfigurationError(
            f"headers: the value of {name} holds a character that no header can carry"
        )


def _json(name: str, value: object) -> None:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(f"{name} cannot be written as JSON") from None


def base_url(given: str | None) -> str:
    """Return the one canonical form of a base URL, from the environment if not given.

    `/v1` is added where there is no path; doubled `/v1`, slashes and a trailing
    `/embeddings` are taken away. A path that ends in `/embeddings` without a version is
    taken at its word, so that servers with the route at their root can be reached.

    Raises:
        ConfigurationError: It is no http(s) address, or carries credentials or a query.
    """
    named = (os.environ.get(name) for name in BASE_URL_VARIABLES)
    url = (given or next(filter(None, named), None) or BASE_URL).strip()
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"base_url must be http(s):// and a host, such as {BASE_URL}"
        )
    if parts.username or parts.password:
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
    except ValueError:
        raise ConfigurationError(
            "base_url has an address or port that is none"
        ) from None
    return parts


def is_together(host: str) -> bool:
    """Tell whether a host is one of Together's, where no request goes without a key."""
    return re.search(r"(^|\.)together\.(ai|xyz)$", host.lower()) is not None


def _is_near(host: str) -> bool:
    """Tell whether a host is this machine or one of a private network, by its name."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_private or address.is_link_local


USER_AGENT = "together-embed"
"""The version is left out: it would tell a server more than it needs."""
