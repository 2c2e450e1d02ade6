"""What decides on vectors, beside model and text, is carried along by both adapters."""

from __future__ import annotations

import pickle
from math import hypot
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import LongInputWarning
from together_embed.local import LocalEndpoint

SETTINGS: dict[str, Any] = {
    "cut_to": 4,
    "normalize": True,
    "on_long_input": "split",
    "max_input_tokens": 12,
}
LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture
def endpoint():
    with LocalEndpoint(dimension=8) as running:
        yield running


@pytest.mark.parametrize("copied", ["itself", "dumped", "pickled"])
def test_llama_index_cuts_and_splits_after_a_dump_too(endpoint, copied: str) -> None:
    model = TogetherEmbedding("m", "k", endpoint.base_url, **SETTINGS)
    if copied == "dumped":
        model = TogetherEmbedding.from_dict({**model.to_dict(), "api_key": "k"})
    elif copied == "pickled":
        model = pickle.loads(pickle.dumps(model))
        model.api_key = "k"
    with pytest.warns(LongInputWarning):
        rows = model.get_text_embedding_batch(["short", LONG])
    assert [len(row) for row in rows] == [4, 4]
    assert [hypot(*row) for row in rows] == pytest.approx([1, 1])


@pytest.mark.parametrize("copied", ["itself", "dumped", "pickled"])
def test_langchain_cuts_and_splits_after_a_dump_too(
    endpoint, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    model = TogetherEmbeddings(model="m", base_url=endpoint.base_url, **SETTINGS)
    name = model.namespace
    if copied == "dumped":
        model = TogetherEmbeddings(**model.model_dump())
    elif copied == "pickled":
        model = pickle.loads(pickle.dumps(model))
    assert model.namespace == name
    with pytest.warns(LongInputWarning):
        rows = model.embed_documents(["short", LONG])
    assert [len(row) for row in rows] == [4, 4]


def test_a_counter_of_ones_own_is_taken(endpoint) -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return 1

    settings: dict[str, Any] = {**SETTINGS, "count_tokens": count}
    TogetherEmbedding("m", "k", endpoint.base_url, **settings).get_query_embedding("a")
    TogetherEmbeddings(
        model="m", api_key="k", base_url=endpoint.base_url, **settings
    ).embed_query("b")
    assert counted == ["a", "b"]
