# pyright: strict
"""A user's program, typed to the last line against both frameworks' interfaces.

`make lint` has pyright and mypy check it in strict mode, and `test_users_program.py`
runs it: what they infer is what there is. `wrong_uses.py` is its counterpart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document as LlamaDocument
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TransformComponent
from numpy.typing import NDArray
from pydantic import SecretStr
from typing_extensions import assert_type

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import EmbeddingsClient, EmbeddingsError
from together_embed.errors import RateLimitError, RequestError, StatusError
from together_embed.local import LocalEndpoint
from together_embed.partial import Partial

TEXTS = ["The river is high.", "The bread is fresh."]
MODEL = "BAAI/bge-base-en-v1.5"


def lines() -> Iterator[str]:
    yield from TEXTS


async def alines() -> AsyncIterator[str]:
    for text in TEXTS:
        yield text


def core(base_url: str) -> None:
    with EmbeddingsClient(MODEL, api_key="key", base_url=base_url) as client:
        assert_type(client, EmbeddingsClient)
        assert_type(client.embed(TEXTS), list[list[float]])
        assert_type(client.embed(TEXTS, role="document"), list[list[float]])
        assert_type(client.embed(tuple(TEXTS), on_error="return"), Partial)
        assert_type(client.embed_array(TEXTS), NDArray[np.float32])
        assert_type(client.embed_array(TEXTS, on_error="return"), Partial)
        for rows in client.embed_batches([TEXTS, TEXTS], numbers=range(9)):
            assert_type(rows, list[list[float]])
        for number, row in client.stream(lines(), ordered=False):
            assert_type(number, int)
            assert_type(row, list[float])
        for _, one in client.stream(lines(), on_error="return"):
            assert_type(one, list[float] | EmbeddingsError)
        for start, array in client.stream_arrays(lines()):
            assert_type((start, array), tuple[int, NDArray[np.float32]])
        for _, found in client.stream_arrays(lines(), on_error="return"):
            if isinstance(found, EmbeddingsError):
                raise found
            assert_type(found, NDArray[np.float32])
        assert_type(client.stats.requests, int)


async def acore(base_url: str) -> None:
    key = SecretStr("key")
    async with EmbeddingsClient(MODEL, api_key=key, base_url=base_url) as client:
        assert_type(client, EmbeddingsClient)
        assert_type(await client.aembed(TEXTS), list[list[float]])
        assert_type(await client.aembed(TEXTS, on_error="return"), Partial)
        assert_type(await client.aembed_array(TEXTS), NDArray[np.float32])
        assert_type(await client.aembed_array(TEXTS, on_error="return"), Partial)
        async for rows in client.aembed_batches(iter([TEXTS])):
            assert_type(rows, list[list[float]])
        async for number, row in client.astream(alines()):
            assert_type((number, row), tuple[int, list[float]])
        async for _, one in client.astream(alines(), on_error="return"):
            assert_type(one, list[float] | EmbeddingsError)
        async for _, array in client.astream_arrays(alines()):
            assert_type(array, NDArray[np.float32])
        async for _, found in client.astream_arrays(lines(), on_error="return"):
            assert_type(found, NDArray[np.float32] | EmbeddingsError)


def rows_or_why(client: EmbeddingsClient) -> list[list[float]]:
    """Return what a call brought, having looked at all that an error tells."""
    try:
        return client.embed(TEXTS)
    except RateLimitError as error:
        assert_type(error.status, int)
        assert_type(error.remaining, tuple[int, ...])
        return error.resume()
    except StatusError as error:
        raise SystemExit(f"{error.status}: {error.message}") from error
    except RequestError as error:
        for attempt in error.attempts:
            assert_type(attempt.status, int | None)
        assert_type(error.failures, dict[int, EmbeddingsError])
        raise
    except EmbeddingsError as error:
        assert_type(error.partial, Partial | None)
        raise


def rows_and_failures(client: EmbeddingsClient) -> list[list[float]]:
    partial = client.embed(TEXTS, on_error="return")
    assert_type(partial.failures, dict[int, EmbeddingsError])
    assert_type(partial.remaining, tuple[int, ...])
    return partial.resume()


def langchain(base_url: str) -> list[Document]:
    with TogetherEmbeddings(model=MODEL, api_key="key", base_url=base_url) as made:
        assert_type(made, TogetherEmbeddings)
        assert_type(made.model, str)
        assert_type(made.client, EmbeddingsClient)
        assert_type(made.embed_documents(TEXTS), list[list[float]])
        assert_type(made.model_copy(update={"chunk_size": 8}), TogetherEmbeddings)
        embeddings: Embeddings = made
        assert_type(embeddings.embed_query(TEXTS[0]), list[float])
        store = InMemoryVectorStore(embedding=made)
        store.add_texts(TEXTS)
        return store.similarity_search("What is for breakfast?", k=1)


async def alangchain(base_url: str) -> list[list[float]]:
    async with TogetherEmbeddings(api_key="key", base_url=base_url) as made:
        assert_type(await made.aembed_query(TEXTS[0]), list[float])
        return await made.aembed_documents(TEXTS)


def llama_index(base_url: str) -> VectorStoreIndex:
    made = TogetherEmbedding(MODEL, api_key="key", api_base=base_url)
    model: BaseEmbedding = made
    assert_type(made.client, EmbeddingsClient)
    assert_type(model.get_text_embedding(TEXTS[0]), list[float])
    assert_type(made.get_text_embedding_batch(TEXTS), list[list[float]])
    steps: list[TransformComponent] = [SentenceSplitter(), made]
    documents = [LlamaDocument(text=text) for text in TEXTS]
    nodes = IngestionPipeline(transformations=steps).run(documents=documents)
    return VectorStoreIndex(list(nodes), embed_model=made)


async def allama_index(base_url: str) -> list[list[float]]:
    made = TogetherEmbedding(model=MODEL, api_key="key", base_url=base_url)
    assert_type(await made.aget_query_embedding(TEXTS[0]), list[float])
    return await made.aget_text_embedding_batch(TEXTS)


class Passages(TogetherEmbeddings):
    """A user's own, with a field more."""

    prefix: str = "passage: "


class Paragraphs(TogetherEmbedding):
    """The same for LlamaIndex."""

    prefix: str = "passage: "


def subclasses(base_url: str) -> list[str]:
    settings: dict[str, Any] = {"max_retries": 3}
    one = TogetherEmbeddings(model=MODEL, together_api_base=base_url, **settings)
    other = TogetherEmbedding(MODEL, base_url=base_url, timeout=(1, 5), **settings)
    assert_type(one.max_retries, int)
    assert_type(other.max_retries, int)
    return [
        Passages(model=MODEL, prefix="p: ", together_api_base=base_url).prefix,
        Paragraphs(model_name=MODEL, prefix="p: ", api_base=base_url).prefix,
    ]


def local() -> int:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient(
            MODEL, api_key=lambda: "key", base_url=endpoint.root_url
        )
        assert_type(client.embed(TEXTS), list[list[float]])
        return endpoint.port
