"""A second request for one that takes far longer than its like."""

from __future__ import annotations

import pytest

from tests.engine.virtual import Ask, Served, World, bad, good, lost, vector
from together_embed.engine.hedge import ENOUGH, SAVED

TEXTS = [f"text {number:03}" for number in range(60)]
SLOW = 40
"""The number of the request that takes long, when much is known of the others."""


def world_of(slow: Served, second: Served | None = None, **settings: object) -> World:
    """Answer in a second, but for one request; say what its second one gets."""
    seen: list[str] = []

    def serve(ask: Ask) -> Served:
        (text,) = ask.texts
        again, usual = text in seen, good(ask.texts)
        seen.append(text)
        if text != TEXTS[SLOW]:
            return usual
        if again:
            return usual if second is None else second
        return slow

    return World(serve, **{"batch_size": 1, "hedge": 0.1, **settings})  # type: ignore[arg-type]


def slow_answer() -> Served:
    return 100.0, good([TEXTS[SLOW]])


def rows() -> list[list[float]]:
    return [vector(text) for text in TEXTS]


def test_without_a_share_nothing_is_sent_twice() -> None:
    world = world_of(slow_answer(), hedge=None)
    assert world.embed(TEXTS) == rows()
    assert len(world.asks) == len(TEXTS)
    assert world.stats.seconds > 100


def test_the_first_right_answer_counts_and_nobody_waits_for_the_other() -> None:
    world = world_of(slow_answer())
    assert world.embed(TEXTS) == rows()
    assert len(world.asks) == len(TEXTS) + 1
    stats = world.stats
    assert (stats.hedged, stats.retries, stats.failed) == (1, 0, 0)
    assert stats.seconds < 30
    assert max(batch.attempts for batch in world.told) == 2
    assert len(world.told) == len(TEXTS)


def test_the_first_request_may_still_be_the_faster_one() -> None:
    world = world_of((4.0, good([TEXTS[SLOW]])), (100.0, good([TEXTS[SLOW]])))
    assert world.embed(TEXTS) == rows()
    assert world.stats.hedged == 1
    assert world.stats.seconds < 30


@pytest.mark.parametrize(
    "failure", [bad(429), bad(500), lost(), (1.0, good([])), bad(401)]
)
def test_a_second_request_that_fails_changes_nothing(failure: Served) -> None:
    world = world_of(slow_answer(), failure)
    assert world.embed(TEXTS) == rows()
    assert world.stats.retries == 0
    assert sum(world.stats.failures.values()) == world.stats.hedged > 0
    assert world.held == 0


def test_a_first_request_that_fails_leaves_it_to_the_second() -> None:
    world = world_of((4.0, bad(500)), (10.0, good([TEXTS[SLOW]])))
    assert world.embed(TEXTS) == rows()
    assert world.stats.hedged >= 1
    assert (world.stats.failures, world.stats.retries) == ({"500": 1}, 0)


def test_where_both_fail_the_batch_is_retried() -> None:
    world = world_of((4.0, bad(500)), (2.5, bad(500)))
    with pytest.raises(Exception, match="500"):
        world.embed(TEXTS)
    assert world.stats.hedged >= 1
    assert world.stats.retries == 8
    assert world.held == 0


def test_no_more_than_the_share_is_sent_twice() -> None:
    def serve(ask: Ask) -> Served:
        slow = ask.number > 100 and ask.number % 10 == 0
        return (50.0 if slow else 1.0), good(ask.texts)

    world = World(serve, batch_size=1, hedge=0.02, limit=16)
    world.embed([f"text {number:04}" for number in range(400)])
    assert 0 < world.stats.hedged <= 0.02 * world.stats.requests


def test_no_more_than_a_few_are_saved_up_for_the_day_when_all_is_slow() -> None:
    def serve(ask: Ask) -> Served:
        return (1.0 if ask.number < 900 else 9.0), good(ask.texts)

    world = World(serve, batch_size=1, hedge=0.5, limit=64)
    world.embed([f"text {number:04}" for number in range(950)])
    assert 0 < world.stats.hedged <= SAVED


def test_nothing_is_sent_twice_while_the_server_refuses() -> None:
    world = world_of(slow_answer())
    usual = world.server

    def serve(ask: Ask) -> Served:
        return bad(429) if ask.number == SLOW - 2 else usual(ask)

    world.server = serve
    world.embed(TEXTS[: SLOW + 1])
    hedged_at = [ask.at for ask in world.asks if ask.texts == [TEXTS[SLOW]]]
    assert all(at - hedged_at[0] > 5 for at in hedged_at[1:])


def test_nothing_is_sent_twice_before_enough_is_known() -> None:
    def serve(ask: Ask) -> Served:
        return (30.0 if ask.number == ENOUGH - 2 else 1.0), good(ask.texts)

    world = World(serve, batch_size=1, hedge=1.0, limit=1)
    world.embed(TEXTS[: ENOUGH - 1])
    assert world.stats.hedged == 0


def test_a_job_that_ends_lets_go_of_every_request() -> None:
    world = world_of(slow_answer())
    world.embed(TEXTS)
    world.land(all_of_it=True)
    assert world.held == 0


def test_a_stuck_request_that_holds_the_only_place_is_sent_again_all_the_same() -> None:
    world = world_of(slow_answer(), limit=256)
    world.flow._window.size = 1
    world.flow._window._doubling = False
    world.embed(TEXTS)
    assert world.stats.hedged == 1
    assert world.stats.seconds < 70


def test_the_users_own_bound_holds_for_second_requests_too() -> None:
    world = world_of(slow_answer(), limit=1)
    world.embed(TEXTS)
    assert world.stats.hedged == 0
    assert world.most == 1
