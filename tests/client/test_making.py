"""Adapters make their clients under a lock that a forked child does not inherit."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import making

MODELS: dict[str, Any] = {
    "LangChain": TogetherEmbeddings(api_key="k"),
    "LlamaIndex": TogetherEmbedding("m", "k"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_child_forked_while_a_client_was_made_makes_its_own(name: str) -> None:
    model = MODELS[name].model_copy()
    model.deadline = 5.0  # so that a client has to be made
    child = multiprocessing.get_context("fork").Process(target=lambda: model.client)
    with making.lock(), warnings.catch_warnings():
        # Python 3.12 and later: other threads are no part of what the child uses.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded")
        child.start()
    child.join(20)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0


@pytest.mark.parametrize(
    ("name", "other"),
    [("LangChain", "show_progress_bar"), ("LlamaIndex", "num_workers")],
)
def test_a_client_stays_the_same_until_a_field_of_its_own_changes(
    name: str, other: str
) -> None:
    model = MODELS[name].model_copy()
    client = model.client
    setattr(model, other, 1)
    assert model.client is client
    model.default_headers = {"X-Team": "one"}
    assert model.client.settings.headers == {"X-Team": "one"}
    model.default_headers["X-Team"] = "two"  # in the user's own mapping
    assert model.client.settings.headers == {"X-Team": "two"}
    assert model.client is model.client is not client
