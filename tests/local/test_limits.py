"""What a limited endpoint refuses, and what it says about its limits."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from together_embed.local import LocalEndpoint
from together_embed.local.limits import Limits

from .conftest import Ask


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def hanging_request(endpoint: LocalEndpoint) -> socket.socket:
    body = json.dumps({"model": "m", "input": "t"}).encode()
    connection = socket.create_connection(("127.0.0.1", endpoint.port), timeout=10)
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: local\r\nAuthorization: Bearer k\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def until(holds: Callable[[], bool]) -> None:
    patience = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < patience, "never came to hold"
        time.sleep(0.005)


def test_a_request_above_the_number_in_flight_is_refused(ask: Ask) -> None:
    with LocalEndpoint(limits=Limits(max_in_flight=3)) as endpoint:
        endpoint.fail("hang", times=3)
        held = [hanging_request(endpoint) for _ in range(3)]
        until(lambda: endpoint.in_flight_max == 3)
        answer = ask(endpoint, "t")
        assert answer.status_code == 429
        assert answer.json()["error"]["type"] == "model_rate_limit"
        assert "Retry-After" not in answer.headers, "nobody knows how long"
        held.pop().close()
        until(lambda: ask(endpoint, "t").status_code == 200)
        endpoint.limits.max_in_flight = None
        assert ask(endpoint, "t").status_code == 200
        for connection in held:
            connection.close()
        until(lambda: len(endpoint.log) == endpoint.requests)
        assert ask(endpoint, "t").status_code == 200
        assert endpoint.in_flight_max == 3, "the most there were, not the last"


def test_requests_above_the_rate_are_refused_and_told_when_to_return(
    ask: Ask,
) -> None:
    clock = Clock()
    limits = Limits(requests_per_second=4, burst=2, clock=clock)
    with LocalEndpoint(limits=limits) as endpoint:
        answers = [ask(endpoint, "t") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["x-ratelimit-reset"] == "0.2500"
        assert answers[2].headers["Retry-After"] == "1"
        assert "x-ratelimit-limit" not in answers[0].headers
        clock.now += 0.25
        assert [ask(endpoint, "t").status_code for _ in range(2)] == [200, 429]
        clock.now += 3600
        assert [ask(endpoint, "t").status_code for _ in range(3)] == [200, 200, 429]


def test_limits_are_announced_on_every_answer_or_never(ask: Ask) -> None:
    clock = Clock()
    limits = Limits(requests_per_second=2, burst=2, announce="always", clock=clock)
    with LocalEndpoint(limits=limits) as endpoint:
        answers = [ask(endpoint, "t") for _ in range(3)]
        state = [
            tuple(answer.headers[f"x-ratelimit-{name}"] for name in names)
            for answer in answers
            for names in [("limit", "remaining", "reset")]
        ]
        empty = ("2", "0", "0.5000")
        assert state == [("2", "1", "0.0000"), empty, empty]
        limits.announce = "nothing"
        refused = ask(endpoint, "t")
        assert refused.status_code == 429
        assert not {"retry-after", "x-ratelimit-reset"} & {
            name.lower() for name in refused.headers
        }


def test_a_retry_after_can_be_a_lie(ask: Ask) -> None:
    limits = Limits(requests_per_second=1, clock=Clock(), retry_after="60")
    with LocalEndpoint(limits=limits) as endpoint:
        ask(endpoint, "t")
        assert ask(endpoint, "t").headers["Retry-After"] == "60"


def test_a_limit_can_change_while_it_runs(ask: Ask) -> None:
    limits = Limits(requests_per_second=1, clock=Clock())
    with LocalEndpoint(limits=limits) as endpoint:
        assert [ask(endpoint, "t").status_code for _ in range(2)] == [200, 429]
        limits.requests_per_second = None
        assert [ask(endpoint, "t").status_code for _ in range(3)] == [200] * 3


def test_slots_let_the_others_queue(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work: list[int] = [0]

    async def work(texts: int) -> None:
        at_work.append(at_work[-1] + texts)
        await asyncio.sleep(0.01)
        at_work.append(at_work[-1] - texts)

    with LocalEndpoint(slots=2) as endpoint:
        monkeypatch.setattr(endpoint._service, "_work", work)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(endpoint, "t"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert max(at_work) == 2
    assert at_work[-1] == 0


def test_an_answer_takes_its_delay_and_more_for_each_text(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    wait = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            slept.append(seconds)
        await wait(0)

    monkeypatch.setattr("together_embed.local.service.asyncio.sleep", sleep)
    with LocalEndpoint(delay=2, delay_per_text=0.5) as endpoint:
        ask(endpoint, "a", "b", "c")
        endpoint.slow(0, per_text=4)
        ask(endpoint, "a")
        endpoint.slow(0)
        ask(endpoint, "a")
    assert slept == [3.5, 4]
