"""What the engine makes of each regime; virtual time, so the numbers are exact."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simulation.measure import Result, measure, worst
from simulation.other import windowed
from simulation.regimes import REGIMES, Regime, batches
from simulation.servers import Open, Work
from simulation.world import Landing, World

SHARE, REFUSED = 0.95, 0.02
"""What is to be reached: of the ideal, and at most of the requests, after the start."""
SHORT_OF = {
    # share, refused: what is reached where that is not.
    "tokens a minute, bucket": (0.95, 0.025),  # what was saved is spent too early
    "10, then 40 a second, by turns": (0.94, 0.02),  # a rise is noticed after 5 s
    "20 clients, cap 40": (0.95, 0.13),  # each one's probe is another one's refusal
    "20 clients, 100 a second": (0.95, 0.13),
    "1,000 clients, 200 a second": (0.95, 0.9),  # one each five seconds
}
FAIR = {
    "20 clients, cap 40": 0.2,
    "20 clients, 100 a second": 0.2,
    "20 clients, 32 slots": 0.5,
    "1,000 clients, 200 a second": 0.4,
}
"""Jain's index over a minute or two: 1 is fair, 1/clients is one that has it all."""
NAMES = [regime.name for regime in REGIMES]


@pytest.fixture(scope="module", params=REGIMES, ids=NAMES)
def result(request: pytest.FixtureRequest) -> Result:
    regime: Regime = request.param
    return measure(regime)


def test_the_share_of_the_ideal_is_reached(result: Result) -> None:
    share, refused = SHORT_OF.get(result.name, (SHARE, REFUSED))
    assert result.share >= share
    assert result.refused <= refused
    assert result.failed == 0
    assert result.fairness >= FAIR.get(result.name, 1.0)


@pytest.mark.parametrize(("name", "slots"), [("4 slots", 4), ("queue, 32", 32)])
def test_no_long_queue_is_kept_at_a_server(name: str, slots: int) -> None:
    regime = next(one for one in REGIMES if name in one.name)
    (client,) = regime.run().clients
    # Twice the least latency is tolerated, and a step of a quarter on top is tried.
    assert client.flow.limit <= 3.5 * slots


@pytest.mark.parametrize("requests", [50, 100])
def test_a_limit_by_the_second_is_used_and_seldom_asked_for_more(requests: int) -> None:
    result = measure(replace(windowed(requests, 1), seconds=120.0))
    assert result.share >= 0.9
    assert result.refused <= 0.03


def test_what_falls_short_is_a_regime_that_there_is() -> None:
    assert {*SHORT_OF, *FAIR} <= set(NAMES)


def test_a_query_does_not_wait_behind_a_corpus() -> None:
    regime = next(one for one in REGIMES if one.name == "429 above 8")
    world = World(regime.server(random.Random(0)))
    client = world.client(batch_size=100)
    client.start(batches(1))
    queries = [client.start(iter([[f"query {n}"]]), 5.0 + 0.7 * n) for n in range(40)]
    world.run(60.0)
    seconds = sorted(call.over_at - call.began_at for call in queries)
    # A request takes 0.32 s, and a place is free every 0.04 s.
    assert seconds[len(seconds) // 2] <= 0.45
    assert seconds[-1] <= 1.5


def test_a_refusal_that_nobody_caused_is_not_counted() -> None:
    landings = [
        Landing(float(n), float(n), 429 if n % 2 else 200, 0, 1, accident=n % 4 == 1)
        for n in range(40)
    ]
    world = World(Open(Work(random.Random(0))), landings=landings)
    world.client()
    regime = replace(REGIMES[0], seconds=40.0)
    object.__setattr__(regime, "run", lambda _seed: world)
    assert measure(regime).refused == pytest.approx(0.25, abs=0.03)


def test_the_worst_of_several_seeds_is_shown() -> None:
    one = Result("a", 0.9, 0.01, 2.0, 1.0, 10, 0)
    two = Result("a", 0.8, 0.02, None, 0.5, 20, 1)
    assert worst([one, two]) == Result("a", 0.8, 0.02, None, 0.5, 30, 1)


def test_the_same_seed_gives_the_same_numbers() -> None:
    regime = next(one for one in REGIMES if one.name == "429 above 8")
    assert measure(regime, seed=7) == measure(regime, seed=7)
    assert measure(regime, seed=7) != measure(regime, seed=8)


def test_the_table_can_be_had_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--json", "10 a second, burst 10"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = [
        one for one in json.loads(done.stdout) if one["name"] == "10 a second, burst 10"
    ]
    assert row["share"] >= SHARE


def test_the_table_fits_eighty_columns() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "429 above 8"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("hedge", [None, 0.05])
def test_hedging_ends_a_call_sooner_where_few_requests_are_slow(
    hedge: float | None,
) -> None:
    world = World(Open(Work(random.Random(2), slow=0.02)), 2)
    client = world.client(hedge=hedge, batch_size=1)
    call = client.start(iter([[f"text {number}"] for number in range(600)]))
    world.run()
    seconds, stats = call.over_at - call.began_at, client.stats
    assert stats.texts == 600
    assert stats.hedged <= 0.05 * stats.requests
    assert seconds < 4 if hedge else seconds > 8
