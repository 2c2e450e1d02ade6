"""The names that LlamaIndex's users write, brought to one form or refused.

Nothing is accepted and then left unused: an argument of another adapter either means
the same here, or says why it cannot.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager

from together_embed.address import base_url as canonical
from together_embed.errors import ConfigurationError
from together_embed.making import Options
from together_embed.settings import mapping

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding

ALIASES = {
    "model": "model_name",
    "base_url": "api_base",
    "additional_kwargs": "extra_body",
}
"""What users of `OpenAIEmbedding` and of the vendor's SDK write, and our word."""

_REFUSED = {
    "api_version": "Together's API has no versions in its address; where a gateway "
    "wants one, pass default_query={'api-version': ...}",
    "http_client": "requests go out by `requests`, not httpx; set proxies and "
    "certificates by the environment, headers by default_headers",
    "async_http_client": "requests go out by `aiohttp`, not httpx; set proxies and "
    "certificates by the environment, headers by default_headers",
    "mode": "it chose among OpenAI's old engines; here one model embeds everything",
}
_OF_THE_CALL = {
    "extra_headers": "default_headers",
    "extra_query": "default_query",
    "extra_body": "extra_body",
    "timeout": "timeout",
}
"""What OpenAI's SDK takes beside a request's fields, and the parameter for it here."""


Seconds = float | tuple[float | None, float | None] | None


class Arguments(Options, total=False):
    """What the constructor takes by name alone."""

    model: str | None
    base_url: str | None
    embed_batch_size: int
    timeout: Seconds
    allow_blank: bool
    extra_body: Mapping[str, Any] | None
    additional_kwargs: Mapping[str, Any] | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, str] | None
    num_workers: int | None
    callback_manager: CallbackManager | None
    embeddings_cache: Any | None
    rate_limiter: Any | None


def settle(
    placed: Mapping[str, Any], given: Mapping[str, Any], known: Collection[str]
) -> dict[str, Any]:
    """Return the values of fields, from arguments in any of the known spellings.

    Args:
        placed: The first three arguments; None are those that were not given.
        given: Those that were given by name.
        known: The names of the fields.

    Raises:
        TypeError: Two spellings of one setting differ, the model's name is missing, or
            nobody knows an argument.
        ConfigurationError: The address is none, a field has a parameter of its own, or
            an argument cannot be honoured.
    """
    others = given.keys() - {*known, *ALIASES}
    _refuse({name: given[name] for name in given if name in others}, known)
    one = {name: value for name, value in placed.items() if value is not None}
    for alias in ("model", "base_url"):
        name = ALIASES[alias]
        one[name] = _one_of(name, one.get(name), alias, given.get(alias))
    if one["model_name"] is None:
        raise TypeError("model_name is missing: there is no default model")
    fields, width = _request_fields(
        given.get("extra_body"), given.get("additional_kwargs"), given.get("dimensions")
    )
    return {
        **{name: _spelled(value) for name, value in given.items() if name in known},
        **one,
        "api_key": one.get("api_key"),
        "api_base": canonical(one["api_base"]),
        "extra_body": fields,
        "dimensions": width,
    }


def of_the_client(model: TogetherEmbedding) -> dict[str, Any]:
    """Return what the core's client is made from where its name for it is another."""
    return {
        "model": model.model_name,
        "api_key": model.api_key,
        "base_url": model.api_base,
        "batch_size": model.embed_batch_size,
        "timeout": model.timeout,
        "allow_blank": model.allow_blank,
        "extra_body": copy.deepcopy(model.extra_body),
    }


def _spelled(path: Any) -> Any:
    """Return a path as text, which dumps can hold."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def _one_of(name: str, given: Any, alias: str, other: Any) -> Any:
    """Return the one of two spellings that was given.

    Raises:
        TypeError: Both were given, and differ.
    """
    if given is not None and other is not None and given != other:
        raise TypeError(f"{name} and {alias} are the same setting; pass one of them")
    return other if given is None else given


def _request_fields(
    extra_body: Mapping[str, Any] | None,
    additional_kwargs: Mapping[str, Any] | None,
    dimensions: int | None,
) -> tuple[dict[str, Any], int | None]:
    """Return the further fields of a request's body, and the width to ask for.

    Raises:
        ConfigurationError: A field has a parameter of its own.
    """
    additional = mapping("additional_kwargs", additional_kwargs)
    for name, parameter in _OF_THE_CALL.items():
        if name in additional:
            raise ConfigurationError(
                f"additional_kwargs holds {name!r}, which is no field of a request; "
                f"pass it as {parameter}="
            )
    # `OpenAIEmbedding` keeps the width in this place, and so do dumps of it.
    width = _one_of(
        "dimensions",
        dimensions,
        "additional_kwargs['dimensions']",
        additional.pop("dimensions", None),
    )
    return {**additional, **mapping("extra_body", extra_body)}, width


def _refuse(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse every argument that is left over.

    Raises:
        ConfigurationError: Another adapter knows it and this one cannot honour it.
        TypeError: Nobody knows it; the nearest name is in the message.
    """
    for name, value in others.items():
        if name == "class_name":
            continue  # stands in dumps, and is for who reads them
        if name == "reuse_client":
            if value is False:
                raise ConfigurationError(
                    "reuse_client=False is not needed: connections belong to one "
                    "thread pool, event loop and process each. Leave it out"
                )
        elif name in _REFUSED:
            if value is not None:
                raise ConfigurationError(f"{name} is not taken: {_REFUSED[name]}")
        else:
            near = get_close_matches(name, [*known, *ALIASES])
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"TogetherEmbedding has no argument {name!r}{hint}")
