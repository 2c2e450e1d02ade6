"""Threads, event loops, processes: where a model made once is used."""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core import async_utils
from llama_index.core.async_utils import asyncio_run, run_jobs


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Collect what a test left: an open session warns then, and warnings are errors."""
    yield
    gc.collect()


def test_sixteen_threads_share_one_model(make, endpoint, texts, vectors):
    model = make(embed_batch_size=10, max_concurrency=8)
    endpoint.slow(0.005)
    with ThreadPoolExecutor(16) as threads:
        many = list(threads.map(model.get_text_embedding_batch, [texts] * 16))
    assert many == [vectors] * 16
    assert endpoint.in_flight_max <= 8
    assert 25 <= endpoint.requests <= 16 * 25  # what is on its way is asked for once


def test_threads_ask_single_questions_side_by_side(make, texts, vectors):
    model = make()
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(model.get_query_embedding, texts)) == vectors


def test_event_loops_one_after_another_share_one_model(make, texts, vectors):
    model = make(embed_batch_size=50)
    for _ in range(3):
        assert asyncio.run(model.aget_text_embedding_batch(texts)) == vectors
        assert asyncio.run(model.aget_query_embedding(texts[0])) == vectors[0]


def test_event_loops_side_by_side_share_one_model(make, texts, vectors):
    model = make(embed_batch_size=50)

    def in_a_loop(_: int) -> list[list[float]]:
        return asyncio.run(model.aget_text_embedding_batch(texts))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(in_a_loop, range(8))) == [vectors] * 8


async def test_both_colours_work_in_a_running_loop(make, texts, vectors):
    model = make(embed_batch_size=50)
    assert model.get_text_embedding_batch(texts) == vectors
    assert await model.aget_text_embedding_batch(texts) == vectors
    await model.client.aclose()


@pytest.mark.skipif(
    not hasattr(async_utils, "concurrent"),
    reason="this llama-index-core runs nothing beside a running loop",
)
async def test_llama_indexs_own_loops_are_closed_raw_and_nothing_stays_open(
    make, texts, vectors
):
    model = make(embed_batch_size=50)
    for _ in range(3):
        # In a running loop this starts a thread with a loop, and closes that loop
        # without a word to whoever has a session on it.
        assert asyncio_run(model.aget_text_embedding_batch(texts)) == vectors
        gc.collect()


def test_loops_without_asyncio_run_leave_nothing_open(make, texts, vectors):
    model = make(embed_batch_size=50)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        try:
            rows = loop.run_until_complete(model.aget_text_embedding_batch(texts))
        finally:
            loop.close()
        assert rows == vectors
        gc.collect()


async def test_the_end_of_a_block_closes_what_was_opened(make, endpoint):
    with make() as model:
        model.get_query_embedding("wind")
    async with model:
        await model.aget_query_embedding("wind")
        await model.aget_query_embedding("wind")
        assert endpoint.connections == 2  # one for each colour
    model.get_query_embedding("wind")
    await model.aget_query_embedding("wind")
    assert endpoint.connections == 4
    await model.aclose()


async def test_many_calls_of_one_loop_are_gathered(make, texts, vectors):
    model = make()
    rows = await run_jobs(
        [model.aget_text_embedding(text) for text in texts[:50]], workers=10
    )
    assert rows == vectors[:50]
    await model.client.aclose()


async def test_a_call_that_is_cancelled_ends_and_the_next_one_works(
    make, endpoint, texts, vectors
):
    model = make(embed_batch_size=10)
    endpoint.slow(30)
    call = asyncio.create_task(model.aget_text_embedding_batch(texts))
    while not endpoint.requests:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    endpoint.slow(0)
    assert await model.aget_text_embedding_batch(texts) == vectors
    await model.client.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings(
    # Python 3.12 and later: the endpoint's thread is no part of what the child uses.
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_forked_children_get_their_own_vectors(make, endpoint, texts):
    model = make(embed_batch_size=5)
    model.get_text_embedding_batch(texts)  # warm connections are in the parent's hands
    children = []
    for child in range(3):
        mine = [f"child {child}: {text}" for text in texts[:100]]
        expected = [endpoint.embed(text) for text in mine]
        pid = os.fork()
        if not pid:
            right = False
            try:
                right = model.get_text_embedding_batch(mine) == expected
            finally:
                os._exit(0 if right else 1)
        children.append(pid)
    assert model.get_text_embedding_batch(texts) == [endpoint.embed(t) for t in texts]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]


def test_a_pickled_model_works_in_another_process(make, endpoint, texts):
    code = (
        "import pickle, sys; "
        "model = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "print(len(model.get_text_embedding_batch(['wind', 'water'])))"
    )
    pickled = pickle.dumps(make(embed_batch_size=1)).hex()
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, pickled],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "2", done.stderr
    assert endpoint.requests == 2
    assert endpoint.log[-1].bearer


def test_without_llama_index_the_import_says_what_to_install():
    code = (
        "import sys; sys.modules['llama_index.core'] = None\n"
        "try: import llama_index_together_embed\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 'pip install "together-embed[llama-index]"' in done.stdout, done.stderr


def test_nest_asyncio_is_no_hindrance(endpoint):
    code = (
        "import asyncio, sys, nest_asyncio; nest_asyncio.apply()\n"
        "from llama_index_together_embed import TogetherEmbedding\n"
        "model = TogetherEmbedding('m', api_base=sys.argv[1])\n"
        "async def main():\n"
        "    inner = asyncio.run(model.aget_text_embedding_batch(['wind', 'water']))\n"
        "    return inner + [await model.aget_query_embedding('wind')]\n"
        "print([len(row) for row in asyncio.run(main())])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code, endpoint.base_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "[256, 256, 256]", done.stderr
    assert "unclosed" not in done.stderr.lower()
    assert "is closed" not in done.stderr
