"""An API key that is shown to the server only: never printed, logged or pickled."""

from __future__ import annotations

import html
import inspect
import json
import os
import re
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Protocol, TypeGuard
from urllib.parse import quote, quote_plus

from together_embed.errors import ConfigurationError

KEY_VARIABLE = "TOGETHER_API_KEY"


class HasSecret(Protocol):
    """A secret as pydantic keeps it (`SecretStr`)."""

    def get_secret_value(self) -> str:
        """Return the secret."""
        ...


KeySource = str | HasSecret | Callable[[], str] | None


class Key:
    """An API key that shows itself to nobody but the request's header.

    It is neither printed nor pickled: an unpickled one asks the environment. A callable
    is asked for each request, so that keys can be rotated.
    """

    __slots__ = ("_cleaned", "_shown", "_source")

    def __init__(self, source: KeySource = None) -> None:
        self._source: Any = source  # not looked at yet: an error would show it here
        self._cleaned: tuple[object, str | None] = (None, None)
        # Where keys rotate, a server may repeat one that the source has forgotten.
        self._shown: deque[str] = deque(maxlen=64)

    def check(self) -> None:
        """Refuse what can be no key; one that rotates, or is set later, is seen later.

        Raises:
            ConfigurationError: It is an async function, or cannot stand in a header.
        """
        checked(self._source)
        if self._source is not None and not self.rotates:
            self.reveal()

    def reveal(self) -> str | None:
        """Return the cleaned key, or None where there is none.

        Raises:
            ConfigurationError: The key cannot stand in a header.
        """
        source = self._source
        if source is None:
            source = os.environ.get(KEY_VARIABLE)
        elif type(source) is not str:  # most are, and are asked for each request
            if _has_secret(source):
                source = source.get_secret_value()
            elif callable(source):
                source = source()
        before, key = self._cleaned
        if source == before and type(source) is str:
            return key
        key, wrong = _clean(source)
        if wrong is not None:
            del source, before, key  # reports of errors show a frame's variables
            raise ConfigurationError(wrong)
        if key is not None and key not in self._shown:
            self._shown.append(key)
        self._cleaned = source, key
        return key

    @property
    def rotates(self) -> bool:
        """Whether it is asked for each request."""
        return callable(self._source) and not _has_secret(self._source)

    def scrub(self, words: str) -> str:
        """Take the keys of late out of what a server said."""
        return hide(words, *tuple(self._shown))

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce__(self) -> tuple[type[Key], tuple[()]]:
        return Key, ()

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self


def checked(source: Any) -> Any:
    """Return where a key comes from, unless only a coroutine could tell it.

    Raises:
        ConfigurationError: It is an async function.
    """
    if is_async(source):
        raise ConfigurationError(
            "api_key is an async function; sync calls ask for the key too: pass a "
            "plain function, which is asked for each request"
        )
    return source


def is_async(function: object) -> bool:
    """Tell whether calling it gives a coroutine, for which nobody here would wait."""
    call = getattr(function, "__call__", None)  # noqa: B004 - that of an object
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _has_secret(source: object) -> TypeGuard[HasSecret]:
    return hasattr(source, "get_secret_value")


def _clean(key: object) -> tuple[str | None, str | None]:
    """Undo what copying a key adds to it; or say why no header can carry it."""
    if key is None:
        return None, None
    if not isinstance(key, str):
        return None, f"api_key is a {type(key).__name__}, not a string"
    key = key.strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        key = key[1:-1].strip()
    if key[:7].lower() == "bearer ":
        key = key[7:].strip()
    if not re.fullmatch(r"[\x21-\x7e]*", key) or re.search(r"[\"']", key):
        return None, (
            "the API key holds a space, a quote or a character that no header can "
            "carry; copy it anew (it is not shown here)"
        )
    return key or None, None


def hide(words: str, *secrets: str) -> str:
    """Take secrets out of words, as they are or encoded, in any case.

    What is as short as a word is none.
    """
    lowered = words.lower()
    for secret in secrets:
        if len(secret) > 3:
            for spelled in sorted(_spellings(secret), key=len, reverse=True):
                if spelled.lower() in lowered:
                    found = re.compile(re.escape(spelled), re.IGNORECASE)
                    words = found.sub("[hidden]", words)
                    lowered = words.lower()
    return words


def _spellings(secret: str) -> set[str]:
    """Return a secret as addresses, JSON, HTML and base64 spell it, and its hash."""
    written = json.dumps(secret)[1:-1]
    spelled = {secret, html.escape(secret), written, written.replace("/", "\\/")}
    spelled |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    if len(secret) < 8:  # little is left of its base64, and much like it
        return spelled
    data = secret.encode()
    for before in range(3):  # bytes of the same three that stand in front, as "Bearer "
        whole = b64encode(bytes(before) + data).decode().rstrip("=")
        end = len(whole) - ((before + len(data)) % 3 > 0)
        inner = whole[(0, 2, 3)[before] : end]  # what no neighbour has a part in
        spelled |= {inner, inner.replace("+", "-").replace("/", "_")}
    return spelled | {sha256(data).hexdigest()}
