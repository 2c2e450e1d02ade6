"""A call that cannot be whole hands over what it has, on each of the six ways."""

from __future__ import annotations

import asyncio
import pickle
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from together_embed import EmbeddingsClient, errors
from together_embed.local import LocalEndpoint

from .ways import WAYS, Rows, Way

TEXTS = [f"text {n}" for n in range(60)]
LONG = "far too long for this server " * 4


@pytest.fixture
def endpoint() -> Any:
    with LocalEndpoint(dimension=8, max_chars=60, remember_texts=True) as running:
        yield running


def resumed(way: Way, error: errors.EmbeddingsError) -> Rows:
    if way.name.endswith("async"):
        return asyncio.run(error.aresume())
    return error.resume()


def rows(endpoint: LocalEndpoint, texts: list[str]) -> Rows:
    return [endpoint.embed(text) for text in texts]


def test_a_refused_text_is_named_with_its_length_and_all_others_are_there(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    texts = [*TEXTS[:23], LONG, *TEXTS[23:], TEXTS[3], TEXTS[3]]
    model = make(way, endpoint.base_url, batch_size=20, max_concurrency=1)
    with pytest.raises(errors.UnprocessableError, match="input 23 of 116") as raised:
        way.embed(model, texts)
    error = raised.value
    assert error.indices == (23,)
    assert LONG[:50] not in str(error)
    assert error.results == {
        n: endpoint.embed(text) for n, text in enumerate(texts) if n != 23
    }
    assert error.failures == {23: error}
    assert error.remaining == ()
    assert endpoint.requests <= 4 + 2 * ceil(log2(20))
    one, other, last = (error.results[n] for n in (3, 61, 62))
    assert one is not other
    assert other is not last


def test_a_text_that_is_refused_several_times_is_named_at_each_of_its_places(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    texts = ["a", LONG, "b", "a", "c", LONG, f"{LONG}!", "d"]
    model = make(way, endpoint.base_url, batch_size=2)
    with pytest.raises(errors.UnprocessableError) as raised:
        way.embed(model, texts)
    failures = raised.value.failures
    assert list(failures) == [1, 5, 6]
    # A batch of LlamaIndex's knows of the texts that came before, and so does a call.
    assert [failures[n].indices for n in (1, 5, 6)] == [(1, 5), (1, 5), (6,)]
    assert list(raised.value.results) == [0, 2, 3, 4, 7]


def test_a_fatal_error_hands_over_what_was_done_and_the_call_goes_on_where_it_stood(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    texts = [*TEXTS, TEXTS[5]]
    model = make(way, endpoint.base_url, batch_size=20, max_concurrency=1)
    endpoint.script([None, 402])
    with pytest.raises(errors.PaymentRequiredError) as raised:
        way.embed(model, texts)
    error = raised.value
    assert endpoint.requests == 2
    done = [*range(20), 60]
    assert error.results == {n: endpoint.embed(texts[n]) for n in done}
    assert sorted(error.failures) == list(range(20, 40))
    assert error.remaining == tuple(range(40, 60))
    assert resumed(way, error) == rows(endpoint, texts)
    assert set(endpoint.seen.values()) == {1}


def test_what_fails_again_is_named_by_its_place_in_the_first_call(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    texts = [*TEXTS[:30], LONG, *TEXTS[30:]]
    model = make(way, endpoint.base_url, batch_size=20, max_concurrency=1)
    endpoint.script([None, 401, 401])
    with pytest.raises(errors.AuthenticationError) as raised:
        way.embed(model, texts)
    for kind in (errors.AuthenticationError, errors.UnprocessableError):
        with pytest.raises(kind) as again:
            resumed(way, raised.value)
    assert again.value.indices == (30,)
    assert list(again.value.failures) == [30]
    assert sorted(again.value.results) == [n for n in range(61) if n != 30]
    copy = pickle.loads(pickle.dumps(again.value))
    assert copy.results == again.value.results
    with pytest.raises(errors.ConfigurationError, match="no client"):
        copy.resume()


def test_a_text_that_is_none_leaves_the_others_for_another_call(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    model = make(way, endpoint.base_url)
    with pytest.raises(errors.InputError) as raised:
        way.embed(model, ["a", " ", "b"])
    assert list(raised.value.failures) == [1]
    assert raised.value.remaining == (0, 2)
    assert raised.value.results == {}
    assert endpoint.requests == 0


@pytest.mark.parametrize("way", WAYS[2:], ids=lambda way: way.name)
def test_a_question_that_failed_is_asked_again(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    method = way.method.replace("documents", "query")
    method = method.replace("text_embedding_batch", "query_embedding")
    model = make(way, endpoint.base_url, query_prefix="q: ")
    endpoint.fail(401)
    asked = getattr(model, method)
    with pytest.raises(errors.AuthenticationError) as raised:
        asyncio.run(asked("who?")) if way.name.endswith("async") else asked("who?")
    assert list(raised.value.failures) == [0]
    assert resumed(way, raised.value) == rows(endpoint, ["q: who?"])


@pytest.mark.parametrize("way", WAYS[4:], ids=lambda way: way.name)
def test_what_a_cache_of_llama_index_knew_is_handed_over_too(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    model = make(
        way,
        endpoint.base_url,
        batch_size=10,
        max_concurrency=1,
        embeddings_cache=SimpleKVStore(),
    )
    way.embed(model, TEXTS[5:15])
    endpoint.script([None, 401])
    with pytest.raises(errors.AuthenticationError) as raised:
        way.embed(model, TEXTS)
    error = raised.value
    known = [n for n in range(60) if n in error.results]
    assert set(range(5, 15)) < set(known)
    assert error.results == {n: endpoint.embed(TEXTS[n]) for n in known}
    assert sorted([*known, *error.failures, *error.remaining]) == list(range(60))
    assert error.indices == tuple(error.failures)
    assert resumed(way, error) == rows(endpoint, TEXTS)
    assert set(endpoint.seen.values()) == {1}


@pytest.mark.parametrize("way", WAYS[4:], ids=lambda way: way.name)
def test_a_subclass_with_a_method_of_its_own_hands_over_and_goes_on_too(
    way: Way, endpoint: LocalEndpoint
) -> None:
    class Shouting(way.made):  # type: ignore[misc,name-defined]
        def _get_text_embeddings(self, texts: list[str]) -> Rows:
            return super()._get_text_embeddings([text.upper() for text in texts])  # type: ignore[no-any-return]

        async def _aget_text_embeddings(self, texts: list[str]) -> Rows:
            return await super()._aget_text_embeddings(  # type: ignore[no-any-return]
                [text.upper() for text in texts]
            )

    model = Shouting("m", "a-key", endpoint.base_url, embed_batch_size=20)
    texts = [*TEXTS[:33], LONG, *TEXTS[33:]]
    with pytest.raises(errors.UnprocessableError) as raised:
        way.embed(model, texts)
    error = raised.value
    assert list(error.failures) == [33]
    assert list(error.results) == [n for n in range(40) if n != 33]
    assert error.remaining == tuple(range(40, 61))
    with pytest.raises(errors.UnprocessableError) as again:
        resumed(way, error)
    assert again.value.indices == (33,)
    way.close(model)


def test_a_stream_that_breaks_hands_over_what_it_has_not_yielded(
    make: Any, endpoint: LocalEndpoint
) -> None:
    batches = [TEXTS[:20], TEXTS[20:40], TEXTS[40:]]
    client: EmbeddingsClient = make(WAYS[0], endpoint.base_url, max_concurrency=1)
    endpoint.script([None, 402])
    found: Rows = []
    stream = client.embed_batches(batches)
    with pytest.raises(errors.PaymentRequiredError) as raised:
        found.extend(row for part in stream for row in part)
    error = raised.value
    assert found == rows(endpoint, TEXTS[:20])
    assert error.results == {}
    assert list(error.failures) == list(range(20, 40))
    assert error.remaining == tuple(range(40, 60))
    with pytest.raises(errors.ConfigurationError, match="comes of a stream"):
        error.resume()


def test_batches_may_yield_errors_in_the_place_of_vectors(
    make: Any, endpoint: LocalEndpoint
) -> None:
    client: EmbeddingsClient = make(WAYS[0], endpoint.base_url)
    batches = [["a", LONG, "b", LONG], [], [LONG], ["a", "c"]]

    async def alike() -> list[Any]:
        run = client.aembed_batches(batches, on_error="return")
        return [part async for part in run]

    for found in (
        list(client.embed_batches(batches, on_error="return")),
        asyncio.run(alike()),
    ):
        wrong = errors.UnprocessableError
        told = [
            [row if isinstance(row, list) else type(row) for row in part]
            for part in found
        ]
        a, b, c = rows(endpoint, ["a", "b", "c"])
        assert told == [[a, wrong, b, wrong], [], [wrong], [a, c]]


def test_of_another_model_nothing_is_handed_over_and_to_go_on_says_so_again(
    way: Way, make: Any, tmp_path: Path
) -> None:
    told = {"cache": str(tmp_path / "vectors.db"), "batch_size": 5}
    with LocalEndpoint(dimension=8) as endpoint:
        url, port = endpoint.base_url, endpoint.port
        model = make(way, url, **told)
        known = way.embed(model, TEXTS[:10])
        way.close(model)
    with LocalEndpoint(dimension=8, port=port, answer_model="another") as endpoint:
        model = make(way, url, on_drift="error", canary=False, **told)
        with pytest.raises(errors.ModelDriftError, match="'another'") as raised:
            way.embed(model, TEXTS)
        with pytest.raises(errors.ModelDriftError, match="'another'") as again:
            resumed(way, raised.value)
        for error in (raised.value, again.value):
            assert error.results == {}
            assert list(error.failures) == list(range(60))
        assert way.embed(model, TEXTS[:10]) == known
        lenient = make(way, url, **told)
        with pytest.warns(errors.ModelDriftWarning, match="'another'"):
            assert way.embed(lenient, TEXTS) == rows(endpoint, TEXTS)


def test_where_errors_are_returned_another_model_is_told_of_as_well(
    make: Any, tmp_path: Path
) -> None:
    told = {"cache": str(tmp_path / "vectors.db"), "on_drift": "error"}
    with LocalEndpoint(dimension=8) as endpoint:
        url, port = endpoint.base_url, endpoint.port
        make(WAYS[0], url, **told).embed(TEXTS[:1])
    with LocalEndpoint(dimension=9, port=port):
        client: EmbeddingsClient = make(WAYS[0], url, **told)
        partial = client.embed(TEXTS[:3], on_error="return")
        assert partial.results == {}
        assert {type(e) for e in partial.failures.values()} == {errors.ModelDriftError}
        with pytest.raises(errors.ModelDriftError) as raised:
            list(client.embed_batches([TEXTS[:3]]))
        assert raised.value.results == {}
