"""Which request meets which fault."""

from collections.abc import Sequence

import pytest

from together_embed.local import Fault, LocalEndpoint
from together_embed.local.faults import EVERY_WAY
from together_embed.local.schedule import Schedule

from .conftest import Ask


def kinds(schedule: Schedule, count: int) -> list[str | None]:
    drawn = [schedule.draw() for _ in range(count)]
    return [fault and fault.kind for fault in drawn]


def statuses(ask: Ask, endpoint: LocalEndpoint, count: int) -> Sequence[int]:
    return [ask(endpoint, "t").status_code for _ in range(count)]


def test_a_script_is_followed_from_the_first_request_on(ask: Ask) -> None:
    with LocalEndpoint(script=[429, None, 503, 200, "short"]) as endpoint:
        assert statuses(ask, endpoint, 6) == [429, 200, 503, 200, 200, 200]
        assert [entry.fault for entry in endpoint.log] == (
            ["status", None, "status", None, "short", None]
        )


def test_faults_queue_up_in_the_order_they_were_set(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        endpoint.fail(500, times=2)
        endpoint.fail(503)
        assert statuses(ask, endpoint, 4) == [500, 500, 503, 200]


def test_a_fault_without_an_end_holds_until_it_is_healed(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        endpoint.fail(429, times=None)
        assert statuses(ask, endpoint, 5) == [429] * 5
        endpoint.heal()
        assert statuses(ask, endpoint, 2) == [200, 200]


def test_a_request_that_is_wrong_in_itself_uses_up_no_fault(ask: Ask) -> None:
    with LocalEndpoint(script=[503]) as endpoint:
        assert ask(endpoint, "t", key=None).status_code == 401
        assert ask(endpoint, "t", model=3).status_code == 400
        assert ask(endpoint).status_code == 200, "no text, no row to spoil"
        assert ask(endpoint, "t").status_code == 503


def test_one_request_in_ten_fails_in_every_way_in_turn() -> None:
    schedule = Schedule()
    schedule.every(10, EVERY_WAY)
    drawn = [schedule.draw() for _ in range(10 * len(EVERY_WAY) * 2)]
    assert [fault for fault in drawn if fault] == [*EVERY_WAY, *EVERY_WAY]
    assert all(drawn[at] for at in range(9, len(drawn), 10))


def test_a_storm_falls_the_same_way_for_the_same_seed() -> None:
    one, same, other = Schedule(), Schedule(), Schedule()
    one.storm(0.3, 5, EVERY_WAY)
    same.storm(0.3, 5, EVERY_WAY)
    other.storm(0.3, 6, EVERY_WAY)
    drawn = kinds(one, 2000)
    assert kinds(same, 2000) == drawn != kinds(other, 2000)
    assert 500 < sum(kind is not None for kind in drawn) < 700
    assert {kind for kind in drawn if kind} == {fault.kind for fault in EVERY_WAY}


def test_a_storm_can_be_made_of_what_one_likes(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        endpoint.storm(1.0, faults=[500, Fault("status", status=503)])
        assert set(statuses(ask, endpoint, 20)) == {500, 503}
        endpoint.fail_every(2, faults=[504])
        endpoint.storm(0.0)
        assert statuses(ask, endpoint, 4) == [200, 504, 200, 504]


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    schedule = Schedule()
    with pytest.raises(ValueError, match="period"):
        schedule.every(0, EVERY_WAY)
    with pytest.raises(ValueError, match="rate"):
        schedule.storm(1.1, 0, EVERY_WAY)
    with pytest.raises(ValueError, match="at least one"):
        schedule.every(3, [])
    with pytest.raises(TypeError, match="no fault"):
        schedule.every(3, [None])
