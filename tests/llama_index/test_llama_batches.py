"""Texts in, vectors out: how many requests, in which order, and what bad input gets."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import (
    AuthenticationError,
    InputError,
    InvalidResponseError,
)
from together_embed.local import LocalEndpoint
from together_embed.local.faults import EVERY_WAY, Fault


def embed(model: TogetherEmbedding, colour: str, texts: Any, **kwargs: Any) -> Any:
    """Embed a list in the one way or the other."""
    if colour == "sync":
        return model.get_text_embedding_batch(texts, **kwargs)
    return asyncio.run(model.aget_text_embedding_batch(texts, **kwargs))


both = pytest.mark.parametrize("colour", ["sync", "async"])


@both
def test_every_text_gets_its_own_vector_in_order(make, texts, vectors, colour):
    assert embed(make(embed_batch_size=10), colour, texts) == vectors


def test_one_text_gets_its_vector_on_each_way(make, endpoint):
    model, vector = make(), endpoint.embed("wind")
    assert model.get_text_embedding("wind") == vector
    assert model.get_query_embedding("wind") == vector
    assert model._get_text_embeddings(["wind"]) == [vector]
    assert asyncio.run(model.aget_text_embedding("wind")) == vector
    assert asyncio.run(model.aget_query_embedding("wind")) == vector
    assert asyncio.run(model._aget_text_embeddings(["wind"])) == [vector]
    assert model.get_agg_embedding_from_queries(["wind", "wind"]) == vector
    assert endpoint.requests == 8


def test_each_way_puts_the_prefix_of_its_role_in_front(make, endpoint):
    model = make(query_prefix="query: ", document_prefix="passage: ")
    query, passage = endpoint.embed("query: wind"), endpoint.embed("passage: wind")
    assert model.get_query_embedding("wind") == query
    assert asyncio.run(model.aget_query_embedding("wind")) == query
    assert model.get_text_embedding("wind") == passage
    assert asyncio.run(model.aget_text_embedding("wind")) == passage
    assert model.get_text_embedding_batch(["wind"]) == [passage]
    assert asyncio.run(model.aget_text_embedding_batch(["wind"])) == [passage]
    assert model._get_text_embeddings(["wind"]) == [passage]  # what subclasses call
    assert asyncio.run(model._aget_text_embeddings(["wind"])) == [passage]


def test_vectors_are_plain_lists_of_floats(make, texts):
    for row in make().get_text_embedding_batch(texts[:3]):
        assert type(row) is list
        assert {type(number) for number in row} == {float}


@both
@pytest.mark.parametrize("size", [10, 100])
def test_many_batches_are_in_flight_at_any_batch_size(colour, size):
    with LocalEndpoint(dimension=8, delay=0.1) as endpoint:
        model = TogetherEmbedding(
            "m", api_base=endpoint.base_url, embed_batch_size=size
        )
        embed(model, colour, [f"text {number}" for number in range(12 * size)])
        assert endpoint.requests == 12
        assert endpoint.in_flight_max >= 5


@both
def test_the_user_bounds_what_is_in_flight(make, endpoint, texts, colour):
    endpoint.slow(0.02)
    embed(make(embed_batch_size=10, max_concurrency=3), colour, texts)
    assert endpoint.in_flight_max == 3


def test_num_workers_bounds_the_batches_of_an_async_call(make, endpoint, texts):
    endpoint.slow(0.02)
    model = make(embed_batch_size=10, num_workers=2)
    asyncio.run(model.aget_text_embedding_batch(texts))
    assert endpoint.in_flight_max == 2
    assert endpoint.requests == 25


def test_the_bound_holds_across_calls_that_are_made_at_once(make, endpoint, texts):
    endpoint.slow(0.02)
    model = make(embed_batch_size=10, max_concurrency=3)

    async def calls() -> None:
        parts = (texts[:100], texts[100:200], texts[200:])
        await asyncio.gather(*map(model.aget_text_embedding_batch, parts))

    asyncio.run(calls())
    assert endpoint.in_flight_max == 3


def test_a_longer_list_is_cut_where_llama_index_does_not_cut_it(
    make, endpoint, texts, vectors
):
    model = make(embed_batch_size=100)
    assert model._get_text_embeddings(texts) == vectors
    assert asyncio.run(model._aget_text_embeddings(texts)) == vectors
    assert sorted(entry.texts for entry in endpoint.log) == [50, 50] + [100] * 4


def test_a_list_of_a_batchs_size_is_one_request(make, endpoint, texts):
    model = make(embed_batch_size=250)
    model._get_text_embeddings(texts)
    assert endpoint.requests == 1
    asyncio.run(model._aget_text_embeddings(texts))
    assert endpoint.requests == 2


@both
def test_equal_texts_of_a_call_go_out_once(make, endpoint, texts, vectors, colour):
    rows = embed(make(embed_batch_size=100), colour, texts * 2)
    assert rows == vectors * 2
    assert set(endpoint.seen.values()) == {1}
    assert len({id(row) for row in rows}) == len(rows)


@both
def test_an_empty_list_asks_nothing(make, endpoint, colour):
    assert embed(make(), colour, []) == []
    assert endpoint.connections == 0


@both
def test_a_blank_text_is_left_to_the_server_where_that_is_asked_for(
    make, endpoint, colour
):
    rows = embed(make(allow_blank=True), colour, ["wind", "", " \n"])
    assert rows == [endpoint.embed(text) for text in ("wind", "", " \n")]


@both
@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("", InputError, "input 240"),
        (" \n", InputError, "input 240"),
        ("\ud800", InputError, "input 240"),
        (7, TypeError, r"texts\[240\] is a int"),
    ],
)
def test_a_bad_text_is_named_before_anything_is_sent(
    make, endpoint, texts, colour, bad, error, words
):
    texts[240] = bad
    with pytest.raises(error, match=words):
        embed(make(embed_batch_size=10), colour, texts)
    assert endpoint.requests == 0


@both
def test_a_bare_string_is_no_list(make, endpoint, colour):
    with pytest.raises(TypeError, match="bare str"):
        embed(make(), colour, "wind")
    assert endpoint.requests == 0


@both
def test_a_failure_names_the_texts_by_their_place_in_the_call(
    make, endpoint, texts, colour
):
    model = make(embed_batch_size=100, max_concurrency=1)
    endpoint.script([None, 401])
    # The text that comes twice is asked for once: places and questions differ.
    with pytest.raises(AuthenticationError) as caught:
        embed(model, colour, [texts[0], *texts])
    assert caught.value.indices == tuple(range(100, 200))


@both
def test_the_first_fatal_answer_ends_the_call(colour):
    with LocalEndpoint(api_key="another") as endpoint:
        model = TogetherEmbedding(
            "m", "wrong", endpoint.base_url, embed_batch_size=1, max_concurrency=1
        )
        with pytest.raises(AuthenticationError):
            embed(model, colour, [f"text {number}" for number in range(500)])
        assert endpoint.requests == 1


@both
def test_a_short_answer_is_never_paired_with_the_wrong_texts(
    make, endpoint, texts, colour
):
    endpoint.fail("short", times=None)
    with pytest.raises(InvalidResponseError, match="rows for"):
        embed(make(max_retries=1), colour, texts)


@both
def test_ten_thousand_texts_come_home_in_order_through_every_fault(colour):
    texts = [f"passage {number} of many" for number in range(10_000)]
    with LocalEndpoint(dimension=8) as endpoint:
        # Nine answers of ten are shuffled, the tenth fails, each time in another way.
        reordered = [Fault("reorder")] * 9
        endpoint.fail_every(1, [f for way in EVERY_WAY for f in (*reordered, way)])
        model = TogetherEmbedding("m", api_base=endpoint.base_url, embed_batch_size=34)
        rows = embed(model, colour, texts)
        assert rows == [endpoint.embed(text) for text in texts]
        assert endpoint.failed >= 25
        assert endpoint.requests == 295 + endpoint.failed
        assert endpoint.texts == 10_000


@both
def test_a_progress_bar_counts_the_texts(make, texts, vectors, capsys, colour):
    rows = embed(make(embed_batch_size=10), colour, texts, show_progress=True)
    assert rows == vectors
    shown = capsys.readouterr().err
    assert "Generating embeddings" in shown
    assert "250/250" in shown


@both
def test_no_bar_is_shown_unasked(make, texts, capsys, colour):
    embed(make(), colour, texts)
    assert capsys.readouterr().err == ""


class Prefixed(TogetherEmbedding):
    """What users of E5 models write."""

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return super()._get_text_embeddings([f"passage: {text}" for text in texts])

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        prefixed = [f"passage: {text}" for text in texts]
        return await super()._aget_text_embeddings(prefixed)


@both
def test_a_subclass_that_adds_a_prefix_is_obeyed(endpoint, texts, colour):
    model = Prefixed("m", api_base=endpoint.base_url, embed_batch_size=100)
    rows = embed(model, colour, texts)
    assert rows == [endpoint.embed(f"passage: {text}") for text in texts]


@both
def test_what_stands_in_for_a_method_is_asked(make, endpoint, colour):
    method = "_aget_text_embeddings" if colour == "async" else "_get_text_embeddings"
    with patch.object(TogetherEmbedding, method, return_value=[[1.0]]):
        assert embed(make(), colour, ["wind"]) == [[1.0]]
    assert endpoint.requests == 0
    assert embed(make(), colour, ["wind"]) == [endpoint.embed("wind")]


@both
def test_a_failure_in_a_subclass_names_the_right_texts_too(endpoint, texts, colour):
    model = Prefixed("m", api_base=endpoint.base_url, embed_batch_size=100)
    endpoint.script([None, None, 401])
    with pytest.raises(Exception, match="inputs 200 to 249"):
        embed(model, colour, texts)


class Losing(TogetherEmbedding):
    """What a subclass can get wrong."""

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return super()._get_text_embeddings(texts)[1:]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return (await super()._aget_text_embeddings(texts))[1:]


@both
def test_a_subclass_that_loses_a_vector_is_told(endpoint, colour):
    model = Losing("m", api_base=endpoint.base_url)
    with pytest.raises(ValueError, match="shorter"):
        embed(model, colour, ["wind", "water"])
