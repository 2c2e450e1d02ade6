"""Vector stores of LlamaIndex, filled and asked through this embedding model.

What is checked is what a user sees: the right passage comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from library import QUESTIONS, TEXTS
from llama_index.core import (
    Document,
    StorageContext,
    VectorStoreIndex,
    load_index_from_storage,
)
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import NodeWithScore, TextNode
from llama_stores import ASYNC_STORES, STORES, Open, Place
from parts import part

from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import InvalidResponseError
from together_embed.local import LocalEndpoint

ANSWERS = [*QUESTIONS.values()]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=STORES)
def open_store(
    request: pytest.FixtureRequest, colour: str, tmp_path: Path
) -> Iterator[Open]:
    kind = request.param
    postgres = None
    if kind == "postgres":
        postgres = request.getfixturevalue("postgres")
    opener = (STORES if colour == "sync" else ASYNC_STORES)[kind]
    with opener(Place(tmp_path, postgres, 128)) as open_:
        yield open_


def fill(
    open_store: Open, model: TogetherEmbedding, colour: str, texts: list[str] = TEXTS
) -> None:
    """Put texts into a store: by an index, or in async code by a pipeline."""
    if colour == "sync":
        VectorStoreIndex.from_documents(
            [Document(text=text) for text in texts],
            storage_context=StorageContext.from_defaults(vector_store=open_store()),
            embed_model=model,
        )
        return
    pipeline = IngestionPipeline(transformations=[model], vector_store=open_store())
    asyncio.run(pipeline.arun(nodes=[TextNode(text=text) for text in texts]))


def retrieved(retriever: BaseRetriever, colour: str) -> list[list[str]]:
    """Return what is found for each question, the nearest first."""

    async def gathered() -> list[list[NodeWithScore]]:
        return [*await asyncio.gather(*map(retriever.aretrieve, QUESTIONS))]

    sync = colour == "sync"
    found = [*map(retriever.retrieve, QUESTIONS)] if sync else asyncio.run(gathered())
    return [[hit.node.get_content() for hit in hits] for hits in found]


def ask(open_store: Open, model: TogetherEmbedding, colour: str) -> list[list[str]]:
    index = VectorStoreIndex.from_vector_store(open_store(), embed_model=model)
    return retrieved(index.as_retriever(), colour)


def first(open_store: Open, model: TogetherEmbedding, colour: str) -> list[str]:
    return [few[0] for few in ask(open_store, model, colour)]


def test_the_right_passage_comes_first(
    open_store: Open,
    colour: str,
    embed_model: TogetherEmbedding,
    endpoint: LocalEndpoint,
) -> None:
    fill(open_store, embed_model, colour)
    assert first(open_store, embed_model, colour) == ANSWERS
    assert set(endpoint.seen.values()) == {1}
    assert len(endpoint.seen) == len(TEXTS) + len(QUESTIONS)


def test_what_a_failing_server_did_not_embed_is_not_in_the_store(
    open_store: Open,
    colour: str,
    embed_model: TogetherEmbedding,
    endpoint: LocalEndpoint,
) -> None:
    fill(open_store, embed_model, colour, TEXTS[:20])
    endpoint.fail("short", times=None)
    with pytest.raises(InvalidResponseError):
        fill(open_store, embed_model, colour, TEXTS[20:])
    endpoint.heal()
    found = {text for few in ask(open_store, embed_model, colour) for text in few}
    assert found <= {*TEXTS[:20]}
    fill(open_store, embed_model, colour, TEXTS[20:])
    assert first(open_store, embed_model, colour) == ANSWERS


def test_an_index_over_faiss_finds_before_and_after_it_was_saved(
    colour: str, embed_model: TogetherEmbedding, endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    store = part("llama_index.vector_stores.faiss").FaissVectorStore
    flat = part("faiss").IndexFlatIP(128)
    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in TEXTS],
        storage_context=StorageContext.from_defaults(vector_store=store(flat)),
        embed_model=embed_model,
        use_async=colour == "async",
    )
    index.storage_context.persist(str(tmp_path))
    saved = StorageContext.from_defaults(
        vector_store=store.from_persist_dir(str(tmp_path)), persist_dir=str(tmp_path)
    )
    again = load_index_from_storage(saved, embed_model=embed_model)
    for each in (index, again):
        found = retrieved(each.as_retriever(), colour)
        assert [few[0] for few in found] == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}
