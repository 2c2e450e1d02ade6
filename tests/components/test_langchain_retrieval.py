"""What LangChain builds around a vector store, filled and asked in both colours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from library import QUESTIONS, TEXTS
from parts import part

from langchain_together_embed import TogetherEmbeddings
from together_embed.local import LocalEndpoint

ANSWERS = [*QUESTIONS.values()]
FACTS = [Document(text) for text in TEXTS]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def done(result: Any) -> Any:
    """Return what a call gave, in either colour."""

    async def wait(pending: Awaitable[Any]) -> Any:
        return await pending

    return asyncio.run(wait(result)) if isinstance(result, Awaitable) else result


def first(retriever: Any, colour: str) -> list[str]:
    found = (
        retriever.batch([*QUESTIONS])
        if colour == "sync"
        else done(retriever.abatch([*QUESTIONS]))
    )
    return [documents[0].page_content for documents in found]


def fill(store: InMemoryVectorStore, colour: str) -> None:
    done(store.add_texts(TEXTS) if colour == "sync" else store.aadd_texts(TEXTS))


def test_the_indexing_api_embeds_what_is_new_and_forgets_what_is_gone(
    embeddings: TogetherEmbeddings, endpoint: LocalEndpoint, colour: str
) -> None:
    store, records = InMemoryVectorStore(embeddings), InMemoryRecordManager("library")
    records.create_schema()
    run = index if colour == "sync" else aindex
    options: Any = {"cleanup": "full", "key_encoder": "sha256"}
    done(run(FACTS, records, store, **options))
    assert first(store.as_retriever(), colour) == ANSWERS
    asked = endpoint.texts
    changed = [Document("The heron has flown to another lake."), *FACTS[1:]]
    counted = done(run(changed, records, store, **options))
    assert (counted["num_added"], counted["num_deleted"]) == (1, 1)
    assert endpoint.texts == asked + 1
    found = first(store.as_retriever(), colour)
    assert found == [changed[0].page_content, *ANSWERS[1:]]


def test_records_in_a_database_keep_the_next_run_from_embedding_anything(
    embeddings: TogetherEmbeddings, endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    store = InMemoryVectorStore(embeddings)
    for _ in range(2):
        records = part("langchain_classic.indexes").SQLRecordManager(
            "library",
            engine=part("sqlalchemy").create_engine(
                f"sqlite:///{tmp_path / 'records'}",
                poolclass=part("sqlalchemy.pool").NullPool,
            ),
        )
        records.create_schema()
        index(FACTS, records, store, cleanup="full", key_encoder="sha256")
    assert endpoint.texts == len(TEXTS)
    assert first(store.as_retriever(), "sync") == ANSWERS


def test_a_cache_on_disk_fills_a_store_without_asking_again(
    embeddings: TogetherEmbeddings,
    endpoint: LocalEndpoint,
    tmp_path: Path,
    colour: str,
) -> None:
    for _ in range(2):
        cached = part("langchain_classic.embeddings").CacheBackedEmbeddings
        model = cached.from_bytes_store(
            embeddings,
            part("langchain_classic.storage").LocalFileStore(tmp_path),
            namespace=embeddings.model,
            key_encoder="sha256",
        )
        store = InMemoryVectorStore(model)
        fill(store, colour)
        assert first(store.as_retriever(), colour) == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}


def test_a_text_is_cut_where_it_turns_to_something_else(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    honey = "Bees make honey. The honey of bees is sweet."
    wheels = "Wheels of steel roll. Steel wheels roll on rails. Rails bear wheels."
    chunker = part("langchain_experimental.text_splitter").SemanticChunker(
        embeddings, number_of_chunks=2, buffer_size=0
    )
    whole = [Document(f"{honey} {wheels}")]
    cut = (
        chunker.transform_documents(whole)
        if colour == "sync"
        else done(chunker.atransform_documents(whole))
    )
    assert [piece.page_content for piece in cut] == [honey, wheels]


def test_a_filter_keeps_the_documents_that_answer(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    compressors = part("langchain_classic.retrievers.document_compressors")
    keep = compressors.EmbeddingsFilter(embeddings=embeddings, k=1)
    compress = keep.compress_documents if colour == "sync" else keep.acompress_documents
    for question, answer in QUESTIONS.items():
        (found,) = done(compress(FACTS, question))
        assert found.page_content == answer


def test_a_filter_drops_what_was_said_already(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    transformers = part("langchain_community.document_transformers")
    drop = transformers.EmbeddingsRedundantFilter(embeddings=embeddings)
    repeated = [Document(f"{answer.upper()}!") for answer in ANSWERS[2:5]]
    told = [*map(Document, ANSWERS[:-1]), *repeated, Document(ANSWERS[-1])]
    kept = (
        drop.transform_documents(told)
        if colour == "sync"
        else done(drop.atransform_documents(told))
    )
    said = [document.page_content.lower().rstrip("!") for document in kept]
    assert sorted(said) == sorted(answer.lower() for answer in ANSWERS)


def test_an_ensemble_of_words_and_vectors_finds(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    store = InMemoryVectorStore(embeddings)
    fill(store, colour)
    words = part("langchain_community.retrievers").BM25Retriever.from_texts(
        TEXTS, preprocess_func=lambda text: re.findall(r"\w+", text.lower())
    )
    both = part("langchain_classic.retrievers").EnsembleRetriever(
        retrievers=[words, store.as_retriever()], weights=[0.2, 0.8]
    )
    assert first(both, colour) == ANSWERS


def test_a_parent_document_is_found_by_one_of_its_sentences(
    embeddings: TogetherEmbeddings, endpoint: LocalEndpoint, colour: str
) -> None:
    pages = [Document(" ".join(TEXTS[at : at + 5])) for at in range(0, 40, 5)]
    retriever = part("langchain_classic.retrievers").ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(embeddings),
        docstore=InMemoryStore(),
        child_splitter=RecursiveCharacterTextSplitter(
            separators=[". "], chunk_size=60, chunk_overlap=0
        ),
    )
    done(
        retriever.add_documents(pages)
        if colour == "sync"
        else retriever.aadd_documents(pages)
    )
    assert endpoint.texts > len(pages)  # it is the sentences that are embedded
    for answer, page in zip(ANSWERS, first(retriever, colour), strict=True):
        assert answer in page


def test_a_chain_puts_the_right_passage_into_each_prompt(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    store = InMemoryVectorStore(embeddings)
    fill(store, colour)
    chain = (
        {
            "passage": store.as_retriever(search_kwargs={"k": 1})
            | (lambda documents: documents[0].page_content),
            "question": RunnablePassthrough(),
        }
        | ChatPromptTemplate.from_template("{passage}\n{question}")
        | RunnableLambda(lambda prompt: prompt.to_messages()[0])
        | StrOutputParser()
    )
    said = (
        chain.batch([*QUESTIONS])
        if colour == "sync"
        else done(chain.abatch([*QUESTIONS]))
    )
    assert said == [f"{answer}\n{question}" for question, answer in QUESTIONS.items()]


def test_the_memory_of_an_agent_is_searched_by_meaning(
    embeddings: TogetherEmbeddings, colour: str
) -> None:
    memory = part("langgraph.store.memory").InMemoryStore(
        index={"embed": embeddings, "dims": 128, "fields": ["text"]}
    )
    batch = memory.batch if colour == "sync" else memory.abatch
    search = memory.search if colour == "sync" else memory.asearch
    put = part("langgraph.store.base").PutOp
    done(batch([put(("library",), text, {"text": text}) for text in TEXTS]))
    for question, answer in QUESTIONS.items():
        (found,) = done(search(("library",), query=question, limit=1))
        assert found.value["text"] == answer
