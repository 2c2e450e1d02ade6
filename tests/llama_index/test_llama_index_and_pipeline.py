"""What users build with it: indices, stores on disk, ingestion pipelines."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from llama_index.core import (
    Document,
    Settings,
    StorageContext,
    VectorStoreIndex,
    async_utils,
    load_index_from_storage,
)
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SemanticSplitterNodeParser, SentenceSplitter
from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore

from llama_index_together_embed import TogetherEmbedding
from together_embed.local import LocalEndpoint

SUBJECTS = ("tides", "granite", "falcons", "bread", "violins", "glaciers")
SCRIPT = Path(__file__).with_name("pipeline_in_processes.py")


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(text=f"Chapter {n}: all about {SUBJECTS[n % 6]} and nothing else")
        for n in range(240)
    ]


def top(index: VectorStoreIndex, question: str) -> str:
    (found,) = index.as_retriever(similarity_top_k=1).retrieve(question)
    return found.node.get_content()


async def atop(index: VectorStoreIndex, question: str) -> str:
    (found,) = await index.as_retriever(similarity_top_k=1).aretrieve(question)
    return found.node.get_content()


@pytest.mark.parametrize("settings", [{}, {"embed_batch_size": 10}])
def test_an_index_is_built_with_many_requests_in_flight_and_finds(settings):
    with LocalEndpoint(delay=0.4) as endpoint:
        model = TogetherEmbedding("m", api_base=endpoint.base_url, **settings)
        count = 12 * model.embed_batch_size
        many = [
            Document(text=f"Chapter {n}: all about {SUBJECTS[n % 6]}")
            for n in range(count)
        ]
        index = VectorStoreIndex.from_documents(many, embed_model=model)
        assert endpoint.requests == 12
        assert endpoint.in_flight_max >= 5
        assert "glaciers" in top(index, "a chapter about glaciers")


def test_an_index_is_built_by_async_calls(make, endpoint, documents):
    # LlamaIndex of 2025 makes a loop where none has run, and never closes it.
    asyncio.run(asyncio.sleep(0))
    model = make(embed_batch_size=10)
    index = VectorStoreIndex.from_documents(
        documents, embed_model=model, use_async=True
    )
    assert endpoint.requests == 24
    assert "falcons" in top(index, "a chapter about falcons")


async def test_an_index_is_built_and_asked_in_a_running_loop(make, documents):
    model = make(embed_batch_size=10)
    # Older versions of LlamaIndex run nothing beside a running loop.
    for use_async in (False, True)[: 1 + hasattr(async_utils, "concurrent")]:
        index = VectorStoreIndex.from_documents(
            documents, embed_model=model, use_async=use_async
        )
        retriever = index.as_retriever(similarity_top_k=1)
        (found,) = await retriever.aretrieve("a chapter about bread")
        assert "bread" in found.node.get_content()
        assert "violins" in top(index, "a chapter about violins")


@pytest.mark.parametrize("use_async", [False, True])
def test_an_index_is_built_with_a_progress_bar(make, documents, capsys, use_async):
    index = VectorStoreIndex.from_documents(
        documents, embed_model=make(), show_progress=True, use_async=use_async
    )
    assert "granite" in top(index, "a chapter about granite")
    assert "240/240" in capsys.readouterr().err


def test_an_index_that_was_saved_is_loaded_without_embedding_anew(
    make, endpoint, documents, tmp_path
):
    model = make()
    index = VectorStoreIndex.from_documents(documents, embed_model=model)
    index.storage_context.persist(str(tmp_path))
    asked = endpoint.requests
    again = load_index_from_storage(
        StorageContext.from_defaults(persist_dir=str(tmp_path)), embed_model=model
    )
    assert "granite" in top(again, "a chapter about granite")
    assert "bread" in asyncio.run(atop(again, "a chapter about bread"))
    assert endpoint.requests == asked + 2  # the questions


def test_it_serves_as_the_settings_embed_model(make, documents, monkeypatch):
    monkeypatch.setattr(Settings, "_embed_model", None)
    Settings.embed_model = make()
    index = VectorStoreIndex.from_documents(documents)
    assert "tides" in top(index, "a chapter about tides")
    assert "violins" in asyncio.run(atop(index, "a chapter about violins"))


def test_a_failing_server_leaves_no_index_behind(make, endpoint, documents):
    endpoint.fail("short", times=None)
    with pytest.raises(Exception, match="texts"):
        VectorStoreIndex.from_documents(documents, embed_model=make(max_retries=0))


def test_sentences_are_grouped_by_meaning(make):
    splitter = SemanticSplitterNodeParser(embed_model=make(), buffer_size=1)
    words = " ".join(f"The {s} are old. The {s} are slow." for s in SUBJECTS)
    nodes = splitter.get_nodes_from_documents([Document(text=words)])
    assert len(nodes) > 1


def test_an_optimizer_hands_over_all_sentences_at_once(make, endpoint):
    words = " ".join(f"Sentence {n} tells of {SUBJECTS[n % 6]}." for n in range(50))
    optimizer = SentenceEmbeddingOptimizer(
        embed_model=make(embed_batch_size=10), percentile_cutoff=0.1
    )
    kept = optimizer.postprocess_nodes(
        [NodeWithScore(node=TextNode(text=words))], QueryBundle("glaciers")
    )
    assert "glaciers" in kept[0].node.get_content()
    assert max(entry.texts for entry in endpoint.log) <= 10


@pytest.mark.parametrize("colour", ["run", "arun"])
def test_a_pipeline_gives_each_node_its_vector(make, endpoint, documents, colour):
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), make()])
    if colour == "run":
        nodes = pipeline.run(documents=documents)
    else:
        nodes = asyncio.run(pipeline.arun(documents=documents))
    assert len(nodes) == 240
    for node in nodes:
        assert node.embedding == endpoint.embed(node.get_content())


def test_a_rotated_key_or_another_batch_size_embeds_nothing_anew(
    make, endpoint, documents, tmp_path
):
    first = IngestionPipeline(transformations=[make(api_key="old")])
    first.run(documents=documents)
    first.persist(str(tmp_path))
    asked = endpoint.requests
    later = IngestionPipeline(
        transformations=[make(api_key="new", embed_batch_size=7)],
        cache=IngestionCache(),
    )
    later.load(str(tmp_path))
    nodes = later.run(documents=documents)
    assert nodes[0].embedding == endpoint.embed(nodes[0].get_content())
    assert endpoint.requests == asked
    other = IngestionPipeline(transformations=[make(model_name="n")])
    other.load(str(tmp_path))
    other.run(documents=documents)
    assert endpoint.requests > asked


def test_a_document_store_lets_new_and_changed_documents_alone_be_embedded(
    make, endpoint, documents
):
    pipeline = IngestionPipeline(
        transformations=[make()],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
    )
    for number, document in enumerate(documents):
        document.id_ = f"chapter-{number}"
    pipeline.run(documents=documents[:200])
    documents[0] = Document(text="Chapter 0, rewritten", id_="chapter-0")
    pipeline.run(documents=documents)
    assert endpoint.texts == 241
    assert set(endpoint.seen.values()) == {1}


@pytest.mark.parametrize(
    ("method", "key", "outcome"),
    [
        ("run", "right", "240 nodes, all right"),
        ("run", "wrong", "AuthenticationError 401"),
        ("arun", "right", "240 nodes, all right"),
        ("arun", "wrong", "AuthenticationError 401"),
    ],
)
def test_a_pipeline_over_two_processes_ends(method, key, outcome, monkeypatch):
    """A worker that can unpickle no error or no model hangs the pool for ever."""
    with LocalEndpoint(api_key="right", dimension=32) as endpoint:
        monkeypatch.setenv("TOGETHER_API_KEY", key)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), endpoint.base_url, method],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stdout.strip() == outcome, done.stderr
    assert key not in done.stderr
