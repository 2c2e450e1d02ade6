"""What a call hands over that cannot be whole, and how it goes on."""

from __future__ import annotations

import asyncio
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    EmbeddingsError,
    InputError,
    LongInputWarning,
    UnprocessableError,
)
from together_embed.local import LocalEndpoint
from together_embed.partial import Partial


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-0123456789")


TEXTS = [f"text number {number}" for number in range(300)]
LONG = "far too long for this server " * 4


def with_long(*places: int) -> list[str]:
    return [LONG if n in places else text for n, text in enumerate(TEXTS)]


def test_one_refused_text_costs_few_requests_and_no_other_vector(colour) -> None:
    texts = with_long(142)
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        with pytest.raises(UnprocessableError) as raised:
            colour.embed(client, texts)
        error = raised.value
        assert error.indices == (142,)
        assert f"input 142 of {len(LONG)} characters" in str(error)
        assert LONG[:60] not in str(error)
        others = [n for n in range(300) if n != 142]
        assert error.results == {n: endpoint.embed(texts[n]) for n in others}
        assert list(error.failures) == [142]
        assert error.remaining == ()
        assert endpoint.requests <= 3 + 2 * math.ceil(math.log2(100))


@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_refused_text_is_found_in_a_clients_first_call_without_one_more(
    colour, place: int
) -> None:
    texts = with_long(place)[:100]
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        assert list(colour.embed(client, texts, on_error="return").failures) == [place]
        assert endpoint.requests <= 1 + 2 * math.ceil(math.log2(100))


def test_the_length_of_a_refused_text_is_without_its_prefix(colour) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, query_prefix="answer this: "
        )
        partial = colour.embed(client, ["short", LONG], role="query", on_error="return")
    assert partial.failures[1].length == len(LONG)


def test_refused_texts_of_several_batches_are_each_named(colour) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        with pytest.raises(UnprocessableError) as raised:
            colour.embed(client, with_long(101, 140, 255))
    assert list(raised.value.failures) == [101, 140, 255]  # once out, equal or not
    assert len(raised.value.results) == 297


def test_a_text_that_is_none_fails_and_the_others_remain(colour) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        partial = colour.embed(client, ["a", " ", "b"], on_error="return")
        assert partial.results == {}
        assert [type(error) for error in partial.failures.values()] == [InputError]
        assert list(partial.failures) == [1]
        assert partial.remaining == (0, 2)
        assert endpoint.requests == 0


@pytest.mark.parametrize("on_long", [None, "error", "truncate", "split"])
@pytest.mark.parametrize("blank", [False, True])
def test_a_stream_that_goes_on_yields_errors_in_the_place_of_what_is_no_text(
    on_long: Any, blank: bool
) -> None:
    def count(text: str) -> int:
        return len(text.encode().split())  # fails where a surrogate is handed to it

    texts = ["a", "", "b", " ", "  ", "\ud800", "c", "", "d"]
    refused = [5] if blank else [1, 3, 4, 5, 7]
    long: dict[str, Any] = {"on_long_input": on_long}
    if on_long is not None:
        long |= {"max_input_tokens": 3, "count_tokens": count}
        texts[0] = "one two three four five"
    with LocalEndpoint(dimension=8) as endpoint, warnings.catch_warnings():
        warnings.simplefilter("ignore", LongInputWarning)
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, allow_blank=blank, batch_size=9, **long
        )
        rows = dict(client.stream(texts, on_error="return"))
        (whole,) = client.embed_batches([texts], on_error="return")
        right = {n: endpoint.embed(text) for n, text in enumerate(texts) if n != 5}
    assert sorted(rows) == list(range(9))
    if on_long == "error":
        refused.insert(0, 0)
    told = [n for n, row in sorted(rows.items()) if isinstance(row, InputError)]
    assert told == refused
    assert [n for n, row in enumerate(whole) if isinstance(row, InputError)] == refused
    assert all(n in rows[n].indices for n in refused)
    assert "surrogate" in str(rows[5])
    assert all("surrogate" not in str(rows[n]) for n in refused if n != 5)
    for n in set(range(1, 9)) - {*refused}:
        assert rows[n] == whole[n] == right[n]


def test_a_call_may_return_what_there_is_instead_of_raising(colour) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        partial = colour.embed(client, with_long(120), on_error="return")
        assert isinstance(partial.failures[120], UnprocessableError)
        assert len(partial.results) == 299
        whole = colour.embed(client, TEXTS, on_error="return")
        assert whole.results == dict(enumerate(map(endpoint.embed, TEXTS)))
        assert not whole.failures


def test_what_is_whole_resumes_to_its_vectors_and_asks_for_nothing(colour) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        whole = colour.embed(client, TEXTS, on_error="return")
        assert endpoint.requests == 3
        assert colour.resume(whole) == [endpoint.embed(text) for text in TEXTS]
        assert endpoint.requests == 3


def test_a_wrong_key_ends_the_call_at_once_and_hands_over_what_was_done(
    colour,
) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        endpoint.script([None, 401])
        with pytest.raises(AuthenticationError) as raised:
            colour.embed(client, TEXTS)
        error = raised.value
        assert endpoint.requests == 2
        assert sorted(error.results) == list(range(100))
        assert sorted(error.failures) == list(range(100, 200))
        assert error.remaining == tuple(range(200, 300))


def test_a_call_is_resumed_where_it_stood(colour) -> None:
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        endpoint.script([None, 401])
        with pytest.raises(AuthenticationError) as raised:
            colour.embed(client, TEXTS)
        error = raised.value
        rows = colour.resume(error)
        assert rows == [endpoint.embed(text) for text in TEXTS]
        assert set(endpoint.seen.values()) == {1}


