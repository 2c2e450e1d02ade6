"""Every setting comes along in pickles, copies and dumps of both adapters.

A new setting of the client makes the first test fail until it has a value here.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import EmbeddingsClient


def words(text: str) -> int:
    return len(text.split())


VALUES: dict[str, Any] = {
    "model": "another",
    "api_key": "k",
    "base_url": "http://127.0.0.1:9/v1",
    "batch_size": 7,
    "timeout": (1.0, 2.0),
    "deadline": 30.0,
    "max_retries": 3,
    "max_concurrency": 5,
    "requests_per_second": 10.0,
    "tokens_per_minute": 1000.0,
    "dimensions": 8,
    "cut_to": 4,
    "normalize": True,
    "encoding_format": "float",
    "headers": {"X-Team": "search"},
    "query": {"a": "b"},
    "extra_body": {"truncate": True},
    "query_prefix": "query: ",
    "document_prefix": "passage: ",
    "on_long_input": "truncate",
    "max_input_tokens": 100,
    "count_tokens": words,
    "cache": "vectors.sqlite",
    "max_cache_bytes": 5_000_000,
    "on_drift": "error",
    "canary": False,
    "allow_insecure_http": True,
    "hedge": 0.05,
    "compression": "gzip",
    "allow_blank": True,
    "on_batch": print,
}
"""A value for each setting of the client that is not its default."""
ELSEWHERE = {"max_batch_bytes", "instructions", "tokenizer"}
"""The first is in no adapter, the other two exclude others of these."""
NAMES = {
    TogetherEmbeddings: {
        "api_key": "together_api_key",
        "base_url": "together_api_base",
        "batch_size": "chunk_size",
        "timeout": "request_timeout",
        "headers": "default_headers",
        "query": "default_query",
        "allow_blank": "skip_empty",
    },
    TogetherEmbedding: {
        "model": "model_name",
        "base_url": "api_base",
        "batch_size": "embed_batch_size",
        "headers": "default_headers",
        "query": "default_query",
    },
}
"""What the adapters call a setting, where they have another word."""


@pytest.fixture(params=[TogetherEmbeddings, TogetherEmbedding])
def model(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> Any:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    monkeypatch.chdir(tmp_path)
    names: dict[str, str] = NAMES[request.param]
    given = {names.get(name, name): value for name, value in VALUES.items()}
    return request.param(**given)


def settings(model: Any, *but: str) -> dict[str, Any]:
    found = {**vars(model.client.settings)}
    return {name: found[name] for name in found.keys() - {"key", *but}}


def test_every_setting_has_a_value_here() -> None:
    named = {*VALUES, *ELSEWHERE}
    parameters = inspect.signature(EmbeddingsClient).parameters
    assert named == parameters.keys()
    assert not [n for n in VALUES if VALUES[n] == parameters[n].default]


def test_every_value_reaches_the_client(model: Any) -> None:
    made_of = model._settings()
    expected = {**VALUES, "api_key": made_of["api_key"]}
    assert {name: made_of[name] for name in expected} == expected
    assert {"instructions", "tokenizer"} <= made_of.keys()


def test_a_pickle_keeps_all_but_key_and_hook(model: Any) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert settings(again, "on_batch") == settings(model, "on_batch")
    assert again.client.settings.on_batch is None


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda m: m.model_copy(),
        lambda m: m.model_copy(deep=1),
    ],
    ids=["copy", "deepcopy", "model_copy", "model_copy, deep"],
)
def test_a_copy_keeps_all(model: Any, copied: Any) -> None:
    assert settings(copied(model)) == settings(model)


def test_a_dump_keeps_what_decides_on_vectors(model: Any) -> None:
    if isinstance(model, TogetherEmbeddings):
        again: Any = TogetherEmbeddings(**model.model_dump(), count_tokens=words)
        assert settings(again, "on_batch") == settings(model, "on_batch")
    else:
        # The query is in no dump of LlamaIndex's, as it may hold a secret.
        left_out = {"default_query": VALUES["query"], "count_tokens": words}
        again = TogetherEmbedding.from_dict({**model.to_dict(), **left_out})
    for role in ("query", "document"):
        assert again.client.namespace(role) == model.client.namespace(role)


@pytest.mark.parametrize("name", ["~/vectors.db", Path("~/vectors.db")])
def test_a_file_may_be_named_by_text_or_path_and_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    there = {"base_url": "http://127.0.0.1:9", "cache": name}
    langchain = TogetherEmbeddings(**there)
    llama_index = TogetherEmbedding("m", **there)
    for client in (
        EmbeddingsClient("m", **there),
        langchain.client,
        llama_index.client,
    ):
        assert client.settings.cache == str(tmp_path / "vectors.db")
    assert langchain.model_dump()["cache"] == str(name)
