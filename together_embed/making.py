"""What both adapters have in common: fields, and the client that is made of them.

The fields are the truth. A client is made when it is first needed, and anew when a
field has changed; threads that start together share one.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import SecretStr

from together_embed.client import EmbeddingsClient
from together_embed.closing import Closing
from together_embed.engine.lengths import OnLong
from together_embed.engine.stats import Stats
from together_embed.engine.telling import OnBatch

_held = threading.Lock()


def lock() -> threading.Lock:
    """Return the lock of this process under which clients are made."""
    return _held


def _renew() -> None:
    """Start a forked child with a free lock: whoever held it was left behind."""
    global _held
    _held = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class Options(TypedDict, total=False):
    """The fields that both adapters have under the name that the client has for them.

    `EmbeddingsClient` documents them.
    """

    deadline: float | None
    max_retries: int
    max_concurrency: int | None
    requests_per_second: float | None
    tokens_per_minute: float | None
    dimensions: int | None
    cut_to: int | None
    normalize: bool
    encoding_format: Literal["auto", "float", "base64"]
    query_prefix: str | None
    document_prefix: str | None
    instructions: Literal["auto"] | None
    on_long_input: OnLong | None
    max_input_tokens: int | None
    count_tokens: Callable[[str], int] | None
    tokenizer: str | os.PathLike[str] | None
    cache: str | os.PathLike[str] | None
    max_cache_bytes: int | None
    on_drift: Literal["warn", "error"]
    canary: bool | None
    allow_insecure_http: bool
    compression: Literal["gzip"] | None
    hedge: float | None
    on_batch: OnBatch | None


def hidden(key: Any) -> Any:
    """Return where a key comes from; what is no function is shown to nobody from here.

    Reports of errors show the variables of each frame, pydantic's among them.
    """
    if key is None or callable(key) or hasattr(key, "get_secret_value"):
        return key
    return SecretStr(key)


class Made:
    """A client, and what it was made of; at first, nothing of nothing.

    Objects are equal where their fields are, whichever clients they have. A deep copy,
    and what was pickled, make their own.

    Attributes:
        settings: What the client was made from.
        fields: What all fields were when that was last looked at.
    """

    client: EmbeddingsClient

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self.fields: dict[str, Any] | None = None
        self.settings = settings
        if settings is not None:
            self.client = EmbeddingsClient(**settings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made)

    def __hash__(self) -> int:
        return hash(Made)

    def __deepcopy__(self, memo: object) -> Made:
        return Made()

    def __reduce__(self) -> tuple[type[Made], tuple[()]]:
        return Made, ()


def _apart(value: Any) -> Any:
    """Return a value that stays as it is when what the user holds is changed."""
    return copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value


class OfFields(Closing):
    """What both adapters' classes do with their client.

    They keep it in `_made`, and add to `_settings` what has other names there.
    """

    if TYPE_CHECKING:  # pydantic would take these for fields
        _made: Made
        default_headers: Any
        default_query: Any

    def _settings(self) -> dict[str, Any]:
        """Return what the client is made from, apart from the fields themselves."""
        return {
            "headers": dict(self.default_headers or {}),
            "query": dict(self.default_query or {}),
            **{name: getattr(self, name) for name in Options.__annotations__},
        }

    @property
    def client(self) -> EmbeddingsClient:
        """The client that the current fields stand for."""
        made = self._made
        if made.fields != vars(self):  # each call asks: it is worked out but once
            with lock():
                fields = {name: _apart(value) for name, value in vars(self).items()}
                made, settings = self._made, self._settings()
                if made.settings != settings:
                    made = self._made = Made(settings)
                made.fields = fields
        return made.client

    @property
    def last_stats(self) -> Stats | None:
        """What the call that ended last sent and received; None before the first.

        With concurrent calls it may be another call than yours; `on_batch` is called
        for each batch in the thread or task of its own call.
        """
        return self.client.last_stats

    def close(self) -> None:
        """Close the connections. New ones are opened when the object is used again."""
        self.client.close()

    async def aclose(self) -> None:
        """Close the connections, those of the running loop before this returns."""
        await self.client.aclose()
