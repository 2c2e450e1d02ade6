"""Notices a `CacheBackedEmbeddings` that cannot tell a query from a document.

Its key is the text alone. Where queries and documents go out with different prefixes,
and it keeps both in one place, a query that reads as a document gets the document's
vector, and the other way round. What it finds it does not ask for, so nothing but the
questions that reach this class can be looked at.
"""

from __future__ import annotations

import sys
import warnings
from itertools import islice
from traceback import walk_stack

from together_embed.engine.roles import Roles

ADVICE = (
    "this CacheBackedEmbeddings stores queries and documents together, by their texts "
    "alone, although their prefixes give them different vectors: pass "
    "query_embedding_cache= a store of its own, or use cache= of TogetherEmbeddings, "
    "which tells them apart"
)


NEAR = 8
"""Frames that are looked at: a subclass's own method may stand between the two."""


def look_at_the_caller(model: object, roles: Roles) -> None:
    """Warn where the question comes from a cache that mixes up queries and documents.

    Args:
        model: What it is a cache of.
        roles: The prefixes; where both are the same there is nothing to mix up.
    """
    if roles.query_prefix == roles.document_prefix:
        return
    callers = walk_stack(sys._getframe(1))  # noqa: SLF001 - no other way
    for level, (frame, _) in enumerate(islice(callers, NEAR), start=2):
        if frame.f_code.co_name in ("embed_query", "aembed_query"):
            asking = frame.f_locals.get("self")
            if getattr(asking, "underlying_embeddings", None) is model:
                if _in_one_place(asking):
                    warnings.warn(ADVICE, stacklevel=level + 1)
                return


def _in_one_place(cache: object) -> bool:
    queries = getattr(cache, "query_embedding_store", None)
    documents = getattr(cache, "document_embedding_store", None)
    return queries is not None and _place(queries) == _place(documents)


def _place(store: object) -> list[int]:
    """Tell where a store keeps its entries, and under which names."""
    return [id(getattr(store, part, store)) for part in ("store", "key_encoder")]
