"""The names that LangChain's users write, brought to one form or refused.

Nothing is accepted and then left unused: an argument of `langchain_together` or
`langchain_openai` means the same here, or says why it cannot; one that nobody knows
becomes a field of the request, with the warning that its users know.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from pydantic import SecretStr

from together_embed.errors import ConfigurationError
from together_embed.key import KeySource
from together_embed.making import Options, hidden
from together_embed.settings import mapping

if TYPE_CHECKING:
    from langchain_together_embed.embeddings import TogetherEmbeddings


class Arguments(Options, total=False):
    """What the constructor takes; of what others take too, what changes nothing."""

    model: str
    api_key: KeySource
    together_api_key: KeySource
    openai_api_key: KeySource
    base_url: str | None
    together_api_base: str | None
    openai_api_base: str | None
    chunk_size: int
    timeout: Any
    request_timeout: Any
    model_kwargs: dict[str, Any]
    extra_body: dict[str, Any] | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, Any] | None
    skip_empty: bool
    show_progress_bar: bool
    check_embedding_ctx_length: Literal[False]


ALIASES = {
    "api_key": "together_api_key",
    "base_url": "together_api_base",
    "timeout": "request_timeout",
}
"""Two spellings of one setting, both in use, and the name of its field."""

_OF_OPENAI = {
    "openai_api_key": "together_api_key",
    "openai_api_base": "together_api_base",
}
"""What else users of `OpenAIEmbeddings` with a `base_url` write."""

_OF_THE_CALL = {
    "extra_body": "extra_body",
    "extra_headers": "default_headers",
    "extra_query": "default_query",
    "timeout": "request_timeout",
}
"""What OpenAI's SDK takes beside a request's fields, and the parameter for it here."""


class _Refusal(NamedTuple):
    """Why an argument cannot be honoured, and the values that ask for nothing."""

    reason: str
    idle: Collection[Any] = ()


_NO_TOKENS = "pass on_long_input= and max_input_tokens=, and a tokenizer= to count by"
_RAW = "texts are sent as they are, and the server's tokenizer decides"
_HTTP = (
    "requests go out by `requests` and `aiohttp`, not by a client of httpx or openai; "
    "proxies and certificates come from the environment, headers from default_headers"
)
_PAUSES = "the backoff follows the server's hints; deadline= limits a whole call"

_REFUSED = {
    "client": _Refusal(_HTTP),
    "async_client": _Refusal(_HTTP),
    "http_client": _Refusal(_HTTP),
    "http_async_client": _Refusal(_HTTP),
    # What the other adapters default to asks for nothing, and stands in their dumps.
    "embedding_ctx_length": _Refusal(_NO_TOKENS, (4096, 8191)),
    "check_embedding_ctx_length": _Refusal(_NO_TOKENS, (False,)),
    "tiktoken_enabled": _Refusal(_NO_TOKENS, (False,)),
    "tiktoken_model_name": _Refusal(_NO_TOKENS),
    "allowed_special": _Refusal(_RAW, (set(), frozenset(), [], ())),
    "disallowed_special": _Refusal(_RAW, ("all", set(), frozenset(), [], ())),
    "retry_min_seconds": _Refusal(_PAUSES),
    "retry_max_seconds": _Refusal(_PAUSES),
    "headers": _Refusal("pass default_headers="),
    "deployment": _Refusal("it is of Azure; model= names the model"),
    "openai_api_type": _Refusal("it is of Azure"),
    "api_version": _Refusal("pass default_query={'api-version': ...}"),
    "openai_api_version": _Refusal("pass default_query={'api-version': ...}"),
    "organization": _Refusal("it is of OpenAI; pass default_headers="),
    "openai_organization": _Refusal("it is of OpenAI; pass default_headers="),
    "openai_proxy": _Refusal("set HTTPS_PROXY in the environment"),
}


_RENAMED = {
    "model": "model",
    "api_key": "together_api_key",
    "base_url": "together_api_base",
    "batch_size": "chunk_size",
    "timeout": "request_timeout",
    "allow_blank": "skip_empty",
}
"""What the core's client calls a field."""


def of_the_client(model: TogetherEmbeddings) -> dict[str, Any]:
    """Return what the core's client is made from where its name for it is another."""
    body = {**model.model_kwargs, **(model.extra_body or {})}
    renamed = {name: getattr(model, field) for name, field in _RENAMED.items()}
    return {"extra_body": copy.deepcopy(body), **renamed}


def hide_key(given: Arguments) -> None:
    """Put the key out of sight, by whichever name it was given."""
    plain = cast("dict[str, Any]", given)
    for name in plain:
        if _field(name) == "together_api_key":
            plain[name] = hidden(plain[name])


def settle(given: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return the values of fields, from arguments in any of the known spellings.

    Args:
        given: What the user wrote.
        fields: The names of the fields.

    Raises:
        ConfigurationError: An argument cannot be honoured, is spelled in two ways that
            differ, or stands in `model_kwargs` and has a parameter of its own.
    """
    settled: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    unknown: dict[str, Any] = {}
    for name, value in given.items():
        field = _field(name)
        if name in _REFUSED:
            _refuse(name, value)
        elif field not in fields:
            unknown[name] = value
        elif field not in settled or _bare(settled[field]) == _bare(value):
            settled.setdefault(field, value)
            spelled[field] = name
        else:
            raise ConfigurationError(
                f"{spelled[field]} and {name} are one setting; pass one"
            )
    if settled.get("together_api_base", "") is None:
        del settled["together_api_base"]
    held = _request_fields(settled.get("model_kwargs"), fields)
    _warn_of(unknown, held)
    if unknown:
        settled["model_kwargs"] = {**held, **unknown}
    return settled


def _field(name: str) -> str:
    """Return the field that an argument is for, in whichever spelling."""
    return ALIASES.get(name) or _OF_OPENAI.get(name) or name


def _bare(value: Any) -> Any:
    """Return what is compared: pydantic's own secrets compare nothing but strings."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _refuse(name: str, value: Any) -> None:
    refusal = _REFUSED[name]
    if value is not None and not _one_of(value, refusal.idle):
        raise ConfigurationError(f"{name} is not taken: {refusal.reason}")


def _one_of(value: Any, idle: Collection[Any]) -> bool:
    """Tell whether a value is among others, by type too: False is no 0."""
    return any(type(value) is type(other) and value == other for other in idle)


def _request_fields(
    model_kwargs: Mapping[str, Any] | None, fields: Collection[str]
) -> dict[str, Any]:
    """Return a copy of `model_kwargs`, all of which goes into a request's body."""
    held = mapping("model_kwargs", model_kwargs)
    for name in held:
        own = _OF_THE_CALL.get(name) or ALIASES.get(name) or _OF_OPENAI.get(name, name)
        # `encoding_format` is a field of the request as well, and is sent as it is.
        if own in fields and name != "encoding_format":
            raise ConfigurationError(
                f"{name} should be specified explicitly, not in model_kwargs: "
                f"pass {own}="
            )
        if name in _REFUSED:
            _refuse(name, held[name])
    return held


def _warn_of(unknown: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    for name in unknown:
        if name in held:
            raise ConfigurationError(f"{name} is supplied twice: in model_kwargs too")
        warnings.warn(
            f"{name} is not default parameter of TogetherEmbeddings: it was put into "
            "model_kwargs, and is sent as a field of every request",
            stacklevel=4,
        )
