"""What comes back, whatever the server does and wherever the call is made."""

import asyncio
import multiprocessing
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from together_embed import EmbeddingsClient
from together_embed.errors import (
    InputError,
    InvalidResponseError,
    RateLimitError,
    UnprocessableError,
)
from together_embed.local import LocalEndpoint
from together_embed.local.faults import EVERY_WAY


def passages(count: int) -> list[str]:
    return [f"passage {number} tells of wind and water" for number in range(count)]


async def test_a_corpus_comes_in_batches_with_many_in_flight(embed):
    texts = passages(1000)
    with LocalEndpoint(dimension=8, delay=0.1) as slow:
        rows = await embed(TogetherEmbeddings(base_url=slow.base_url), texts)
        assert rows == [slow.embed(text) for text in texts]
        assert slow.requests == 10
        assert slow.in_flight_max > 1


async def test_equal_texts_go_out_once_and_come_back_apart(make, endpoint, embed):
    rows = await embed(make(), ["a", "b", "a"])
    assert rows == [endpoint.embed(text) for text in "aba"]
    assert rows[0] is not rows[2]
    assert endpoint.seen == {"a": 1, "b": 1}


async def test_rows_are_lists_of_floats_even_where_the_server_sends_integers(
    make, endpoint, embed
):
    endpoint.fail("integers")
    (row,) = await embed(make(encoding_format="float"), ["a"])
    assert type(row) is list
    assert {type(number) for number in row} == {float}


async def test_an_answer_in_another_order_is_put_right(
    make, endpoint, embed, texts, vectors
):
    endpoint.fail("reorder", times=None)
    assert await embed(make(), texts) == vectors


async def test_a_missing_vector_is_an_error_and_never_a_shorter_list(
    make, endpoint, embed, texts
):
    endpoint.fail("short", times=None)
    with pytest.raises(InvalidResponseError):
        await embed(make(max_retries=1), texts)


async def test_refusals_without_end_come_to_an_end(make, endpoint, embed):
    endpoint.fail(429, times=None, headers={"Retry-After": "0.01"})
    with pytest.raises(RateLimitError) as raised:
        await embed(make(max_retries=2), ["a"])
    assert len(raised.value.attempts) == 3
    assert endpoint.requests < 20  # early looks whether the limit is gone are few


async def test_ten_thousand_texts_come_back_right_from_a_server_that_fails_in_every_way(
    embed,
):
    texts = passages(10_000)
    with LocalEndpoint(dimension=4) as bad:
        bad.fail_every(10, EVERY_WAY)
        model = TogetherEmbeddings(base_url=bad.base_url, chunk_size=25)
        rows = await embed(model, texts)
        assert rows == [bad.embed(text) for text in texts]
        met = {entry.fault for entry in bad.log}
        assert met >= {fault.kind for fault in EVERY_WAY}
        assert bad.requests - bad.failed == 400


async def test_a_query_is_a_document_unless_prefixes_tell_them_apart(
    make, endpoint, embed
):
    for query, document in (("", ""), ("query: ", "passage: ")):
        model = make(query_prefix=query, document_prefix=document)
        assert model.embed_query("wind") == endpoint.embed(f"{query}wind")
        assert await model.aembed_query("wind") == endpoint.embed(f"{query}wind")
        assert await embed(model, ["wind"]) == [endpoint.embed(f"{document}wind")]


def test_sixteen_threads_share_one_object(make, endpoint, texts, vectors):
    model = make(max_concurrency=4)
    together = threading.Barrier(16)

    def ask(number: int) -> bool:
        together.wait()
        own = texts[number:] + texts[:number]
        return model.embed_documents(own) == vectors[number:] + vectors[:number]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(16)))
    assert endpoint.in_flight_max <= 4


def test_threads_that_meet_a_changed_object_share_its_new_client(make, monkeypatch):
    model = make()

    def slowly(**settings: Any) -> EmbeddingsClient:
        time.sleep(0.02)  # long enough for all threads to find it missing
        return EmbeddingsClient(**settings)

    monkeypatch.setattr("together_embed.making.EmbeddingsClient", slowly)
    model.chunk_size = 7
    together = threading.Barrier(16)

    def client(_: int) -> int:
        together.wait()
        return id(model.client)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(client, range(16)))) == 1


def test_one_event_loop_after_another(make, texts, vectors):
    model = make()
    for _ in range(3):
        assert asyncio.run(model.aembed_documents(texts)) == vectors


async def test_async_calls_need_no_thread(make, texts, vectors):
    none_left = ThreadPoolExecutor(1)
    none_left.shutdown()
    asyncio.get_running_loop().set_default_executor(none_left)
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(int)
    running = set(threading.enumerate())
    async with make(chunk_size=10) as model:
        assert await model.aembed_documents(texts) == vectors
        assert await model.aembed_query(texts[0]) == vectors[0]
    assert set(threading.enumerate()) <= running