def test_a_call_goes_on_with_its_texts_whatever_became_of_the_list(colour) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        for kind in (list, set):
            texts = kind(TEXTS)
            expected = [endpoint.embed(text) for text in texts]
            endpoint.script([None, 401])
            with pytest.raises(AuthenticationError) as raised:
                colour.embed(client, texts)
            texts.clear()
            assert colour.resume(raised.value) == expected


def test_two_resumptions_at_once_mix_up_no_vectors(colour) -> None:
    rows = [[float(number)] for number in range(3)]
    asked: list[list[int]] = []

    def again(numbers: list[int]) -> list[list[float]]:
        asked.append(numbers)
        if len(asked) == 1:  # while this one is under way, another begins and ends
            with pytest.raises(UnprocessableError):
                partial.resume()
            return [rows[number] for number in numbers]
        error = UnprocessableError("no", status=422, indices=(1, 2))
        error.partial = Partial({0: rows[0]}, {1: error, 2: error})
        raise error

    async def aagain(numbers: list[int]) -> list[list[float]]:
        return again(numbers)

    partial = Partial({}, {}, (0, 1, 2), again, aagain)
    assert colour.resume(partial) == rows
    assert asked == [[0, 1, 2], [0, 1, 2]]
    assert (partial.failures, partial.remaining) == ({}, ())


def test_what_fails_again_is_named_by_its_place_in_the_first_call(colour) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        with pytest.raises(UnprocessableError) as raised:
            colour.embed(client, with_long(142))
        with pytest.raises(UnprocessableError) as again:
            colour.resume(raised.value)
        assert again.value.indices == (142,)
        assert len(again.value.results) == 299


def test_a_request_that_is_wrong_whatever_the_texts_ends_early(colour) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        endpoint.fail(400, times=None)
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, encoding_format="float"
        )
        with pytest.raises(BadRequestError):
            colour.embed(client, TEXTS * 3)
        assert endpoint.requests < 40


def test_an_error_with_its_results_pickles_and_says_that_it_cannot_resume() -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, api_key="canary")
        with pytest.raises(UnprocessableError) as raised:
            client.embed(with_long(142))
    data = pickle.dumps(raised.value)
    assert b"canary" not in data
    assert b"text number 7" not in data
    copy = pickle.loads(data)
    assert copy.results == raised.value.results
    with pytest.raises(ConfigurationError, match="no client"):
        copy.resume()


def test_a_stream_of_arrays_yields_errors_in_the_place_of_texts() -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        texts = with_long(0, 142, 299)
        rows = dict.fromkeys(range(300))
        for start, piece in client.stream_arrays(texts, on_error="return"):
            if isinstance(piece, EmbeddingsError):
                rows[start] = type(piece)
            else:
                rows.update(enumerate(piece.tolist(), start))
    expected = [
        UnprocessableError if text is LONG else endpoint.embed(text) for text in texts
    ]
    assert list(rows.values()) == expected


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_yields_errors_in_the_place_of_vectors(colour, ordered: bool) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        texts = with_long(0, 142, 299)
        how: dict[str, Any] = {"ordered": ordered, "on_error": "return"}

        async def streamed() -> list[Any]:
            async with client:
                return [pair async for pair in client.astream(texts, **how)]

        if colour.name == "async":
            pairs = asyncio.run(streamed())
        else:
            pairs = list(client.stream(texts, **how))
    assert sorted(number for number, _ in pairs) == list(range(300))
    found = dict(pairs)
    failed = [n for n, one in found.items() if isinstance(one, UnprocessableError)]
    assert sorted(failed) == [0, 142, 299]
    others = {n: row for n, row in found.items() if n not in failed}
    assert others == {n: endpoint.embed(texts[n]) for n in others}


def test_a_call_for_an_array_may_return_what_there_is(colour) -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)

        def embed(texts: list[str]) -> Partial:
            if colour.name == "async":
                return asyncio.run(client.aembed_array(texts, on_error="return"))
            return client.embed_array(texts, on_error="return")

        partial, whole = embed(with_long(7)), embed(TEXTS)
    assert list(partial.failures) == [7]
    assert sorted(partial.results) == [n for n in range(300) if n != 7]
    assert np.array_equal(partial.results[8], np.float32(endpoint.embed(TEXTS[8])))
    assert len(whole.results) == 300
    assert not whole.failures


def test_a_call_for_an_array_goes_on_with_rows_of_arrays(colour) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, max_concurrency=1)
        endpoint.script([None, 401])
        with pytest.raises(AuthenticationError) as raised:
            client.embed_array(TEXTS)
        rows = colour.resume(raised.value)
        assert {type(row) for row in rows} == {np.ndarray}
        assert np.array_equal(rows, client.embed_array(TEXTS))


def test_a_word_for_errors_that_is_none_is_refused(colour) -> None:
    client = EmbeddingsClient("m", base_url="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="on_error is 'ignore'"):
        colour.embed(client, ["a"], on_error="ignore")
    with pytest.raises(ConfigurationError, match="on_error is 'ignore'"):
        next(client.stream_arrays(["a"], on_error="ignore"))  # type: ignore[call-overload]


def test_no_vector_is_made_up_for_a_text_that_failed() -> None:
    with LocalEndpoint(dimension=8, max_chars=60) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url)
        partial = client.embed([LONG], on_error="return")
    assert partial.results == {}
