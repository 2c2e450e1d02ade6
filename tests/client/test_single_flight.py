"""One text, wanted by several calls of a client at once, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from together_embed.errors import AuthenticationError
from together_embed.local import LocalEndpoint

TEXTS = [f"text {number}" for number in range(60)]


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    found: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(at: int) -> None:
        barrier.wait()
        found[at] = calls[at]()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return found


def test_threads_and_loops_that_ask_for_the_same_texts_send_each_once(
    make_client, endpoint, right
) -> None:
    endpoint.slow(0.05)
    client = make_client(batch_size=10)
    calls: list[Callable[[], Any]] = [
        lambda: client.embed(TEXTS),
        lambda: asyncio.run(client.aembed(TEXTS)),
        lambda: client.embed_array(TEXTS[::-1])[::-1].tolist(),
        lambda: [row for _, row in client.stream(TEXTS)],
        lambda: asyncio.run(client.aembed(TEXTS[::-1]))[::-1],
        lambda: np.asarray(client.embed(TEXTS)).tolist(),
    ]
    found = in_threads(*calls)
    for rows in found:
        assert np.float32(rows).tolist() == np.float32(right(TEXTS)).tolist()
    # A call that begins when another has ended sends what it wants anew.
    assert client.stats.texts + client.stats.shared == len(calls) * len(TEXTS)
    assert client.stats.shared >= 2 * len(TEXTS)
    assert sum(endpoint.seen.values()) <= 4 * len(TEXTS)


def test_coroutines_of_one_loop_share(make_client, endpoint, right) -> None:
    client = make_client(batch_size=10)

    async def main() -> list[Any]:
        return await asyncio.gather(*(client.aembed(TEXTS) for _ in range(5)))

    for rows in asyncio.run(main()):
        assert rows == right(TEXTS)
    assert set(endpoint.seen.values()) == {1}
    assert client.stats.shared == 4 * len(TEXTS)


def test_rows_of_calls_that_share_are_lists_of_their_own(make_client) -> None:
    client = make_client()

    async def main() -> list[Any]:
        return await asyncio.gather(client.aembed(["a"]), client.aembed(["a"]))

    (one,), (two,) = asyncio.run(main())
    one[0] = 99.0
    assert two[0] != 99.0


def test_a_call_within_a_half_used_stream_does_not_wait_for_it(
    make_client, right
) -> None:
    client = make_client(batch_size=1, max_concurrency=2)
    stream = client.stream(TEXTS)
    next(stream)
    assert client.embed(TEXTS[:20]) == right(TEXTS[:20])
    assert [row for _, row in stream] == right(TEXTS[1:])


def test_a_sync_call_within_a_loop_does_not_wait_for_the_loop(
    make_client, endpoint, right
) -> None:
    endpoint.slow(0.2)
    client = make_client()

    async def main() -> Any:
        task = asyncio.create_task(client.aembed(["a"]))
        while not client.stats.requests:
            await asyncio.sleep(0.005)
        return client.embed(["a"]), await task

    assert asyncio.run(main()) == (right(["a"]), right(["a"]))
    assert client.stats.requests == 2


def test_where_the_first_is_cancelled_the_second_sends_the_text(
    make_client, endpoint, right
) -> None:
    endpoint.slow(0.2)
    client = make_client()

    async def main() -> Any:
        first = asyncio.create_task(client.aembed(["a"]))
        while not client.stats.requests:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(client.aembed(["a"]))
        await asyncio.sleep(0.02)
        assert client.stats.requests == 1
        first.cancel()
        return await second

    assert asyncio.run(main()) == right(["a"])
    assert client.stats.requests == 2


def test_where_the_first_fails_for_good_the_second_tries_by_itself(
    make_client, endpoint
) -> None:
    endpoint.script([401, None])
    client = make_client()

    async def main() -> Any:
        calls = (client.aembed(["a"]), client.aembed(["a"]))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second = asyncio.run(main())
    assert isinstance(first, AuthenticationError)
    assert second == [endpoint.embed("a")]


def test_with_a_store_what_was_shared_is_kept_too(make_client, tmp_path) -> None:
    client = make_client(cache=tmp_path / "vectors.db", batch_size=7)

    async def main() -> None:
        await asyncio.gather(*(client.aembed(TEXTS) for _ in range(3)))

    asyncio.run(main())
    client.close()
    again = make_client(cache=tmp_path / "vectors.db")
    again.embed(TEXTS)
    assert again.stats.recalled == len(TEXTS)
    assert again.stats.requests == 0


def test_roles_that_send_other_words_share_nothing(make_client, endpoint) -> None:
    client = make_client(query_prefix="query: ")

    async def main() -> None:
        await asyncio.gather(
            client.aembed(["a"], role="query"), client.aembed(["a"], role="document")
        )

    asyncio.run(main())
    assert endpoint.seen == {"query: a": 1, "a": 1}
    assert client.stats.shared == 0


@pytest.mark.parametrize("rounds", range(3))
def test_many_calls_for_few_texts_all_end(make_client, rounds: int) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        endpoint.slow(0.002)
        client = make_client(base_url=endpoint.base_url, batch_size=3)
        wanted = [TEXTS[at : at + 12] for at in range(24)]

        def call(at: int) -> list[list[float]]:
            if at % 2:
                return client.embed(wanted[at])
            return asyncio.run(client.aembed(wanted[at]))

        found = in_threads(*(partial(call, at) for at in range(len(wanted))))
        assert found == [[endpoint.embed(text) for text in texts] for texts in wanted]


def test_with_a_cache_each_text_goes_out_once_whoever_asks_and_when(
    make_client, endpoint, right, tmp_path
) -> None:
    client = make_client(batch_size=5, cache=tmp_path / "vectors.db")
    calls: list[Callable[[], Any]] = [
        lambda: client.embed(TEXTS),
        lambda: asyncio.run(client.aembed(TEXTS)),
        *(partial(client.embed, TEXTS[at:] + TEXTS[:at]) for at in (20, 40)),
        *(partial(client.embed, [text]) for text in TEXTS[::6]),
    ]
    found = in_threads(*calls)
    assert found[:2] == [right(TEXTS)] * 2
    assert dict(endpoint.seen) == dict.fromkeys(TEXTS, 1)
