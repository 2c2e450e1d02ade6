"""What a copy shares with its model, and what a pickle of one takes along."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import BaseModel

from together_embed.settings import public

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding

_logger = logging.getLogger(__name__)

SHARED = (
    *("api_key", "on_batch", "count_tokens"),
    *("rate_limiter", "embeddings_cache", "callback_manager"),
)
"""A copy has the same: a budget, a cache and its locks, functions of the user's."""
DECISIVE = ("count_tokens",)
"""Without these other vectors would come: a pickle that cannot take them fails."""


def shared(model: TogetherEmbedding, memo: dict[int, Any] | None) -> dict[int, Any]:
    """Return `deepcopy`'s memo, by which what is shared counts as copied."""
    memo = {} if memo is None else memo
    for name in SHARED:
        held = getattr(model, name)
        memo[id(held)] = held
    return memo


def pickled(model: TogetherEmbedding) -> dict[Any, Any]:
    """Return what a pickle takes along, with defaults for what it cannot.

    Not the inherited way, which deletes from the living object what it leaves out. The
    key is read from the environment again.
    """
    state = BaseModel.__getstate__(model)
    fields = {**state["__dict__"], "api_key": None, "on_batch": None}
    for name in ("default_headers", "default_query"):
        fields[name] = fields[name] and public(fields[name])
    private = {**(state["__pydantic_private__"] or {})}
    for held in (fields, private):
        for name, value in [*held.items()]:
            if name not in DECISIVE and not _can_be_pickled(value):
                _logger.warning("%s cannot be pickled and is left out", name)
                del held[name]
    for name, field in type(model).model_fields.items():
        if name not in fields and not field.is_required():
            fields[name] = field.get_default(call_default_factory=True)
    return {**state, "__dict__": fields, "__pydantic_private__": private}


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # whatever the object's own code raises
        return False
    return True
