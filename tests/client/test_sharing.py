"""One client among threads, loops and processes; what is left when a call ends."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import multiprocessing
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from together_embed import EmbeddingsClient, errors
from together_embed.engine.flow import Flow
from together_embed.engine.job import Job
from together_embed.local import LocalEndpoint
from together_embed.store import rows as kept
from together_embed.transports.async_aiohttp import AiohttpTransport

pytestmark = pytest.mark.usefixtures("no_leaks")
KEY = "canary-key-0123456789"


def texts_of(number: int, count: int = 20) -> list[str]:
    return [f"text {i} of {number}" for i in range(count)]


# Threads


def test_sixteen_threads_share_a_client(make_client: Any, right: Any) -> None:
    client = make_client(batch_size=3)
    with ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(client.embed, map(texts_of, range(48))))
    assert rows == [right(texts_of(n)) for n in range(48)]


def test_threads_and_loops_share_one_cap(
    make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    endpoint.slow(0.01)
    client = make_client(batch_size=1, max_concurrency=3)

    def one(number: int) -> list[list[float]]:
        if number % 2:
            return asyncio.run(client.aembed(texts_of(number, 8)))
        return client.embed(texts_of(number, 8))

    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(one, range(8)))
    assert rows == [right(texts_of(n, 8)) for n in range(8)]
    assert endpoint.in_flight_max <= 3


def test_a_bound_can_be_changed_while_a_call_is_under_way(
    make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    client = make_client(batch_size=1, requests_per_second=0.01)
    texts = texts_of(0, 30)
    lifting = threading.Timer(0.2, client.bound)
    lifting.start()
    assert client.embed(texts) == right(texts)
    lifting.join()
    assert client.settings.requests_per_second is None
    with pytest.raises(errors.ConfigurationError):
        client.bound(max_concurrency=0)


def test_threads_end_when_their_call_does(make_client: Any) -> None:
    make_client(batch_size=1).embed(texts_of(0))
    ours = [t for t in threading.enumerate() if t.name == "together-embed"]
    for thread in ours:
        thread.join(5)
    assert not any(thread.is_alive() for thread in ours)


def test_connections_are_kept_for_the_next_call(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    client = make_client()
    for number in range(10):
        client.embed(texts_of(number))
    assert endpoint.connections == 1


# Calls within calls, and calls that are left


def test_a_client_may_be_asked_from_within_its_own_iteration(
    make_client: Any, right: Any
) -> None:
    client = make_client(max_concurrency=1)
    for number, rows in enumerate(client.embed_batches(map(texts_of, range(5)))):
        assert rows == right(texts_of(number))
        assert client.embed(["query"]) == right(["query"])


async def test_the_same_within_a_loop(make_client: Any, right: Any) -> None:
    client = make_client(max_concurrency=1)
    number = 0
    async for rows in client.aembed_batches(map(texts_of, range(5))):
        assert rows == right(texts_of(number))
        assert await client.aembed(["query"]) == right(["query"])
        number += 1
    assert number == 5
    await client.aclose()


@pytest.mark.parametrize("most", [None, 1])
async def test_the_same_within_a_loop_where_requests_wait_for_their_moment(
    make_client: Any, right: Any, most: int | None
) -> None:
    client = make_client(max_concurrency=most, requests_per_second=50, batch_size=1)
    stream = client.astream(texts_of(0, 9))
    assert await anext(stream) == (0, *right(["text 0 of 0"]))
    asked = client.aembed(texts_of(1, 4))
    assert await asyncio.wait_for(asked, 30) == right(texts_of(1, 4))
    assert [row async for _, row in stream] == right(texts_of(0, 9)[1:])
    await client.aclose()


@pytest.mark.parametrize("most", [None, 1, 2])
async def test_a_sync_call_does_not_wait_for_places_that_the_loop_it_blocks_holds(
    make_client: Any, endpoint: LocalEndpoint, right: Any, most: int | None
) -> None:
    endpoint.slow(0.2)
    client = make_client(max_concurrency=most, batch_size=1, deadline=30)
    running = asyncio.create_task(client.aembed(texts_of(0, 12)))
    while endpoint.in_flight_max < (most or 10):
        await asyncio.sleep(0.005)
    assert client.embed(texts_of(1, 2)) == right(texts_of(1, 2))
    assert endpoint.in_flight_max <= (most or 10) + 1  # one more, and not two
    assert await running == right(texts_of(0, 12))
    assert client.stats.in_flight == 0
    await client.aclose()


def test_an_iterator_that_nobody_finishes_holds_up_nobody(
    make_client: Any, right: Any
) -> None:
    client = make_client(max_concurrency=2, batch_size=1)
    left = [client.embed_batches([[f"{n} {i}"] for i in range(9)]) for n in range(4)]
    for rows in left:
        next(rows)
    assert client.embed(texts_of(0)) == right(texts_of(0))
    assert [len(list(rows)) for rows in left] == [8] * 4


@pytest.mark.parametrize("amid", ["a transaction", "a decision"])
def test_a_half_used_stream_may_be_collected_amid_the_work_of_another_call(
    make_client: Any, right: Any, tmp_path: Path, monkeypatch: Any, amid: str
) -> None:
    client = make_client(batch_size=1, cache=tmp_path / "vectors.db")
    circle: list[Any] = [client.stream(texts_of(0, 8))]
    assert next(circle[0]) == (0, *right(["text 0 of 0"]))
    circle.append(circle)
    while client.stats.in_flight:  # there is something to keep when it ends
        time.sleep(0.005)
    gc.disable()
    del circle
    if amid == "a transaction":
        put = kept.put
        collect = lambda *given: (gc.collect(), put(*given))  # noqa: E731
        monkeypatch.setattr(kept, "put", collect)
    else:
        grant = Flow._grant
        collect = lambda *given: (gc.collect(), grant(*given))[1]  # noqa: E731
        monkeypatch.setattr(Flow, "_grant", collect)
    found: list[Any] = []
    asking = threading.Thread(
        target=lambda: found.append(client.embed(["new"])), daemon=True
    )
    asking.start()
    asking.join(20)
    gc.enable()
    assert found == [right(["new"])]
    for thread in threading.enumerate():
        if thread.name == "together-embed":
            thread.join(20)
    again = make_client(cache=tmp_path / "vectors.db")
    again.embed([*texts_of(0, 8), "new"])
    assert again.stats.recalled == client.stats.texts > 2


def test_who_takes_long_over_the_rows_finds_the_next_ones_there(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    client = make_client(timeout=0.3, max_retries=0, batch_size=1)
    for _ in client.embed_batches([[f"t{n}"] for n in range(3)]):
        time.sleep(0.4)
    assert endpoint.requests == 3


def test_a_source_that_takes_long_costs_no_answer(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    def source() -> Iterator[list[str]]:
        for number in range(3):
            yield [f"t{number}"]
            time.sleep(0.4)

    client = make_client(timeout=0.3, max_retries=0, batch_size=1)
    assert len(list(client.embed_batches(source()))) == 3
    assert endpoint.requests == 3


def test_batches_are_drawn_no_further_than_can_be_put_to_use(make_client: Any) -> None:
    drawn = 0

    def source() -> Iterator[list[str]]:
        nonlocal drawn
        for drawn in range(10_000):
            yield [f"t{drawn}"]

    rows = make_client(max_concurrency=2).embed_batches(source())
    next(rows)
    rows.close()
    assert drawn < 20


async def tasks_left() -> int:
    return len(asyncio.all_tasks()) - 1


async def test_a_cancelled_call_leaves_no_task_and_no_open_socket(
    make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    endpoint.fail("hang", times=None)
    client = make_client(batch_size=1, max_concurrency=4)
    call = asyncio.ensure_future(client.aembed(texts_of(0)))
    while endpoint.requests < 4 and not call.done():
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await tasks_left() == 0
    endpoint.heal()
    assert await client.aembed(texts_of(1)) == right(texts_of(1))
    await client.aclose()


async def test_a_call_that_is_cancelled_twice_amid_a_write_keeps_all_that_came(
    make_client: Any, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.db"
    client = make_client(batch_size=1, cache=path)
    await client.aembed(["the file is there"])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    call = asyncio.ensure_future(client.aembed(texts_of(0)))
    while not client.stats.in_flight:
        await asyncio.sleep(0.005)
    while client.stats.in_flight:  # all that went out is answered, and the first waits
        await asyncio.sleep(0.005)
    for _ in range(2):
        call.cancel()
        for _ in range(20):  # turns of the loop
            await asyncio.sleep(0)
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await tasks_left() == 0
    again = make_client(cache=path)
    await again.aembed(texts_of(0))
    assert again.stats.recalled == client.last_stats.texts > 1
    await client.aclose()
    await again.aclose()


async def test_a_call_that_is_cancelled_twice_waits_for_no_request_that_stays(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, begun = asyncio.Event(), asyncio.Event()

    async def stay(*_: object) -> None:
        begun.set()
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    monkeypatch.setattr(AiohttpTransport, "send", stay)
    call = asyncio.ensure_future(make_client(batch_size=1).aembed(["a", "b"]))
    await begun.wait()
    ends = []
    for _ in range(2):
        call.cancel()
        for _ in range(20):  # turns of the loop
            await asyncio.sleep(0)
        ends.append(call.done())
    over.set()
    while await tasks_left():
        await asyncio.sleep(0)
    assert ends == [False, True]


async def test_a_single_cancelled_call_gives_its_place_back(
    make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    endpoint.fail("hang", times=3)
    client = make_client(max_concurrency=1)
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.aembed(["a"]), 0.05)
    assert await asyncio.wait_for(client.aembed(["a"]), 5) == right(["a"])
    await client.aclose()


async def test_an_iteration_that_is_left_leaves_no_task(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    client = make_client(max_concurrency=4)
    rows = client.aembed_batches(map(texts_of, range(100)))
    async with contextlib.aclosing(rows):
        async for _ in rows:
            break
    assert await tasks_left() == 0
    await client.aclose()


async def test_a_request_that_somebody_else_cancels_does_not_strand_the_call(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail("hang", times=None)
    client = make_client(batch_size=1, max_concurrency=2)
    call = asyncio.ensure_future(client.aembed(["a", "b"]))
    while endpoint.requests < 2 and not call.done():
        await asyncio.sleep(0.01)
    for task in asyncio.all_tasks() - {call, asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 5)
    await client.aclose()


def test_no_wait_of_a_sync_call_is_long_enough_to_hide_a_ctrl_c(
    make_client: Any, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    next_step = Job.next_step

    def counted(self: Job, now: float, **told: bool) -> Any:
        nonlocal steps
        steps += 1
        return next_step(self, now, **told)

    monkeypatch.setattr(Job, "next_step", counted)
    monkeypatch.setattr("together_embed.transports.threads.BREATH", 0.02)
    endpoint.slow(0.5)
    make_client(batch_size=1).embed(["one", "two"])
    assert steps > 8  # two answers alone are a handful


# Loops


def test_three_loops_one_after_another(make_client: Any, right: Any) -> None:
    client = make_client()
    for number in range(3):
        assert asyncio.run(client.aembed(texts_of(number))) == right(texts_of(number))


def test_a_loop_that_is_closed_by_hand(make_client: Any, right: Any) -> None:
    client = make_client()
    for number in range(3):
        loop = asyncio.new_event_loop()
        rows = loop.run_until_complete(client.aembed(texts_of(number)))
        loop.close()
        assert rows == right(texts_of(number))


def test_loops_side_by_side(make_client: Any, right: Any) -> None:
    client = make_client(batch_size=2)
    with ThreadPoolExecutor(6) as pool:
        calls = [
            pool.submit(lambda n=n: asyncio.run(client.aembed(texts_of(n))))
            for n in range(12)
        ]
    assert [call.result() for call in calls] == [right(texts_of(n)) for n in range(12)]


async def test_many_calls_of_one_loop(make_client: Any, right: Any) -> None:
    async with make_client(batch_size=4) as client:
        calls = [client.aembed(texts_of(n)) for n in range(20)]
        assert await asyncio.gather(*calls) == [right(texts_of(n)) for n in range(20)]


async def test_a_loop_has_two_turns_of_its_own_between_two_answers(
    make_client: Any, endpoint: Any
) -> None:
    turns = 0
    seen = []

    async def spin() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    endpoint.slow(0.2)  # so that all answers are there at once
    async with make_client(batch_size=1) as client:
        spinning = asyncio.create_task(spin())
        await client.aembed(
            [f"text {n}" for n in range(10)], on_progress=lambda _: seen.append(turns)
        )
        spinning.cancel()
    assert len(seen) == 10
    assert min(map(int.__sub__, seen[1:], seen)) >= 2


async def test_a_sync_call_within_a_running_loop(make_client: Any, right: Any) -> None:
    client = make_client(batch_size=4)
    assert client.embed(texts_of(0)) == right(texts_of(0))
    assert await client.aembed(texts_of(1)) == right(texts_of(1))
    await client.aclose()


def test_uvloop_is_a_loop_like_another(make_client: Any, right: Any) -> None:
    uvloop = pytest.importorskip("uvloop")
    client = make_client(batch_size=4)
    for number in range(2):
        loop = uvloop.new_event_loop()
        rows = loop.run_until_complete(client.aembed(texts_of(number)))
        loop.close()
        assert rows == right(texts_of(number))


def test_a_loop_ends_well_however_many_clients_nobody_has_closed(
    endpoint: LocalEndpoint,
) -> None:
    clients = [make(endpoint) for _ in range(150)]
    loop = asyncio.new_event_loop()
    for client in clients:
        loop.run_until_complete(client.aembed(["query"]))
    assert len(open_sessions()) == len(clients)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        loop.close()
    finally:
        sys.setrecursionlimit(limit)
    assert not open_sessions()


def test_a_client_that_is_dropped_takes_its_connections_with_it(
    endpoint: LocalEndpoint,
) -> None:
    async def main() -> None:
        for _ in range(3):
            await make(endpoint).aembed(["query"])
        for _ in range(3):  # they are closed in turns of their own
            gc.collect()
            await asyncio.sleep(0)
        assert not open_sessions()

    asyncio.run(main())


def make(endpoint: LocalEndpoint) -> EmbeddingsClient:
    """Make a client that no fixture holds on to."""
    return EmbeddingsClient("m", api_key=KEY, base_url=endpoint.base_url)


def open_sessions() -> list[aiohttp.ClientSession]:
    found = [o for o in gc.get_objects() if isinstance(o, aiohttp.ClientSession)]
    return [session for session in found if not session.closed]


def test_closing_within_a_loop_and_using_the_client_again(
    make_client: Any, right: Any
) -> None:
    client = make_client()

    async def main() -> None:
        for number in range(3):
            assert await client.aembed(texts_of(number)) == right(texts_of(number))
            client.close()

    asyncio.run(main())
    client.close()
    assert client.embed(["again"]) == right(["again"])


def test_closing_where_another_loop_is_at_rest(make_client: Any, right: Any) -> None:
    client = make_client()
    resting = asyncio.new_event_loop()
    resting.run_until_complete(client.aembed(["a"]))

    async def main() -> None:
        await client.aembed(["b"])
        await client.aclose()

    asyncio.run(main())
    assert resting.run_until_complete(client.aembed(["c"])) == right(["c"])
    resting.close()


def test_a_with_block_closes_what_it_opened(make_client: Any, right: Any) -> None:
    with make_client() as client:
        assert client.embed(["a"]) == right(["a"])


# Processes


def _in_child(client: EmbeddingsClient, number: int, out: Any) -> None:
    try:
        rows = client.embed(texts_of(number, 100))
        rows += asyncio.run(client.aembed(texts_of(number + 1, 100)))
        out.put((number, rows))
    except BaseException as error:
        out.put((number, repr(error)))


def run_children(context: Any, client: EmbeddingsClient) -> dict[int, Any]:
    out = context.Queue()
    numbers = (10, 20, 30)
    children = [
        context.Process(target=_in_child, args=(client, number, out))
        for number in numbers
    ]
    with warnings.catch_warnings():
        # The endpoint's thread runs in this process: forking beside it is the test.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        for child in children:
            child.start()
    found = dict(out.get(timeout=60) for _ in numbers)
    for child in children:
        child.join(20)
    out.close()
    out.join_thread()
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_children_share_no_connection_with_the_parent(
    make_client: Any, right: Any
) -> None:
    client = make_client(batch_size=5)
    client.embed(texts_of(0))  # warm, so that there are connections to be confused
    found = run_children(multiprocessing.get_context("fork"), client)
    assert client.embed(texts_of(1)) == right(texts_of(1))
    for number, rows in found.items():
        expected = texts_of(number, 100) + texts_of(number + 1, 100)
        assert rows == right(expected)


def test_a_spawned_process_finds_its_key_in_the_environment(
    make_client: Any, right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    dumped = pickle.dumps(client)
    assert KEY.encode() not in dumped
    script = (
        "import pickle, sys; client = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "print(client.embed(['from afar']))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, dumped.hex()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == str(right(["from afar"]))


def test_copies_work_side_by_side(make_client: Any, right: Any) -> None:
    client = make_client()
    client.embed(["warm"])
    for twin in (copy.copy(client), copy.deepcopy(client)):
        assert twin.embed(["a"]) == right(["a"])
        twin.close()


INTERRUPTED = """
import sys, time
from together_embed import EmbeddingsClient
client = EmbeddingsClient("m", base_url=sys.argv[1], api_key="k", batch_size=1)
print("ready", flush=True)
try:
    client.embed([f"text {n}" for n in range(int(sys.argv[2]))])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("count", [1, 20])
