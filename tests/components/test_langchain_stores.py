"""Vector stores of LangChain, filled and asked through these embeddings.

What is checked is what a user sees: the right document comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_stores import STORES, Open, Place
from library import QUESTIONS, TEXTS

from langchain_together_embed import TogetherEmbeddings
from together_embed.errors import InvalidResponseError
from together_embed.local import LocalEndpoint

ANSWERS = [*QUESTIONS.values()]


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def open_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, endpoint: LocalEndpoint
) -> Iterator[Open]:
    postgres = request.getfixturevalue("postgres") if kind.startswith("pg") else None
    asynchronous = "async" in request.node.name.rpartition("[")[2]
    with STORES[kind](Place(tmp_path, postgres, asynchronous, 128)) as open_:
        yield open_


def fill(store: VectorStore, colour: str, texts: list[str] = TEXTS) -> None:
    if colour == "sync":
        store.add_texts(texts)
    else:
        asyncio.run(store.aadd_texts(texts))


def ask(store: VectorStore, colour: str) -> list[list[str]]:
    """Return what is found for each question, the nearest first."""
    retriever = store.as_retriever(search_kwargs={"k": 2})
    if colour == "sync":
        found = retriever.batch([*QUESTIONS])
    else:
        found = asyncio.run(retriever.abatch([*QUESTIONS]))
    return [[document.page_content for document in few] for few in found]


def first(store: VectorStore, colour: str) -> list[str]:
    return [few[0] for few in ask(store, colour)]


def test_the_right_document_comes_first(
    open_store: Open,
    colour: str,
    embeddings: TogetherEmbeddings,
    endpoint: LocalEndpoint,
) -> None:
    store = open_store(embeddings)
    fill(store, colour)
    assert first(store, colour) == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}
    assert {endpoint.seen[question] for question in QUESTIONS} == {1}


def test_a_store_that_is_opened_again_finds_without_embedding_anew(
    open_store: Open, embeddings: TogetherEmbeddings, endpoint: LocalEndpoint
) -> None:
    fill(open_store(embeddings), "sync")
    assert first(open_store(embeddings), "sync") == ANSWERS
    assert {endpoint.seen[text] for text in TEXTS} == {1}


def test_what_a_failing_server_did_not_embed_is_not_in_the_store(
    open_store: Open,
    colour: str,
    embeddings: TogetherEmbeddings,
    endpoint: LocalEndpoint,
) -> None:
    store = open_store(embeddings)
    fill(store, colour, TEXTS[:20])
    endpoint.fail("short", times=None)
    with pytest.raises(InvalidResponseError):
        fill(store, colour, TEXTS[20:])
    endpoint.heal()
    found = {text for few in ask(store, colour) for text in few}
    assert found <= {*TEXTS[:20]}
    fill(store, colour, TEXTS[20:])
    assert first(store, colour) == ANSWERS
