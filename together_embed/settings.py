"""Settings that were checked once, and the headers that they make."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeGuard
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import msgspec

from together_embed.address import is_near, is_together, proxy
from together_embed.engine.lengths import Limit
from together_embed.engine.roles import Roles
from together_embed.engine.shape import Shape
from together_embed.engine.telling import OnBatch
from together_embed.errors import ConfigurationError
from together_embed.key import KEY_VARIABLE, Key, hide, is_async


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
    limit: Limit | None
    shape: Shape
    cache: str | None
    max_cache_bytes: int | None
    on_drift: Literal["warn", "error"]
    canary: bool | None
    allow_blank: bool
    allow_insecure_http: bool
    compression: Literal["gzip"] | None = None
    hedge: float | None = None
    on_batch: OnBatch | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.key.check()
        if not self.model or not isinstance(self.model, str):
            raise ConfigurationError("model must be the name of an embedding model")
        _json("model", self.model)
        _json("extra_body", self.extra_body)
        for name in ("query_prefix", "document_prefix"):
            prefix = getattr(self.roles, name)
            if not isinstance(prefix, str):
                raise ConfigurationError(f"{name} is {_brief(prefix)}, not a string")
            _json(name, prefix)
        for name in ("batch_size", "max_batch_bytes"):
            _at_least(name, getattr(self, name), 1)
        for name in ("max_concurrency", "dimensions", "max_cache_bytes"):
            _at_least(name, getattr(self, name), 1, optional=True)
        _at_least("max_retries", self.max_retries, 0)
        _at_least("cut_to", self.shape.cut_to, 1, optional=True)
        if (self.dimensions or math.inf) < (self.shape.cut_to or 0):
            raise ConfigurationError("cut_to is larger than dimensions")
        if isinstance(self.timeout, tuple) and len(self.timeout) != 2:
            raise ConfigurationError("timeout must be seconds, or a pair of seconds")
        for name in ("requests_per_second", "tokens_per_minute"):
            rate = getattr(self, name)
            if rate is not None and not (_is_number(rate) and 1e-9 < rate < math.inf):
                raise ConfigurationError(
                    f"{name} is {_brief(rate)}; it must be a positive, finite number"
                )
        for seconds in (self.connect_seconds, self.read_seconds):
            _seconds("timeout", seconds)
        _seconds("deadline", self.deadline)
        for name, value in self.headers.items():
            _header(name, value)
        _one_of("encoding_format", self.encoding_format, "auto", "float", "base64")
        _one_of("on_drift", self.on_drift, "warn", "error")
        _one_of("compression", self.compression, "gzip", None)
        hedge = self.hedge
        if hedge is not None and not (_is_number(hedge) and 0 < hedge <= 1):
            raise ConfigurationError("hedge must be a share, above 0, up to 1")
        if self.on_batch is not None and not callable(self.on_batch):
            raise ConfigurationError("on_batch must be a function of one BatchStats")
        if is_async(self.on_batch):
            raise ConfigurationError(
                "on_batch is an async function; sync calls use it: pass a plain one"
            )
        for name in ("canary", "max_cache_bytes"):
            if getattr(self, name) and self.cache is None:
                raise ConfigurationError(f"{name} has no effect without a cache")
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

    @property
    def chosen_base64(self) -> bool | None:
        """Whether to ask for base64; None where that is to be found out."""
        if "encoding_format" in self.extra_body:
            return False  # it is in each body as it is
        return {"auto": None, "float": False, "base64": True}[self.encoding_format]

    @property
    def url(self) -> str:
        """Where requests are posted to, the query included."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.base_url}/embeddings{query}"

    @property
    def place(self) -> str:
        """Where vectors come from: the address, without what is secret of the query."""
        told = sorted(public(self.query).items())
        return f"{self.base_url}?{urlencode(told)}" if told else self.base_url

    @property
    def further_fields(self) -> dict[str, Any]:
        """The fields of a request's body beside the model and the texts."""
        wide = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {**self.extra_body, **wide}

    @property
    def deciding_fields(self) -> dict[str, Any]:
        """What of `extra_body` decides a vector: all but how it is sent."""
        fields = {**self.extra_body}
        fields.pop("encoding_format", None)
        return fields

    @property
    def watches_weights(self) -> bool:
        """Whether a fixed text is sent along, to see if the model is the same."""
        return self.on_drift == "error" if self.canary is None else self.canary

    def without_secrets(self) -> Settings:
        """Return what may be pickled: no secret of headers or query, and no hook."""
        headers, query = public(self.headers), public(self.query)
        return replace(self, headers=headers, query=query, on_batch=None)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self.without_secrets())

    def __copy__(self) -> Settings:
        return self  # nothing of it changes, and a copy is to keep its secrets

    def __deepcopy__(self, memo: object) -> Settings:
        return self

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
        in_the_clear = None if self.allow_insecure_http else self._in_the_clear
        key = self.key.reveal()
        if in_the_clear and (key is not None or self.holds_secret):
            what = "a secret of headers or query" if key is None else "the key"
            del key  # reports of errors show a frame's variables
            raise ConfigurationError(
                f"{what} would go {in_the_clear} over plain http, "
                "unencrypted: use https, or pass allow_insecure_http=True"
            )
        headers = self._fixed_headers
        if key is not None:
            return {**headers, "Authorization": f"Bearer {key}"}
        if is_together(self._host) and "Authorization" not in headers:
            raise ConfigurationError(f"no API key: set {KEY_VARIABLE} or pass api_key")
        return {**headers}

    @cached_property
    def _fixed_headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": self.compression or "identity",
            "User-Agent": USER_AGENT,
            # In one spelling, so that the user's own replace these.
            **{name.title(): value for name, value in self.headers.items()},
        }

    @cached_property
    def holds_secret(self) -> bool:
        """Whether headers or query hold one, by their names."""
        return any(public(named) != named for named in (self.headers, self.query))

    @cached_property
    def _host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @cached_property
    def _in_the_clear(self) -> str | None:
        """Where the key would go for others to read, in words."""
        if self.base_url.startswith("https:"):
            return None
        if not is_near(self._host):
            return f"to {self._host}"
        through = self._proxy.hostname
        if through is None or is_near(through):
            return None
        return f"through the proxy {through} (NO_PROXY is not set for {self._host})"

    def scrub(self, words: str) -> str:
        """Take the key, and the user's own secrets, out of what a server said."""
        return self.key.scrub(hide(words, *self._secrets))

    @cached_property
    def _proxy(self) -> SplitResult:
        """The proxy that requests go through in the clear; of no parts if none is."""
        http = self.base_url.startswith("http:")
        return urlsplit((proxy(self.base_url) if http else None) or "")

    @cached_property
    def _secrets(self) -> list[str]:
        found = set()
        if self._proxy.password:  # a proxy answers, too, and gets it with each request
            user, password = unquote(self._proxy.username or ""), self._proxy.password
            found |= {unquote(password), f"{user}:{unquote(password)}"}
        for value in self.headers.values():
            found.update(value.split()[-1:])  # without a scheme such as Bearer
        for name in self.headers.keys() - public(self.headers).keys():
            parts = re.split("[;,]", self.headers[name])  # as those of a cookie
            found.update(part.partition("=")[2].strip() for part in parts)
        for name in self.query.keys() - public(self.query).keys():
            found.add(self.query[name])
        return sorted(found, key=len, reverse=True)  # one may be a part of another