def test_ctrl_c_ends_a_call_and_the_process_does_not_linger(
    endpoint: LocalEndpoint, count: int
) -> None:
    endpoint.fail("hang", times=None)
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, endpoint.base_url, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while endpoint.requests < 1:
        assert child.poll() is None, "it ended before it asked"
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    # Its requests have 60 s: whoever waits for them does not get here in 20.
    out, err = child.communicate(timeout=20)
    assert out.split() == ["ready", "interrupted"]
    assert err == ""
    assert child.returncode == 0


def test_an_interrupted_call_gives_its_places_back(
    make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    endpoint.slow(0.02)
    client = make_client(max_concurrency=2, batch_size=1)
    for _ in range(4):
        rows = client.embed_batches([[f"t{n}"] for n in range(9)])
        next(rows)
        with pytest.raises(KeyboardInterrupt):
            rows.throw(KeyboardInterrupt)
    assert client.embed(texts_of(0)) == right(texts_of(0))


def test_where_no_thread_can_be_had_the_call_fails_and_the_client_lives(
    make_client: Any, right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(max_concurrency=2, batch_size=1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="new thread"):
                client.embed(["a", "b", "c"])
    assert client.embed(["a", "b", "c"]) == right(["a", "b", "c"])


def test_errors_of_a_call_name_no_more_than_they_should(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail(401, times=None)
    with pytest.raises(errors.AuthenticationError) as caught:
        colour.embed(make_client(), ["a"])
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert KEY not in repr(pickle.dumps(caught.value))