async def test_sync_and_async_calls_inside_a_running_loop(make, texts, vectors):
    model = make()
    assert model.embed_documents(texts) == vectors
    answers = await asyncio.gather(*(model.aembed_documents(texts) for _ in range(4)))
    assert answers == [vectors] * 4


def test_event_loops_side_by_side(make, texts, vectors):
    model = make()

    def ask(_: int) -> bool:
        return asyncio.run(model.aembed_documents(texts)) == vectors

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(8)))


@contextmanager
def forking():
    """Leave out that Python 3.12 and later warn of any fork among threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded")
        yield


def test_a_forked_child_and_its_parent_both_get_their_own(make, texts, vectors):
    model = make()
    assert model.embed_documents(texts) == vectors  # connections are open now
    fork = multiprocessing.get_context("fork")
    wrong = fork.SimpleQueue()

    def ask() -> None:
        for start in range(0, 250, 10):
            rows = model.embed_documents(texts[start : start + 10])
            wrong.put(rows != vectors[start : start + 10])

    children = [fork.Process(target=ask) for _ in range(2)]
    with forking():
        for child in children:
            child.start()
    for start in range(0, 250, 10):
        rows = model.embed_documents(texts[start : start + 10])
        assert rows == vectors[start : start + 10]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert [wrong.get() for _ in range(50)] == [False] * 50


def test_a_spawned_child_embeds_with_the_key_of_its_environment(make, endpoint):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        row = pool.submit(make().embed_query, "wind").result()
    assert row == endpoint.embed("wind")
    assert endpoint.log[-1].bearer


def test_an_error_crosses_from_one_process_to_another(make, endpoint):
    endpoint.fail(422, times=None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        error = pool.submit(make().embed_query, "wind").exception()
    assert isinstance(error, UnprocessableError)
    assert error.indices == (0,)


def test_closing_lets_the_connections_go_and_use_opens_new_ones(make, endpoint):
    with make() as model:
        model.embed_query("a")
        model.embed_query("a")
        assert endpoint.connections == 1
    model.embed_query("a")
    assert endpoint.connections == 2


async def test_closing_in_a_loop_does_the_same(make, endpoint):
    async with make() as model:
        await model.aembed_query("a")
        await model.aembed_query("a")
        assert endpoint.connections == 1
    await model.aembed_query("a")
    assert endpoint.connections == 2
    await model.aclose()


# The bar.


async def test_a_bar_counts_the_texts_that_are_done(make, endpoint, embed, capsys):
    texts = passages(250) + passages(30)
    rows = await embed(make(show_progress_bar=True), texts)
    assert rows == [endpoint.embed(text) for text in texts]
    assert rows[0] is not rows[250]
    assert "280/280" in capsys.readouterr().err
    assert endpoint.requests == 3  # equal texts go out once, as without a bar
    assert endpoint.texts == 250


async def test_a_bar_changes_nothing_of_what_bad_texts_get(make, endpoint, embed):
    model = make(show_progress_bar=True, chunk_size=1)
    for bad in (" ", "\ud800"):
        with pytest.raises(InputError) as raised:
            await embed(model, ["a", "b", bad])
        assert raised.value.indices == (2,)
    with pytest.raises(TypeError, match="bare str"):
        await embed(model, "bare")
    assert await embed(model, []) == []
    assert endpoint.requests == 0


async def test_texts_that_come_one_by_one_may_have_a_bar(make, endpoint, embed, capsys):
    rows = await embed(make(show_progress_bar=True), iter(passages(30)))
    assert rows == [endpoint.embed(text) for text in passages(30)]
    assert "30/30" in capsys.readouterr().err


async def test_an_error_under_a_bar_names_texts_by_their_place_in_the_list(embed):
    with LocalEndpoint(dimension=4, max_chars=10) as strict:
        model = TogetherEmbeddings(
            base_url=strict.base_url, show_progress_bar=True, chunk_size=2
        )
        with pytest.raises(UnprocessableError) as raised:
            await embed(model, ["a", "a", "b", "far too long", "c", "far too long"])
        assert raised.value.indices == (3, 5)


def test_a_bar_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setattr(
        "langchain_together_embed.progress.find_spec", lambda name: None
    )
    with pytest.raises(ValueError, match="pip install tqdm"):
        TogetherEmbeddings(show_progress_bar=True)


async def test_skip_empty_leaves_an_empty_text_to_the_server(make, endpoint, embed):
    rows = await embed(make(skip_empty=True), ["a text", "", "  "])
    assert rows == [endpoint.embed(text) for text in ("a text", "", "  ")]
