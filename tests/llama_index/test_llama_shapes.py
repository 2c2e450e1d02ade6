"""What decides on vectors, beside model and text, is carried along by both adapters."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from math import hypot
from typing import Any

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from llama_index_together_embed.failing import Failing
from together_embed import EmbeddingsClient
from together_embed.errors import AuthenticationError, InputError, LongInputWarning
from together_embed.local import LocalEndpoint
from together_embed.partial import Partial

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


def settings_of(client: EmbeddingsClient) -> dict[str, Any]:
    return {**vars(client.settings), "key": client.settings.key.reveal()}


def test_what_is_left_unsaid_is_as_the_core_has_it(endpoint) -> None:
    core = EmbeddingsClient("m", api_key="k", base_url=endpoint.base_url)
    for model in models(endpoint):
        assert settings_of(model.client) == settings_of(core)


@pytest.mark.parametrize("copied", ["itself", "dumped", "pickled"])
def test_llama_index_cuts_and_splits_after_a_dump_too(endpoint, copied: str) -> None:
    model = TogetherEmbedding("m", "k", endpoint.base_url, **SETTINGS)
    if copied == "dumped":
        model = TogetherEmbedding.from_dict({**model.to_dict(), "api_key": "k"})
    elif copied == "pickled":
        model = pickle.loads(pickle.dumps(model))
        model.api_key = "k"
    with pytest.warns(LongInputWarning) as told:
        rows = model.get_text_embedding_batch(["short", LONG])
    assert [warning.filename for warning in told] == [__file__]
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
    with pytest.warns(LongInputWarning) as told:
        rows = model.embed_documents(["short", LONG])
    assert [warning.filename for warning in told] == [__file__]
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


class Counts:
    """A counter that, like many, can neither be copied nor pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, text: str) -> int:
        with self.lock:
            return len(text.split())


def models(endpoint: LocalEndpoint, **settings: Any) -> list[Any]:
    address = endpoint.base_url
    return [
        TogetherEmbeddings(model="m", api_key="k", base_url=address, **settings),
        TogetherEmbedding("m", "k", address, **settings),
    ]


def test_a_counter_is_shared_with_copies_and_never_lost_in_a_pickle(endpoint) -> None:
    settings: dict[str, Any] = {**SETTINGS, "count_tokens": Counts()}
    for model in models(endpoint, **settings):
        for twin in (copy.copy(model), copy.deepcopy(model)):
            assert twin.count_tokens is settings["count_tokens"]
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(model)


def test_what_two_parts_of_a_deep_copy_share_they_still_share(endpoint) -> None:
    options = {"cut": True}
    for model in models(endpoint, extra_body={"options": options}):
        twin, copied = copy.deepcopy((model, options))
        assert twin.extra_body["options"] is copied is not options
        again = model.__deepcopy__()  # as some call it, without a memo
        assert again.extra_body == model.extra_body


def test_no_function_stands_in_the_way_of_a_schema() -> None:
    fields = TogetherEmbeddings.model_json_schema()["properties"]
    assert "on_long_input" in fields
    assert fields.keys() >= {"model", "chunk_size"}


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_warning_names_long_texts_by_their_places_among_equal_and_known_ones(
    endpoint, colour: str
) -> None:
    store = SimpleKVStore()
    model = TogetherEmbedding(
        "m", "k", endpoint.base_url, embeddings_cache=store, **SETTINGS
    )
    model.get_text_embedding("known")
    texts = ["known", "short", "short", "known", LONG, "short", f"{LONG} more"]

    def embed() -> None:
        if colour == "sync":
            model.get_text_embedding_batch(texts)
        else:
            asyncio.run(model.aget_text_embedding_batch(texts))

    with pytest.warns(LongInputWarning, match="split: inputs 4, 6$"):
        embed()


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_text_that_is_too_long_is_named_before_anything_is_sent(
    endpoint, colour: str
) -> None:
    settings = {"on_long_input": "error", "max_input_tokens": 20}
    prefixes = {"document_prefix": "a prefix of some six more words: "}
    model = TogetherEmbedding(
        "m", "k", endpoint.base_url, embed_batch_size=1, **settings, **prefixes
    )
    texts = [*(f"text {number}" for number in range(20)), "a b c d e f g h i j k l"]

    def embed() -> None:
        if colour == "sync":
            model.get_text_embedding_batch(texts)
        else:
            asyncio.run(model.aget_text_embedding_batch(texts))

    with pytest.raises(InputError) as caught:
        embed()
    assert caught.value.indices == (20,)
    assert endpoint.requests == 0


def test_a_text_that_comes_while_its_call_ends_is_no_failure(endpoint) -> None:
    model = TogetherEmbedding("m", "k", endpoint.base_url)
    error = AuthenticationError("no", status=401, indices=(0, 1))
    error.partial = Partial({0: [1.0]}, {1: error})
    Failing(model, ["b", "a", "b"], "text").hand_over(error, ["a", "b"], {}, {})
    assert error.results == {1: [1.0]}
    assert list(error.failures) == [0, 2]
