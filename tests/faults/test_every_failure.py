"""Every failure of the local endpoint, alone and in storms, on each of the six ways."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from together_embed import errors
from together_embed.engine.retry import EARLY_CLOSES_FREE
from together_embed.local import Fault, LocalEndpoint
from together_embed.local.faults import (
    BROKEN,
    EVERY_WAY,
    FATAL,
    LAWFUL,
    PASSING,
    WRONG,
)

from .raw import right, vector
from .sizes import sized
from .ways import WAYS, Way

TEXTS = [f"text number {n}" for n in range(sized(600, 6_000))]
RETRIES = 20  # a batch that fails so often is one in 10^11 at three in ten


@pytest.fixture
def endpoint() -> Any:
    with LocalEndpoint(dimension=8, remember_texts=True) as running:
        yield running


def named(fault: Fault) -> str:
    return f"{fault.status}-{fault.shape}" if fault.kind == "status" else fault.kind


# What an answer that is too long leaves on its connection costs another request.
HARMFUL = tuple(
    Fault(kind, size=1 << 21, seconds=0.0)
    for kind in (
        *("flood", "nested", "bomb", "long_header", "long_length"),
        *("delay", "drip"),
    )
)


@pytest.mark.parametrize(
    "fault", PASSING + BROKEN + WRONG + LAWFUL + HARMFUL, ids=named
)
def test_each_failure_alone_costs_the_requests_that_met_it(
    way: Way, make: Any, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.script([fault, None, fault, None])
    model = make(way, endpoint.base_url, batch_size=10)
    assert way.embed(model, TEXTS[:60]) == right(TEXTS[:60])
    assert endpoint.requests == 6 + endpoint.failed
    assert endpoint.failed <= 2


@pytest.mark.parametrize("fault", FATAL, ids=named)
def test_what_asking_again_does_not_cure_is_raised_at_once_on_each_way(
    way: Way, make: Any, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.script([fault])
    model = make(way, endpoint.base_url, encoding_format="float")
    with pytest.raises(errors.StatusError) as raised:
        way.embed(model, TEXTS[:1])
    assert raised.value.status == fault.status
    assert not raised.value.transient
    assert endpoint.requests == 1
    assert way.embed(model, TEXTS[:1]) == right(TEXTS[:1])


@pytest.mark.parametrize("seed", range(sized(1, 20)))
def test_a_storm_of_three_in_ten_costs_no_vector_and_a_bounded_number_of_requests(
    way: Way, make: Any, endpoint: LocalEndpoint, seed: int
) -> None:
    endpoint.storm(0.3, seed=seed, faults=EVERY_WAY)
    model = make(way, endpoint.base_url, batch_size=10, max_retries=RETRIES)
    assert way.embed(model, TEXTS) == right(TEXTS)
    batches = len(TEXTS) // 10
    assert endpoint.requests == batches + endpoint.failed
    # A batch's bound is its retries; beyond it, what met a closed connection is free.
    assert endpoint.requests <= batches * (1 + RETRIES + EARLY_CLOSES_FREE)
    assert endpoint.failed <= batches  # the mean of 0.3 is 0.43 a batch
    assert set(endpoint.seen.values()) == {1}


@pytest.mark.parametrize("fault", PASSING + BROKEN + WRONG, ids=named)
def test_a_failure_without_end_ends_after_the_retries_of_the_policy(
    transport: Way, make: Any, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.fail(fault, times=None)
    model = make(transport, endpoint.base_url, max_retries=2, timeout=5.0)
    with pytest.raises(errors.RequestError):
        transport.embed(model, TEXTS[:3])
    assert endpoint.requests == 3


def texts_of(number: int) -> list[str]:
    return [f"text {n} of {number}" for n in range(20)]


@pytest.mark.parametrize("way", WAYS[::2], ids=lambda way: way.name)
def test_thirty_two_threads_share_one_object_through_a_storm(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.storm(0.3, seed=1, faults=EVERY_WAY)
    model = make(way, endpoint.base_url, batch_size=5, max_retries=RETRIES)
    with ThreadPoolExecutor(32) as pool:
        rows = list(pool.map(lambda n: way.embed(model, texts_of(n)), range(64)))
    assert rows == [[vector(text) for text in texts_of(n)] for n in range(64)]


@pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.name)
def test_four_event_loops_side_by_side_share_one_object_through_a_storm(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.storm(0.3, seed=1, faults=EVERY_WAY)
    model = make(way, endpoint.base_url, batch_size=5, max_retries=RETRIES)

    async def several(start: int) -> list[Any]:
        ask = getattr(model, way.method)
        return await asyncio.gather(*(ask(texts_of(start + n)) for n in range(4)))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: asyncio.run(several(4 * n)), range(4)))
    rows = [row for part in found for row in part]
    assert rows == [right(texts_of(n)) for n in range(16)]
