"""The six ways to the endpoint: core and both frameworks, sync and async each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# LlamaIndex brings its tokenizer's table along, and fetches it anew if not told where.
_core = find_spec("llama_index.core")
assert _core is not None, "the tests need llama-index-core"
os.environ.setdefault(
    "TIKTOKEN_CACHE_DIR",
    str(Path(str(_core.origin)).parent / "_static" / "tiktoken_cache"),
)

from langchain_together_embed import TogetherEmbeddings  # noqa: E402
from llama_index_together_embed import TogetherEmbedding  # noqa: E402
from together_embed import EmbeddingsClient  # noqa: E402

KEY = "canary-key-0123456789-7f3a"
Rows = list[list[float]]


@dataclass(frozen=True)
class Way:
    """One of them. Settings are written in the core's words.

    Attributes:
        name: What a test's id shows.
        made: The class.
        words: The core's words for settings, and those of the class.
        method: What embeds a list of texts.
    """

    name: str
    made: Callable[..., Any]
    words: dict[str, str]
    method: str

    def make(self, url: str, **settings: Any) -> Any:
        given = {"model": "m", "api_key": KEY, "base_url": url, **settings}
        return self.made(**{self.words.get(k, k): v for k, v in given.items()})

    def client(self, model: Any) -> EmbeddingsClient:
        client: EmbeddingsClient = getattr(model, "client", model)
        return client

    def embed(self, model: Any, texts: Sequence[str]) -> Rows:
        rows: Any = getattr(model, self.method)(texts)
        return asyncio.run(_awaited(rows)) if asyncio.iscoroutine(rows) else rows

    def close(self, model: Any) -> None:
        self.client(model).close()


async def _awaited(rows: Any) -> Any:
    return await rows


LANGCHAIN = {"batch_size": "chunk_size", "timeout": "request_timeout"}
LLAMA_INDEX = {"batch_size": "embed_batch_size"}
WAYS = (
    Way("core", EmbeddingsClient, {}, "embed"),
    Way("core-async", EmbeddingsClient, {}, "aembed"),
    Way("langchain", TogetherEmbeddings, LANGCHAIN, "embed_documents"),
    Way("langchain-async", TogetherEmbeddings, LANGCHAIN, "aembed_documents"),
    Way("llama-index", TogetherEmbedding, LLAMA_INDEX, "get_text_embedding_batch"),
    Way(
        "llama-index-async",
        TogetherEmbedding,
        LLAMA_INDEX,
        "aget_text_embedding_batch",
    ),
)
