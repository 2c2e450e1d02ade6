"""LlamaIndex's `embeddings_cache`, under names that tell vectors apart.

LlamaIndex's own key is the text alone: one cache for two models then gives the one's
vectors out as the other's, and those of documents to queries.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.base.embeddings.base import Embedding

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding

Role = Literal["query", "text"]

COLLECTION = "embeddings"
"""Where LlamaIndex keeps vectors."""
ROLES: dict[Role, Literal["query", "document"]] = {
    "query": "query",
    "text": "document",
}
"""LlamaIndex's words for what a text is for, and the core's."""


class Known:
    """The vectors of one role that a model's cache holds: none where there is no cache.

    Args:
        model: Whose cache it is.
        role: What the vectors are for.
    """

    def __init__(self, model: TogetherEmbedding, role: Role) -> None:
        self._store: Any = model.embeddings_cache
        self._scope = "" if self._store is None else _scope(model, role)

    def get(self, text: str) -> Embedding | None:
        """Return the text's vector, if it is there."""
        if self._store is None:
            return None
        return _vector(self._store.get(self._key(text), COLLECTION))

    async def aget(self, text: str) -> Embedding | None:
        """Return the text's vector, if it is there."""
        if self._store is None:
            return None
        return _vector(await self._store.aget(self._key(text), COLLECTION))

    def put(self, pairs: list[tuple[str, Embedding]]) -> None:
        """Keep vectors of texts."""
        if self._store is None:
            return
        for text, row in pairs:
            self._store.put(self._key(text), {"embedding": row}, COLLECTION)

    async def aput(self, pairs: list[tuple[str, Embedding]]) -> None:
        """Keep vectors of texts."""
        if self._store is None:
            return
        for text, row in pairs:
            await self._store.aput(self._key(text), {"embedding": row}, COLLECTION)

    def _key(self, text: str) -> str:
        return f"{self._scope}:{text}"


def _scope(model: TogetherEmbedding, role: Role) -> str:
    """Name what a vector depends on besides its text."""
    identity = json.dumps(model.to_dict(), sort_keys=True, default=str)
    told_apart = f"{identity}{model.client.namespace(ROLES[role])}"
    return f"{role}:{hashlib.sha256(told_apart.encode()).hexdigest()[:16]}"


def _vector(entry: dict[str, Any] | None) -> Embedding | None:
    return None if entry is None else next(iter(entry.values()))
