"""What LlamaIndex builds around an index, filled and asked in both colours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from library import QUESTIONS, TEXTS
from llama_index.core import Document, PropertyGraphIndex, VectorStoreIndex
from llama_index.core.graph_stores.types import (
    KG_NODES_KEY,
    KG_RELATIONS_KEY,
    EntityNode,
    Relation,
)
from llama_index.core.indices.property_graph import VectorContextRetriever
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SemanticSplitterNodeParser, SentenceSplitter
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import BaseNode, TextNode, TransformComponent
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore

from llama_index_together_embed import TogetherEmbedding
from together_embed.local import LocalEndpoint

ANSWERS = [*QUESTIONS.values()]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def nodes() -> list[TextNode]:
    return [TextNode(text=text, id_=text) for text in TEXTS]


def first(retriever: Any, colour: str) -> list[str]:
    async def gathered() -> list[Any]:
        return [*await asyncio.gather(*map(retriever.aretrieve, QUESTIONS))]

    sync = colour == "sync"
    found = [*map(retriever.retrieve, QUESTIONS)] if sync else asyncio.run(gathered())
    return [hits[0].node.get_content() for hits in found]


@pytest.mark.parametrize("mode", ["reciprocal_rerank", "relative_score", "simple"])
def test_questions_are_fused_over_several_indices(
    embed_model: TogetherEmbedding, colour: str, mode: str
) -> None:
    halves = [
        VectorStoreIndex(nodes()[half::2], embed_model=embed_model) for half in (0, 1)
    ]
    retriever = QueryFusionRetriever(
        [half.as_retriever() for half in halves],
        llm=MockLLM(),
        mode=mode,  # type: ignore[arg-type]
        num_queries=1,
        use_async=colour == "async",
    )
    found = [
        {hit.node.get_content() for hit in hits[:2]}
        for hits in map(retriever.retrieve, QUESTIONS)
    ]
    # The first of each half: by rank alone they are on a par.
    assert all(answer in few for answer, few in zip(ANSWERS, found, strict=True))
    if mode == "simple":
        assert first(retriever, colour) == ANSWERS


class OneThingEach(TransformComponent):
    """Takes each text as a thing that is known, instead of asking an LLM for it."""

    def __call__(self, nodes: Sequence[BaseNode], **_: Any) -> Sequence[BaseNode]:
        for node in nodes:
            thing = EntityNode(name=node.get_content(), label="THING")
            shelf = EntityNode(name="shelf", label="PLACE")
            stands = Relation(label="ON", source_id=thing.id, target_id=shelf.id)
            node.metadata[KG_NODES_KEY] = [thing, shelf]
            node.metadata[KG_RELATIONS_KEY] = [stands]
        return nodes


def test_a_graph_is_entered_at_the_right_thing(
    embed_model: TogetherEmbedding, colour: str
) -> None:
    graph = PropertyGraphIndex(
        nodes(),
        llm=MockLLM(),
        embed_model=embed_model,
        kg_extractors=[OneThingEach()],
        use_async=colour == "async",
    )
    retriever = VectorContextRetriever(
        graph.property_graph_store,
        vector_store=graph.vector_store,
        embed_model=embed_model,
        include_text=False,
        similarity_top_k=1,
        path_depth=1,
    )
    ways = first(retriever, colour)
    assert ways == [f"{answer} -> ON -> shelf" for answer in ANSWERS]


def test_a_text_is_cut_where_it_turns_to_something_else(
    embed_model: TogetherEmbedding, colour: str
) -> None:
    honey = "Bees make honey. The honey of bees is sweet. "
    wheels = "Wheels of steel roll. Steel wheels roll on rails. Rails bear wheels."
    splitter = SemanticSplitterNodeParser(
        embed_model=embed_model, buffer_size=0, breakpoint_percentile_threshold=90
    )
    whole = [Document(text=honey + wheels)]
    cut = (
        splitter.get_nodes_from_documents(whole)
        if colour == "sync"
        else asyncio.run(splitter.aget_nodes_from_documents(whole))
    )
    assert [node.get_content().strip() for node in cut] == [honey.strip(), wheels]


Run = Callable[..., Sequence[BaseNode]]


@pytest.fixture
def run(colour: str) -> Run:
    """Run a pipeline in either colour."""

    def ended(pipeline: IngestionPipeline, **given: Any) -> Sequence[BaseNode]:
        if colour == "sync":
            return pipeline.run(**given)
        return asyncio.run(pipeline.arun(**given))

    return ended


def test_a_pipeline_that_was_saved_embeds_nothing_anew_under_another_key(
    embed_model: TogetherEmbedding, endpoint: LocalEndpoint, run: Run, tmp_path: Path
) -> None:
    pipeline = IngestionPipeline(transformations=[embed_model])
    run(pipeline, nodes=nodes())
    pipeline.persist(str(tmp_path))
    rotated = TogetherEmbedding("m", "rotated", endpoint.base_url)
    again = IngestionPipeline(transformations=[rotated])
    again.load(str(tmp_path))
    index = VectorStoreIndex([*run(again, nodes=nodes())], embed_model=rotated)
    assert first(index.as_retriever(), "sync") == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}
    rotated.client.close()


def test_a_changed_document_takes_the_place_of_the_old_one(
    embed_model: TogetherEmbedding,
    endpoint: LocalEndpoint,
    run: Run,
    colour: str,
) -> None:
    store = SimpleVectorStore(stores_text=False)
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), embed_model],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        disable_cache=True,
    )
    documents = [Document(text=text, id_=f"{n}") for n, text in enumerate(TEXTS)]
    for node in run(pipeline, documents=documents):
        assert node.embedding == endpoint.embed(node.get_content())
    new = "The heron has flown to another lake."
    changed = [Document(text=new, id_="0"), *documents[1:-1]]
    (embedded,) = run(pipeline, documents=changed)
    assert embedded.embedding == endpoint.embed(new)
    assert endpoint.texts == len(TEXTS) + 1
    assert len(store.data.embedding_dict) == len(TEXTS) - 1


def test_a_cache_of_vectors_fills_the_next_index(
    embed_model: TogetherEmbedding, endpoint: LocalEndpoint, colour: str
) -> None:
    embed_model.embeddings_cache = SimpleKVStore()
    for _ in range(2):
        index = VectorStoreIndex(
            nodes(), embed_model=embed_model, use_async=colour == "async"
        )
        assert first(index.as_retriever(), colour) == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}
