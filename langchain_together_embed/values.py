"""The values that LangChain's users write, brought to the forms that the core takes.

Also the values that the environment gives, in the order of langchain-together.
"""

from __future__ import annotations

import os
from operator import attrgetter
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr

from together_embed.address import BASE_URL
from together_embed.errors import ConfigurationError
from together_embed.key import KEY_VARIABLE

BASE_URL_VARIABLES = ("TOGETHER_API_BASE", "TOGETHER_BASE_URL")
"""The first is langchain-together's, and wins: its users change only the import."""
FilePath = Annotated[
    str, BeforeValidator(lambda p: os.fspath(p) if isinstance(p, os.PathLike) else p)
]
"""A path as it is written, or a `Path`; text in dumps."""
_HTTPX_PARTS = attrgetter("connect", "read", "write", "pool")


def key_from_environment() -> SecretStr | None:
    """Return the key for one that was not given, or None."""
    key = os.environ.get(KEY_VARIABLE)
    return SecretStr(key) if key else None


def base_url_from_environment() -> str:
    """Return the base URL for one that was not given."""
    named = (os.environ.get(name) for name in BASE_URL_VARIABLES)
    return next(filter(None, named), BASE_URL)


def seconds(given: Any) -> Any:
    """Return a timeout as a number, as a pair (to connect, a request), or None.

    An `httpx.Timeout` is read as such a pair.

    Raises:
        ConfigurationError: It sets what cannot be set apart here, or is no timeout.
    """
    if given is None or isinstance(given, (int, float)):
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return tuple(given)
    if isinstance(given, (tuple, list)) and len(given) == 4:
        return _pair(*given)
    try:
        return _pair(*_HTTPX_PARTS(given))
    except AttributeError:
        raise ConfigurationError(
            "timeout is seconds, a pair (to connect, a request), an httpx.Timeout or "
            f"None, not a {type(given).__name__}"
        ) from None


def _pair(connect: Any, read: Any, write: Any, pool: Any) -> tuple[Any, Any]:
    if write not in (None, read) or pool not in (None, read, connect):
        raise ConfigurationError(
            "timeout: separate limits for write and pool are not supported; that for "
            "read is for the whole request, and waiting for a free place does not count"
        )
    return connect, read
