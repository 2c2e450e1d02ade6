"""How the lengths of texts are measured: by what the user gives, or by an estimate."""

from __future__ import annotations

import os
from functools import cached_property
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING

from together_embed.engine.lengths import Limit, OnLong, limit_for
from together_embed.engine.tokens import Counter
from together_embed.errors import ConfigurationError
from together_embed.key import is_async

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class FromFile:
    """Counts by a `tokenizer.json`, which is read when the first text is measured.

    Args:
        path: The file, as models of Hugging Face have one.

    Raises:
        ConfigurationError: It is not there, or the library that reads it is not.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        if not os.path.isfile(self.path):
            raise ConfigurationError(f"tokenizer: there is no file {self.path}")
        if find_spec("tokenizers") is None:
            raise ConfigurationError(
                "a tokenizer's file needs the library tokenizers: "
                'pip install "together-embed[tokenizers]"'
            )

    def __call__(self, text: str) -> int:
        """Return how many tokens a text is, with those that the model adds."""
        return len(self._tokenizer.encode(text).ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(self.path)
        except Exception as error:  # the library raises nothing narrower
            raise ConfigurationError(
                f"tokenizer: {self.path} cannot be read: {error}"
            ) from None
        # Many files say to cut, or to fill up: either hides a text's length.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def digest(self) -> str:
        """A name of what the file holds: nearly all of them have the same name."""
        with open(self.path, "rb") as file:
            return blake2b(file.read(), digest_size=8).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FromFile) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"FromFile({self.path!r})"

    def __reduce__(self) -> tuple[type[FromFile], tuple[str]]:
        return FromFile, (self.path,)


def limit_of(
    model: str,
    on_long_input: OnLong | None,
    max_input_tokens: int | None,
    count_tokens: Counter | None,
    tokenizer: str | os.PathLike[str] | None,
) -> Limit | None:
    """Return the limit that the settings mean, None where long texts are let be.

    Raises:
        ConfigurationError: A setting would have no effect, or cannot work.
    """
    measures = {
        "max_input_tokens": max_input_tokens,
        "count_tokens": count_tokens,
        "tokenizer": tokenizer,
    }
    given = [name for name, value in measures.items() if value is not None]
    if on_long_input is None:
        if given:
            raise ConfigurationError(
                f"{given[0]} has no effect: on_long_input says what to do with texts "
                "that are too long, 'error', 'truncate' or 'split'"
            )
        return None
    if count_tokens is not None and tokenizer is not None:
        raise ConfigurationError("count_tokens and tokenizer do the same: pass one")
    if count_tokens is not None and not callable(count_tokens):
        raise ConfigurationError("count_tokens must be a function of a text")
    if is_async(count_tokens):
        raise ConfigurationError("count_tokens is an async function; pass a plain one")
    count = count_tokens if tokenizer is None else FromFile(tokenizer)
    return limit_for(model, on_long_input, tokens=max_input_tokens, count=count)


def spelled(limit: Limit) -> str:
    """Name what a limit does to vectors, for names that depend on it."""
    count = limit.count
    name = getattr(count, "__qualname__", type(count).__name__)
    how = count.digest if isinstance(count, FromFile) else name
    return f"{limit.on_long} {limit.tokens} {how}"
