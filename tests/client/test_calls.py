"""Calls, sync and async, against a real server: input, answers, failures."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
import requests

from together_embed import EmbeddingsClient, errors
from together_embed.engine.job import Job
from together_embed.local import Fault, LocalEndpoint
from together_embed.local.faults import BROKEN, EVERY_WAY, FATAL, PASSING, WRONG

pytestmark = pytest.mark.usefixtures("no_leaks")
KEY = "canary-key-0123456789"


def named(fault: Fault) -> str:
    return f"{fault.status}-{fault.shape}" if fault.kind == "status" else fault.kind


# Input


def test_nothing_gives_nothing_without_a_request_or_a_key(
    colour: Any, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert colour.embed(EmbeddingsClient("m"), []) == []
    assert colour.embed(EmbeddingsClient("m"), ()) == []
    assert colour.embed(EmbeddingsClient("m"), np.array([], dtype=str)) == []
    assert endpoint.requests == 0


@pytest.mark.parametrize("texts", ["a bare string", "", b"bytes"])
def test_a_bare_string_is_refused(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, texts: Any
) -> None:
    with pytest.raises(TypeError, match=type(texts).__name__):
        colour.embed(make_client(), texts)
    assert endpoint.connections == 0


@pytest.mark.parametrize("item", [None, 7, 1.5, b"x", ["nested"], {"a": 1}])
def test_an_element_that_is_no_string_is_named(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, item: Any
) -> None:
    with pytest.raises(TypeError) as caught:
        colour.embed(make_client(batch_size=1), ["a", "b", item])
    assert "2" in str(caught.value)
    assert type(item).__name__ in str(caught.value)
    assert endpoint.connections == 0


@pytest.mark.parametrize("text", ["", "   ", "\n", "\ud800", "fine \udfff"])
def test_a_text_that_cannot_be_sent_is_named_before_anything_is(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, text: str
) -> None:
    with pytest.raises(errors.InputError) as caught:
        colour.embed(make_client(batch_size=1), ["a", "b", "c", text, "d"])
    assert caught.value.indices == (3,)
    assert "input 3" in str(caught.value)
    assert endpoint.connections == 0


def test_texts_of_every_kind_of_iterable_are_taken(
    colour: Any, make_client: Any, right: Any
) -> None:
    texts = ["one", "two", "three"]
    client = make_client()
    kinds: list[Any] = [list, tuple, np.array, dict.fromkeys, iter]
    for kind in kinds:
        assert colour.embed(client, kind(texts)) == right(texts)
        assert [*colour.batches(client, [kind(texts)])] == [right(texts)]
    with pytest.raises(TypeError, match="texts is a NoneType; hand over a list"):
        colour.embed(client, None)


def test_a_list_that_is_filled_anew_for_each_batch_is_taken_as_it_was(
    colour: Any, make_client: Any, right: Any
) -> None:
    def batches() -> Iterator[list[str]]:
        batch: list[str] = []
        for number in range(5):
            batch[:] = [f"text {number}"]
            yield batch

    rows = [*colour.batches(make_client(), batches())]
    assert rows == [right([f"text {number}"]) for number in range(5)]


def test_odd_characters_arrive_as_they_are(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    texts = [
        '"\\/\b\f\n\r\t',
        "\x00\x01\x7f",
        "漢字 😀 e\u0301",
        "a\u2028",
        "</p>",
    ]
    assert colour.embed(make_client(), texts) == right(texts)
    assert set(endpoint.seen) == set(texts)


# Vectors


def test_vectors_are_plain_lists_of_floats_in_order(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    texts = [f"text {n}" for n in range(250)]
    rows = colour.embed(make_client(batch_size=20), texts)
    assert rows == right(texts)
    assert type(rows) is list
    assert {type(row) for row in rows} == {list}
    assert {type(number) for row in rows for number in row} == {float}
    assert endpoint.requests == 13


@pytest.mark.parametrize("base64", ["honour", "ignore", "refuse"])
@pytest.mark.parametrize("encoding_format", ["auto", "float"])
def test_vectors_are_the_same_however_the_server_takes_base64(
    colour: Any, base64: Any, encoding_format: Any
) -> None:
    texts = [f"text {n}" for n in range(40)]
    with LocalEndpoint(dimension=8, base64=base64) as endpoint:
        client = EmbeddingsClient(
            "m",
            api_key=KEY,
            base_url=endpoint.base_url,
            batch_size=2,
            max_concurrency=1,
            encoding_format=encoding_format,
        )
        rows = colour.embed(client, texts)
        colour.close(client)
        assert rows == [endpoint.embed(text) for text in texts]
        refused = base64 == "refuse" and encoding_format == "auto"
        assert 20 <= endpoint.requests <= 20 + 2 * refused


def test_equal_texts_of_a_call_are_sent_once(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    texts = ["same", "other", "same"] * 50
    rows = colour.embed(make_client(), texts)
    assert rows == right(texts)
    assert endpoint.texts == 2
    assert len({id(row) for row in rows}) == len(rows)


def test_the_width_that_was_asked_for_is_sent_and_checked(colour: Any) -> None:
    with LocalEndpoint(dimension=8, dimensions="honour") as endpoint:
        client = EmbeddingsClient(
            "m", api_key=KEY, base_url=endpoint.base_url, dimensions=3
        )
        assert len(colour.embed(client, ["a"])[0]) == 3
        assert "dimensions" in endpoint.log[0].fields
        colour.close(client)


def test_a_server_that_takes_no_notice_of_the_width_is_found_out(colour: Any) -> None:
    with LocalEndpoint(dimension=8, dimensions="ignore") as endpoint:
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, api_key=KEY, dimensions=3, max_retries=0
        )
        with pytest.raises(errors.InvalidResponseError, match="8 wide, not 3"):
            colour.embed(client, ["a"])
        colour.close(client)


def test_batches_come_out_one_by_one_in_order(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    batches = [[f"{n} {i}" for i in range(n % 4)] for n in range(30)]
    rows = list(colour.batches(make_client(), iter(batches)))
    assert rows == [right(batch) for batch in batches]
    assert endpoint.requests == sum(1 for batch in batches if batch)


def test_a_batch_that_is_none_is_an_error_and_not_the_end(
    colour: Any, make_client: Any
) -> None:
    with pytest.raises(TypeError):
        list(colour.batches(make_client(), [["a"], None, ["b"]]))


def test_an_error_of_the_source_reaches_the_caller(
    colour: Any, make_client: Any
) -> None:
    def source() -> Iterator[list[str]]:
        yield ["a"]
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(colour.batches(make_client(), source()))


class SourceError(Exception):
    pass


def until_it_fails(texts: list[str]) -> Iterator[str]:
    yield from texts
    raise SourceError


@pytest.mark.parametrize("count", [0, 3, 4, 10, 50])
async def test_what_a_source_gave_before_it_failed_comes_out(
    make_client: Any, right: Any, count: int
) -> None:
    texts = [f"text {number}" for number in range(count)]
    client = make_client(batch_size=4)
    pairs: list[Any] = []
    with pytest.raises(SourceError):
        pairs.extend(client.stream(until_it_fails(texts)))
    assert pairs == [*enumerate(right(texts))]
    numbers = 0
    with pytest.raises(SourceError):  # noqa: PT012 - `async for` is no expression
        async for pair in client.astream(until_it_fails(texts)):
            assert pair == pairs[numbers]
            numbers += 1
    assert numbers == count
    await client.aclose()


def test_a_source_that_fails_beside_a_request_is_the_errors_context(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail(401, times=None)
    with pytest.raises(errors.AuthenticationError) as raised:
        list(make_client().stream(until_it_fails(["a"])))
    chain, error = [], raised.value.__context__
    while error is not None:
        chain.append(type(error))
        error = error.__context__
    assert SourceError in chain


def test_only_what_the_user_set_is_sent(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    colour.embed(make_client(encoding_format="float"), ["a"])
    (entry,) = endpoint.log
    assert entry.fields == ("input", "model")
    assert entry.bearer
    assert entry.headers["content-type"] == "application/json"


def test_both_colours_send_the_same_headers(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    client = make_client(headers={"user-agent": "mine", "x-team": "search"})
    client.embed(["a"])
    asyncio.run(client.aembed(["b"]))
    own = ("user-agent", "x-team", "content-type", "accept", "accept-encoding")
    sync, task = ({name: entry.headers[name] for name in own} for entry in endpoint.log)
    assert sync == task
    assert sync["user-agent"] == "mine"


def test_further_fields_and_parameters_are_sent(colour: Any) -> None:
    with LocalEndpoint(dimension=4) as endpoint:
        client = EmbeddingsClient(
            "m",
            base_url=endpoint.base_url,
            api_key=KEY,
            extra_body={"truncate": True},
            query={"version": "a b+c&d"},
        )
        colour.embed(client, ["a"])
        assert "truncate" in endpoint.log[0].fields
        colour.close(client)


# Failures


@pytest.mark.parametrize("fault", PASSING + BROKEN + WRONG, ids=named)
def test_what_may_pass_is_retried(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any, fault: Fault
) -> None:
    endpoint.fail(fault, times=2)
    assert colour.embed(make_client(), ["a", "b"]) == right(["a", "b"])
    assert endpoint.requests == 3


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.kind)
def test_a_wrong_answer_that_stays_is_raised_and_no_vector_returned(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.fail(fault, times=None)
    with pytest.raises(errors.InvalidResponseError) as caught:
        colour.embed(make_client(max_retries=1), ["a", "b"])
    assert endpoint.requests == 2
    assert [attempt.status for attempt in caught.value.attempts] == [200, 200]


@pytest.mark.parametrize("fault", FATAL, ids=named)
def test_what_asking_again_does_not_cure_is_raised_at_once(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.fail(fault, times=None)
    with pytest.raises(errors.StatusError) as caught:
        colour.embed(make_client(encoding_format="float"), ["a"])
    assert endpoint.requests == 1
    assert caught.value.status == fault.status
    assert type(caught.value) is errors.STATUSES.get(fault.status) or isinstance(
        caught.value, errors.ModelNotAvailableError
    )
    assert caught.value.indices == (0,)
    assert caught.value.request_id == "local-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, status: int
) -> None:
    with LocalEndpoint(dimension=8) as elsewhere:
        where = f"{elsewhere.base_url}/embeddings"
        endpoint.fail(Fault.redirect(status, where), times=None)
        with pytest.raises(errors.RedirectError, match=str(elsewhere.port)):
            colour.embed(make_client(), ["a"])
        assert endpoint.requests == 1
        assert elsewhere.connections == 0


@pytest.mark.parametrize("kind", ["reset", "hang_up"])
def test_a_connection_closed_before_the_answer_is_tried_again_without_a_wait(
    colour: Any, endpoint: LocalEndpoint, right: Any, kind: Any
) -> None:
    endpoint.fail(kind, times=2)
    client = EmbeddingsClient("m", api_key=KEY, base_url=endpoint.base_url, deadline=5)
    # A wait would be the dice's, of a second and more in the mean.
    client._calls._process._policy.__dict__["random"] = lambda: 1e9
    assert colour.embed(client, ["a"]) == right(["a"])
    assert endpoint.requests == 3
    colour.close(client)


def test_an_echoed_key_is_not_in_the_error(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail(Fault.echo(401))
    with pytest.raises(errors.AuthenticationError) as caught:
        colour.embed(make_client(), ["a"])
    error = caught.value
    assert KEY not in f"{error}{error!r}{vars(error)}"
    assert "[hidden]" in str(error)


def test_a_wrong_key_is_told(colour: Any) -> None:
    with LocalEndpoint(dimension=4, api_key="right-key") as endpoint:
        client = EmbeddingsClient("m", api_key="wrong-key", base_url=endpoint.base_url)
        with pytest.raises(errors.AuthenticationError, match="TOGETHER_API_KEY"):
            colour.embed(client, ["a"])
        colour.close(client)


def test_a_text_over_the_servers_limit_is_named(colour: Any) -> None:
    with LocalEndpoint(dimension=4, max_chars=10) as endpoint:
        client = EmbeddingsClient(
            "m", api_key=KEY, base_url=endpoint.base_url, batch_size=1
        )
        with pytest.raises(errors.UnprocessableError) as caught:
            colour.embed(client, ["a", "b", "much too long a text"])
        assert caught.value.indices == (2,)
        colour.close(client)


def test_where_nothing_listens_the_error_says_so(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    with LocalEndpoint(dimension=4) as gone:
        url = gone.base_url
    with pytest.raises(errors.ConnectionFailedError, match="base_url") as caught:
        colour.embed(make_client(base_url=url), ["a"])
    assert len(caught.value.attempts) == 4
    assert os.strerror(errno.ECONNREFUSED) in str(caught.value)


def test_where_nothing_listens_a_large_call_knocks_a_few_times(
    colour: Any, make_client: Any
) -> None:
    with LocalEndpoint(dimension=4) as gone:
        url = gone.base_url
    client = make_client(base_url=url, batch_size=1)
    with pytest.raises(errors.ConnectionFailedError):
        colour.embed(client, [f"text {n}" for n in range(1_000)])
    assert client.stats.requests <= 24


def test_where_a_server_speaks_no_tls_the_error_says_so(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    url = endpoint.base_url.replace("http:", "https:")
    with pytest.raises(errors.ConnectionFailedError, match="could be made: TLS: "):
        colour.embed(make_client(base_url=url, max_retries=0), ["a"])
    assert endpoint.requests == 0


def test_a_server_that_never_answers_runs_into_the_timeout(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail("hang", times=None)
    for texts in (["one"], ["one", "two"]):
        with pytest.raises(errors.RequestTimeoutError):
            colour.embed(make_client(timeout=0.2, max_retries=0, batch_size=1), texts)


def test_a_deadline_ends_a_call_that_could_go_on(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.script([None, "hang", "hang"])
    client = make_client(deadline=0.4, batch_size=1, max_concurrency=3)
    with pytest.raises(errors.DeadlineExceededError) as caught:
        colour.embed(client, ["a", "b", "c"])
    # On a busy machine the first answer may come too late, too.
    missing, partial = set(caught.value.indices), caught.value.partial
    assert partial is not None
    assert len(missing) >= 2
    assert missing | set(partial.results) == {0, 1, 2}


def test_a_slow_server_costs_no_request_its_time(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    # 12 requests of 0.1 s one after another: longer in all than one may take.
    endpoint.slow(0.1)
    texts = [f"t{n}" for n in range(12)]
    client = make_client(timeout=0.8, max_retries=0, max_concurrency=1, batch_size=1)
    assert colour.embed(client, texts) == right(texts)


def test_the_first_fatal_error_does_not_wait_for_slow_siblings(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.script(["hang", "hang", 401, "hang"])
    client = make_client(batch_size=1, max_concurrency=4, timeout=60.0, deadline=30.0)
    with pytest.raises(errors.AuthenticationError):
        colour.embed(client, ["a", "b", "c", "d"])


def test_ten_thousand_texts_come_home_through_a_storm(
    colour: Any, make_client: Any, endpoint: LocalEndpoint, right: Any
) -> None:
    endpoint.fail_every(10, EVERY_WAY)
    texts = [f"text number {n}" for n in range(10_000)]
    client = make_client(batch_size=25)
    assert colour.embed(client, texts) == right(texts)
    assert {entry.fault for entry in endpoint.log} >= {f.kind for f in EVERY_WAY}
    assert endpoint.requests == 400 + endpoint.failed
    assert set(endpoint.seen.values()) == {1}


# Where requests go out


def test_a_single_text_goes_out_in_the_callers_own_thread(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    send = requests.adapters.HTTPAdapter.send

    def spy(self: Any, *given: Any, **named: Any) -> Any:
        names.append(threading.current_thread().name)
        return send(self, *given, **named)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", spy)
    client = make_client(batch_size=1)
    client.embed(["one"])
    assert names == [threading.current_thread().name]
    client.embed(["one", "two"])
    assert set(names[1:]) == {"together-embed"}


async def test_a_single_text_goes_out_in_the_callers_own_task(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[object] = []
    post = aiohttp.ClientSession.post

    def spy(self: Any, *given: Any, **named: Any) -> Any:
        tasks.append(asyncio.current_task())
        return post(self, *given, **named)

    monkeypatch.setattr(aiohttp.ClientSession, "post", spy)
    client = make_client(batch_size=1)
    await client.aembed(["one"])
    assert tasks == [asyncio.current_task()]
    await client.aembed(["one", "two"])
    assert asyncio.current_task() not in tasks[1:]
    assert len(set(tasks[1:])) == 2
    await client.aclose()


async def test_a_list_of_many_texts_is_looked_through_beside_the_loop(
    make_client: Any, endpoint: LocalEndpoint
) -> None:
    readers: set[int] = set()

    class Text(str):
        def isascii(self) -> bool:
            readers.add(threading.get_ident())
            return super().isascii()

    client = make_client()
    assert await client.aembed([Text("a")] * 20_000) == [endpoint.embed("a")] * 20_000
    assert threading.get_ident() not in readers
    await client.aembed([Text("a")])
    assert threading.get_ident() in readers
    await client.aclose()


async def test_many_texts_are_entered_and_copied_beside_the_loop(
    make_client: Any, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    doers: dict[str, set[bool]] = {"add": set(), "take": set()}

    def watch(name: str, work: Any) -> Any:
        def watched(*given: Any) -> Any:
            doers[name].add(threading.get_ident() == here)
            return work(*given)

        return watched

    here = threading.get_ident()
    for name in doers:
        monkeypatch.setattr(Job, name, watch(name, getattr(Job, name)))
    client = make_client(batch_size=1000)
    texts = [f"text {number % 2_000}" for number in range(20_000)]
    rows = await client.aembed(texts)
    assert doers == {"add": {False}, "take": {False}}
    assert rows[:2_000] == [endpoint.embed(text) for text in texts[:2_000]]
    assert rows[2_000:] == rows[:2_000] * 9
    assert len({*map(id, rows)}) == len(rows)
    await client.aembed(["a", "a"])
    assert doers == {"add": {False, True}, "take": {False, True}}
    await client.aclose()


async def test_a_call_that_is_cancelled_while_its_texts_are_entered_leaves_none(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on, enter = threading.Event(), threading.Event(), Job.add

    def add(*given: Any) -> None:
        begun.set()
        assert may_go_on.wait(10)
        enter(*given)

    monkeypatch.setattr(Job, "add", add)
    client = make_client()
    call = asyncio.create_task(client.aembed([f"text {n}" for n in range(20_000)]))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0.001)
    assert not call.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.stats.calls == 1
    monkeypatch.undo()
    assert len(await client.aembed(["text 7"])) == 1
    assert (client.stats.requests, client.stats.shared) == (1, 0)
    assert not client._calls.here()._sharing.known
    await client.aclose()


def test_many_requests_are_in_flight(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.slow(0.05)
    colour.embed(make_client(batch_size=1), [f"t{n}" for n in range(40)])
    assert endpoint.in_flight_max >= 8


def test_numbers_are_those_of_the_server_bit_for_bit(
    colour: Any, make_client: Any, right: Any
) -> None:
    (row,) = colour.embed(make_client(), ["bits"])
    assert row == right(["bits"])[0]
    assert all(math.isfinite(number) for number in row)


def test_a_server_that_ignores_the_width_asked_for_is_asked_once(colour: Any) -> None:
    with LocalEndpoint(dimension=8, dimensions="ignore") as ignoring:
        client = EmbeddingsClient(
            "m", api_key=KEY, base_url=ignoring.base_url, dimensions=4
        )
        with pytest.raises(errors.InvalidResponseError, match="not honour dimensions"):
            colour.embed(client, ["a"])
        assert ignoring.requests == 1


def test_a_request_of_two_megabytes_goes_out_without_a_warning(
    colour: Any, make_client: Any, endpoint: LocalEndpoint
) -> None:
    texts = [f"{number} " + "x" * 18_000 for number in range(100)]
    client = make_client()
    assert colour.embed(client, texts) == [endpoint.embed(text) for text in texts]
    assert endpoint.requests == 1
    colour.close(client)