SECRET = ("auth", "key", "token", "secret", "cookie", "passw", "credential")
"""Words in the names of headers and parameters that are there to carry a secret."""


def public(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers, or parameters, that may be written down: none is secret."""
    return {
        name: value
        for name, value in named.items()
        if not any(word in name.lower() for word in SECRET)
    }


def mapping(name: str, given: object) -> dict[Any, Any]:
    """Return a copy of what is to be a mapping, or None.

    Raises:
        ConfigurationError: It is neither.
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    raise ConfigurationError(f"{name} is a {type(given).__name__}, not a mapping")


def parameters(given: object) -> dict[str, str]:
    """Return parameters of the address as text, spelled as JSON spells them.

    Raises:
        ConfigurationError: It is no mapping, or a value is neither text nor a number
            nor a truth value.
    """
    spelled = {}
    for name, value in mapping("query", given).items():
        if not isinstance(value, (str, int, float)):
            raise ConfigurationError(
                f"the query's {name!r} is a {type(value).__name__}; it must be a "
                "string, a number or a bool"
            )
        try:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            urlencode({name: text})
        except ValueError:  # a lone surrogate, or a number without end
            raise ConfigurationError(
                "the query holds what no address can carry"
            ) from None
        spelled[name] = text
    return spelled


def _brief(value: object) -> str:
    """Show a value that was refused, unless it may hold a secret."""
    plain = value is None or isinstance(value, (int, float, str))
    return repr(value)[:40] if plain else f"a {type(value).__name__}"


def _one_of(name: str, value: object, *choices: str | None) -> None:
    if value not in choices:
        *others, last = map(repr, choices)
        raise ConfigurationError(
            f"{name} must be {', '.join(others)} or {last}, not {_brief(value)}"
        )


def _at_least(name: str, value: object, least: int, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(
            f"{name} is {_brief(value)}; it must be at least {least}"
        )


LONGEST = 1_000_000
"""Seconds, eleven days: the system refuses waits not much longer than that."""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(name: str, value: object) -> None:
    if value is None:
        return
    if not (_is_number(value) and 0 < value <= LONGEST):
        raise ConfigurationError(
            f"{name} is {_brief(value)}; it must be seconds above 0, or None for no "
            "limit"
        )


_OF_THE_BODY = ("Content-Length", "Transfer-Encoding", "Expect")
"""Headers that say how the body comes: one of a user's own would cut it, or hold it
back, by one library and not by the other."""


def _header(name: object, value: object) -> None:
    """Refuse what would break the request, or show up in the error that says so."""
    words = isinstance(name, str) and isinstance(value, str)
    if not words or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", str(name)):
        raise ConfigurationError("headers: names and values must be plain strings")
    if str(name).title() in _OF_THE_BODY:
        raise ConfigurationError(f"headers cannot set {name}: it depends on the body")
    if not re.fullmatch(r"[\t\x20-\x7e]*", str(value)):
        raise ConfigurationError(
            f"headers: the value of {name} holds a character that no header can carry"
        )


def _json(name: str, value: object) -> None:
    try:  # the one goes into the name of a vector, the other into the body
        json.dumps(value, allow_nan=False)
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(f"{name} cannot be written as JSON") from None


USER_AGENT = "together-embed"
"""The version is left out: it would tell a server more than it needs."""
