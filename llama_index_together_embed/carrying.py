"""What a copy shares with its model, and what a pickle of one takes along."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

from together_embed.settings import public

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding

_logger = logging.getLogger(__name__)

SHARED = (
    *("api_key", "on_batch", "count_tokens"),
    *("rate_limiter", "embeddings_cache", "callback_manager"),
)
"""A copy has the same: a budget, a cache and its locks, functions of the user's."""
LEFT = ("api_key", "on_batch")
"""A pickle leaves these out: the key is read from the environment again."""
DECISIVE = ("count_tokens",)
"""Without these other vectors would come: a pickle that cannot take them fails."""


def shared(model: TogetherEmbedding, memo: dict[int, Any] | None) -> dict[int, Any]:
    """Return `deepcopy`'s memo, by which what is shared counts as copied."""
    memo = {} if memo is None else memo
    for name in SHARED:
        held = getattr(model, name)
        memo[id(held)] = held
    return memo


def pickled(model: TogetherEmbedding) -> dict[str, Any]:
    """Return the fields that a pickle takes along.

    Not the inherited way, which deletes from the living object what it leaves out.
    """
    kept = {}
    for name, value in vars(model).items():
        if name in LEFT:
            continue
        if name in ("default_headers", "default_query"):
            value = value and public(value)
        if name in DECISIVE or _can_be_pickled(value):
            kept[name] = value
        else:
            _logger.warning("%s cannot be pickled and is left out", name)
    return kept


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # whatever the object's own code raises
        return False
    return True
