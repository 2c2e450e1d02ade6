"""The client against limits of the local endpoint, as `python -m simulation.wire` does.

What shares they reach is the business of a quiet machine, and not looked at here.
"""

from __future__ import annotations

import pytest

from simulation.wire import CASES, HEADING, TABLE, Case
from together_embed import EmbeddingsClient


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_client_gets_its_texts_through_each_limit(case: Case) -> None:
    texts = [f"text {number}" for number in range(20)]
    with case.serving() as (url, limits):
        limits.take = lambda _: None  # no request takes its time
        client = EmbeddingsClient("m", api_key="k", base_url=url, batch_size=1)
        assert len(client.embed(texts)) == len(texts)
        client.close()
    refused = sum(refused for _, refused in limits.came)
    assert len(texts) + refused <= len(limits.came) <= client.stats.requests


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_model_beside_it_carries_what_is_called_ideal(case: Case) -> None:
    assert 0.5 < case.simulate(12.0).share < 1.2


def test_the_table_on_the_page_is_found_and_replaced() -> None:
    page = f"before\n\n{HEADING}\n| old | 1 |\n\nafter\n"
    assert TABLE.sub("new", page) == "before\n\nnew\n\nafter\n"
