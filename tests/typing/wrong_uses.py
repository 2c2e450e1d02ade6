# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What both type checkers have to report. Nobody runs this.

A mark names what mypy reports of its line. Both checkers heed it, and both report one
that is not needed: a line that either of them takes for right is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from langchain_core.vectorstores import InMemoryVectorStore

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import EmbeddingsClient
from together_embed.errors import EmbeddingsError

TEXTS = ["The river is high.", "The bread is fresh."]


def core(client: EmbeddingsClient, alines: AsyncIterator[str]) -> None:
    EmbeddingsClient()  # type: ignore[call-arg]
    EmbeddingsClient("model", batch_size="100")  # type: ignore[arg-type]
    EmbeddingsClient("model", encoding_format="hex")  # type: ignore[arg-type]
    EmbeddingsClient("model", api_key=b"key")  # type: ignore[arg-type]
    EmbeddingsClient("model", retries=3)  # type: ignore[call-arg]
    client.embed([1, 2])  # type: ignore[list-item]
    client.embed(TEXTS, role="passage")  # type: ignore[call-overload]
    client.embed(TEXTS, on_error="ignore")  # type: ignore[call-overload]
    client.embed(TEXTS)[0].tolist()  # type: ignore[attr-defined]
    client.embed(TEXTS, on_error="return")[0]  # type: ignore[index]
    client.stream(alines)  # type: ignore[call-overload]
    client.embed_array(TEXTS).resume()  # type: ignore[attr-defined]
    client.stats.requests = 0  # type: ignore[misc]
    print(client.key)  # type: ignore[attr-defined]


async def acore(client: EmbeddingsClient) -> list[list[float]]:
    return client.aembed(TEXTS)  # type: ignore[return-value]


def error(error: EmbeddingsError) -> int:
    return error.partial.remaining[0]  # type: ignore[union-attr]


def frameworks(embeddings: TogetherEmbeddings, model: TogetherEmbedding) -> None:
    embeddings.embed_documents("a text")  # type: ignore[arg-type]
    embeddings.embed_query(TEXTS)  # type: ignore[arg-type]
    InMemoryVectorStore(embedding=model)  # type: ignore[arg-type]
    TogetherEmbedding("model", embed_batch_size="100")  # type: ignore[arg-type]
    TogetherEmbedding("model", embed_batchsize=100)  # type: ignore[call-arg]
    TogetherEmbeddings(chunk_size="100")  # type: ignore[arg-type]
    TogetherEmbeddings(chunksize=100)  # type: ignore[call-arg]
