"""`stats`, `last_stats` and the hook, through the client and both adapters."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from tests.conftest import KEY, Colour
from together_embed import BatchStats, EmbeddingsClient, EmbeddingsError
from together_embed.errors import AuthenticationError
from together_embed.local import Fault, LocalEndpoint


def test_a_client_adds_up_its_calls_and_tells_of_the_last(
    make_client: Any, colour: Colour
) -> None:
    client = make_client(batch_size=2)
    assert client.last_stats is None
    colour.embed(client, ["a", "b", "c"])
    colour.embed(client, ["d", "d"])
    assert (client.stats.calls, client.stats.requests, client.stats.texts) == (2, 3, 5)
    last = client.last_stats
    assert (last.calls, last.requests, last.texts, last.duplicates) == (1, 1, 2, 1)
    assert client.stats.seconds > last.seconds > 0
    assert client.stats.received_bytes > last.received_bytes > 0


def test_a_call_that_failed_is_the_last_too(
    endpoint: LocalEndpoint, make_client: Any, colour: Colour
) -> None:
    client = make_client()
    endpoint.fail(Fault("status", 401))
    with pytest.raises(AuthenticationError):
        colour.embed(client, ["a"])
    assert client.last_stats.failures == {"401": 1}
    assert client.last_stats.texts == 0


def test_the_hook_gets_each_batch_in_the_thread_of_the_call(
    make_client: Any, colour: Colour
) -> None:
    told: list[tuple[int, BatchStats]] = []
    before = time.time()
    client = make_client(
        batch_size=2,
        on_batch=lambda batch: told.append((threading.get_ident(), batch)),
    )
    colour.embed(client, ["a", "b", "c"])
    assert {thread for thread, _ in told} == {threading.get_ident()}
    batches = [batch for _, batch in told]
    assert sorted(batch.texts for batch in batches) == [1, 2]
    for batch in batches:
        assert before - 1 < batch.started_at < time.time() + 1
        assert (batch.status, batch.width, batch.model) == (200, 8, "m")
        with pytest.raises(FrozenInstanceError):
            batch.texts = 0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(batches)) == batches


def test_a_hook_that_raises_warns_and_costs_no_vector(
    make_client: Any, colour: Colour, right: Any
) -> None:
    def broken(batch: BatchStats) -> None:
        raise KeyError("no such metric")

    client = make_client(on_batch=broken)
    with pytest.warns(RuntimeWarning, match="on_batch raised KeyError"):
        rows = colour.embed(client, ["a", "b"])
    assert rows == right(["a", "b"])
    assert client.stats.texts == 2


def test_a_hook_survives_copies_and_not_pickles(make_client: Any) -> None:
    told: list[BatchStats] = []
    client = make_client(on_batch=told.append)
    for twin in (copy.copy(client), copy.deepcopy(client)):
        with twin:
            twin.embed(["a"])
    assert len(told) == 2
    assert pickle.loads(pickle.dumps(client)).settings.on_batch is None


def test_a_hook_that_is_no_function_is_refused() -> None:
    with pytest.raises(ValueError, match="on_batch"):
        EmbeddingsClient("m", base_url="http://127.0.0.1:1", on_batch=3)  # type: ignore[arg-type]


def test_what_is_told_shows_neither_key_nor_text(
    endpoint: LocalEndpoint, make_client: Any
) -> None:
    text = "a text that nobody but its owner should read"
    told: list[BatchStats] = []
    client = make_client(on_batch=told.append, encoding_format="float")
    endpoint.fail(Fault("status", 400, message=f"{KEY} cannot have {text}"))
    with pytest.raises(EmbeddingsError):
        client.embed([text])
    shown = f"{told} {client.stats} {client.last_stats}"
    assert "cannot have" in shown
    assert KEY not in shown
    assert text not in shown


def test_both_adapters_pass_the_hook_on_and_pickle_without_it(
    endpoint: LocalEndpoint,
) -> None:
    told: list[BatchStats] = []
    chain: Any = TogetherEmbeddings(
        model="m", base_url=endpoint.base_url, api_key=KEY, on_batch=told.append
    )
    index: Any = TogetherEmbedding(
        "m", api_base=endpoint.base_url, api_key=KEY, on_batch=told.append
    )
    for model in (chain, copy.deepcopy(chain), index, copy.deepcopy(index)):
        with model.client as client:
            client.embed(["a"])
    assert len(told) == 4
    assert pickle.loads(pickle.dumps(chain)).on_batch is None
    assert pickle.loads(pickle.dumps(index)).on_batch is None
    assert "on_batch" not in chain.model_dump()
    assert "on_batch" not in index.to_dict()
