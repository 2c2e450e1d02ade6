"""The names that LlamaIndex's users write, brought to one form or refused.

Nothing is accepted and then left unused: an argument of another adapter either means
the same here, or says why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from together_embed.errors import ConfigurationError

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
    "mode": "it chose among OpenAI's old engines; one model embeds all here",
}
_OF_THE_CALL = {
    "extra_headers": "default_headers",
    "extra_query": "default_query",
    "extra_body": "extra_body",
    "timeout": "timeout",
}
"""What OpenAI's SDK takes beside a request's fields, and the parameter for it here."""


def one_of(name: str, given: Any, alias: str, other: Any) -> Any:
    """Return the one of two spellings that was given.

    Raises:
        TypeError: Both were given, and differ.
    """
    if given is not None and other is not None and given != other:
        raise TypeError(f"{name} and {alias} are the same setting; pass one of them")
    return other if given is None else given


def request_fields(
    extra_body: Mapping[str, Any] | None,
    additional_kwargs: Mapping[str, Any] | None,
    dimensions: int | None,
) -> tuple[dict[str, Any], int | None]:
    """Return the further fields of a request's body, and the width to ask for.

    Raises:
        ConfigurationError: A field has a parameter of its own.
    """
    additional = dict(additional_kwargs or {})
    for name, parameter in _OF_THE_CALL.items():
        if name in additional:
            raise ConfigurationError(
                f"additional_kwargs holds {name!r}, which is no field of a request; "
                f"pass it as {parameter}="
            )
    # `OpenAIEmbedding` keeps the width in this place, and so do dumps of it.
    width = one_of(
        "dimensions",
        dimensions,
        "additional_kwargs['dimensions']",
        additional.pop("dimensions", None),
    )
    return {**additional, **(extra_body or {})}, width


def refuse(others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse every argument that is left over.

    Raises:
        ConfigurationError: Another adapter knows it and this one cannot honour it.
        TypeError: Nobody knows it; the nearest name is in the message.
    """
    for name, value in others.items():
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
            near = get_close_matches(name, [*known, *ALIASES], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"TogetherEmbedding knows no argument {name!r}{hint}")
