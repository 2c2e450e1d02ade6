"""What is sent for a query and for a document, and what that does to identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import EmbeddingsClient
from together_embed.errors import ConfigurationError, InputError
from together_embed.local import LocalEndpoint

BGE = "BAAI/bge-base-en-v1.5"
INSTRUCTION = "Represent this sentence for searching relevant passages: "


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-0123456789")


def test_a_role_puts_its_prefix_in_front_of_each_text(
    colour: Any, endpoint: LocalEndpoint
) -> None:
    client = EmbeddingsClient(
        "m", base_url=endpoint.base_url, query_prefix="q: ", document_prefix="d: "
    )
    for role in ("query", "document", None):
        colour.embed(client, ["text"], role=role)
    assert sorted(endpoint.seen) == ["d: text", "q: text", "text"]


def test_a_prefix_does_not_make_a_text_of_a_blank_one(endpoint: LocalEndpoint) -> None:
    client = EmbeddingsClient("m", base_url=endpoint.base_url, query_prefix="q: ")
    with pytest.raises(InputError):
        client.embed([" "], role="query")


def test_no_prefix_is_sent_unless_it_is_asked_for(endpoint: LocalEndpoint) -> None:
    EmbeddingsClient(BGE, base_url=endpoint.base_url).embed(["text"], role="query")
    EmbeddingsClient(BGE, base_url=endpoint.base_url, instructions="auto").embed(
        ["text"], role="query"
    )
    assert list(endpoint.seen) == ["text", f"{INSTRUCTION}text"]


def test_instructions_for_a_model_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no instructions are known"):
        EmbeddingsClient("m", instructions="auto")


def test_a_stored_document_is_no_stored_query(
    endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    client = EmbeddingsClient(
        "m", base_url=endpoint.base_url, query_prefix="q: ", cache=tmp_path / "v.db"
    )
    document = client.embed(["text"], role="document")
    query = client.embed(["text"], role="query")
    assert document != query
    assert client.embed(["text"]) == document  # the same was sent
    assert client.stats.requests == 2


def test_both_adapters_use_them_for_queries_and_documents(
    endpoint: LocalEndpoint,
) -> None:
    langchain = TogetherEmbeddings(
        model=BGE, base_url=endpoint.base_url, instructions="auto"
    )
    llama_index = TogetherEmbedding(
        BGE, api_base=endpoint.base_url, instructions="auto"
    )
    langchain.embed_query("a")
    langchain.embed_documents(["b"])
    llama_index.get_query_embedding("c")
    llama_index.get_text_embedding_batch(["d"])
    llama_index.get_text_embedding("e")
    sent = [f"{INSTRUCTION}a", "b", f"{INSTRUCTION}c", "d", "e"]
    assert list(endpoint.seen) == sent


def test_a_namespace_differs_where_vectors_do_and_hides_the_key() -> None:
    def name(**settings: Any) -> str:
        return EmbeddingsClient("a/m", **settings).namespace("query")

    names = {
        name(),
        name(base_url="http://127.0.0.1:1"),
        name(dimensions=8),
        name(query_prefix="q: "),
        name(extra_body={"user": "u"}),
        name(query={"deployment": "d"}),
    }
    assert len(names) == 6
    assert name(query={"a": 1, "b": 2}) == name(query={"b": 2, "a": 1, "api-key": "k"})
    some, others = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert name(extra_body={"x": some}) == name(extra_body={"x": others})
    assert name() == name(api_key="another", batch_size=3, encoding_format="float")
    assert all(each.startswith("a-m-") for each in names)
    client = EmbeddingsClient("a/m", query_prefix="q: ")
    assert client.namespace("query") != client.namespace("document")


def test_a_prefix_changes_what_llama_index_hashes_of_a_model() -> None:
    plain = TogetherEmbedding("m", api_base="http://127.0.0.1:1")
    prefixed = TogetherEmbedding("m", api_base="http://127.0.0.1:1", query_prefix="q: ")
    assert plain.to_dict() != prefixed.to_dict()
    assert TogetherEmbedding.from_dict(prefixed.to_dict()).query_prefix == "q: "
