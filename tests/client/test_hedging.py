"""A second request for a slow one, over real connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from tests.conftest import Colour
from together_embed.errors import ConfigurationError
from together_embed.local import Fault, LocalEndpoint

TEXTS = [f"text {number:03}" for number in range(60)]
NEVER = 30.0
"""Seconds: longer than a test may take, so that waiting for it would show."""


def test_a_request_that_hangs_is_sent_again_and_its_twin_let_go(
    endpoint: LocalEndpoint, make_client: Any, colour: Colour, right: Any
) -> None:
    client = make_client(batch_size=1, hedge=0.2, timeout=NEVER)
    colour.embed(client, TEXTS)
    before = client.stats
    endpoint.fail(Fault("delay", seconds=NEVER))
    assert colour.embed(client, TEXTS[:40]) == right(TEXTS[:40])
    assert client.stats.hedged > before.hedged
    assert client.stats.failed == 0
    assert client.last_stats.seconds < NEVER


def test_a_lone_query_is_hedged_too(
    endpoint: LocalEndpoint, make_client: Any, colour: Colour, right: Any
) -> None:
    client = make_client(batch_size=1, hedge=1.0, timeout=NEVER)
    colour.embed(client, TEXTS[:30])
    endpoint.fail(Fault("delay", seconds=NEVER))
    assert colour.embed(client, ["text 001"]) == right(["text 001"])
    assert client.last_stats.hedged == 1
    assert client.last_stats.requests == 2


def test_off_by_default_nothing_is_sent_twice(
    endpoint: LocalEndpoint, make_client: Any, colour: Colour
) -> None:
    client = make_client(batch_size=1)
    colour.embed(client, TEXTS[:30])
    endpoint.fail(Fault("delay", seconds=0.3))
    colour.embed(client, TEXTS[:30])
    assert client.stats.hedged == 0
    assert endpoint.requests == 60


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_is_above_nothing_and_no_more_than_all(
    make_client: Any, share: float
) -> None:
    with pytest.raises(ConfigurationError, match="hedge"):
        make_client(hedge=share)


def test_both_adapters_pass_the_share_on(endpoint: LocalEndpoint) -> None:
    url = endpoint.base_url
    chain: Any = TogetherEmbeddings(model="m", base_url=url, hedge=0.05)
    index: Any = TogetherEmbedding("m", api_base=url, hedge=0.05)
    assert chain.client.settings.hedge == index.client.settings.hedge == 0.05


def test_calls_that_share_a_slow_text_get_it_from_the_second_request(
    endpoint: LocalEndpoint, make_client: Any, right: Any
) -> None:
    client = make_client(batch_size=1, hedge=1.0, timeout=NEVER)
    client.embed(TEXTS[:30])
    endpoint.fail(Fault("delay", seconds=NEVER))
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.embed, ["text 001"]) for _ in range(4)]
        assert [call.result() for call in calls] == [right(["text 001"])] * 4
    assert client.stats.failed == 0
