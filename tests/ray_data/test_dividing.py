"""The parts of a shared limit, on a virtual clock: never more than the whole."""

from __future__ import annotations

import random

import pytest

from together_embed.errors import ConfigurationError
from together_embed.ray.limit import LEASE, RENEWAL, Bounds, Divider

LIMIT = Bounds(requests_per_second=60.0, tokens_per_minute=600.0, max_concurrency=8)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Tenants:
    """Those that share a limit, as they see their parts."""

    def __init__(self, bounds: Bounds = LIMIT) -> None:
        self.clock = Clock()
        self.divider = Divider(bounds, self.clock)
        self.held: dict[str, Bounds] = {}

    def turn(self, *names: str) -> dict[str, Bounds]:
        """Let each ask once more; return what they hold."""
        self.clock.now += RENEWAL
        for name in names:
            part = self.divider.renew(name, 0)
            if part is not None:
                self.held[name] = part
        return self.held

    def rate(self, name: str) -> float | None:
        return self.held[name].requests_per_second


def test_who_is_alone_has_all_of_it() -> None:
    assert Tenants().turn("a") == {"a": LIMIT}


def test_one_that_comes_waits_until_the_other_has_made_room() -> None:
    tenants = Tenants()
    tenants.turn("a")
    assert tenants.divider.renew("b", 0) is None
    assert tenants.turn("a", "b").keys() == {"a"}  # it has only just been told
    tenants.turn("a", "b")
    half = Bounds(30.0, 300.0, 4)
    assert tenants.held == {"a": half, "b": half}


def test_what_one_that_goes_has_held_is_divided_among_the_others() -> None:
    tenants = Tenants()
    for _ in range(3):
        tenants.turn("a", "b", "c")
    assert [tenants.rate(name) for name in "abc"] == pytest.approx([20, 20, 20])
    assert [tenants.held[name].max_concurrency for name in "abc"] == [3, 3, 2]
    tenants.divider.leave("b")
    tenants.turn("a", "c")
    assert [tenants.rate(name) for name in "ac"] == pytest.approx([30, 30])


def test_the_part_of_one_that_died_is_free_when_its_time_is_over() -> None:
    tenants = Tenants()
    for _ in range(3):
        tenants.turn("dead", "a")
    for _ in range(int(LEASE / RENEWAL)):
        tenants.turn("a")
        assert tenants.rate("a") == 30
    tenants.turn("a")
    assert tenants.held["a"] == LIMIT
    assert tenants.divider.tenants() == 1


def test_requests_that_are_still_in_flight_are_not_given_to_others() -> None:
    tenants = Tenants(Bounds(max_concurrency=8))
    tenants.turn("a")
    for _ in range(5):
        assert tenants.divider.renew("b", 0) is None
        tenants.divider.renew("a", 8)  # told to hold 4, but the 8 have not landed
    tenants.divider.renew("a", 5)
    assert tenants.divider.renew("b", 0) == Bounds(max_concurrency=3)


def test_where_there_are_more_of_them_than_places_the_last_ones_wait() -> None:
    tenants = Tenants(Bounds(max_concurrency=2))
    for _ in range(4):
        tenants.turn("a", "b", "c")
    assert tenants.held.keys() == {"a", "b"}
    tenants.divider.leave("a")
    tenants.turn("b", "c")
    assert tenants.held["c"] == Bounds(max_concurrency=1)


@pytest.mark.parametrize("seed", range(20))
def test_however_they_come_and_go_the_parts_never_sum_up_to_more(seed: int) -> None:
    dice = random.Random(seed)
    tenants, alive = Tenants(), dict[str, float]()
    for step in range(600):
        tenants.clock.now += dice.random() * RENEWAL
        if dice.random() < 0.2 and len(alive) < 12:
            alive[f"{step}"] = 0.0
        for name in list(alive):
            if dice.random() < 0.03:  # goes, or dies without a word
                del alive[name]
                tenants.held.pop(name, None)
                if dice.random() < 0.5:
                    tenants.divider.leave(name)
            elif dice.random() < 0.5 and (part := tenants.divider.renew(name, 0)):
                tenants.held[name] = part
        parts = tenants.held.values()
        assert sum(part.requests_per_second or 0 for part in parts) <= 60 + 1e-6
        assert sum(part.tokens_per_minute or 0 for part in parts) <= 600 + 1e-6
        assert sum(part.max_concurrency or 0 for part in parts) <= 8


def test_a_division_among_a_known_number_needs_no_actor() -> None:
    assert LIMIT.part(4) == Bounds(15.0, 150.0, 2)
    assert Bounds(requests_per_second=9.0).part(2) == Bounds(4.5)
    with pytest.raises(ConfigurationError, match="cannot be divided among 9 actors"):
        LIMIT.part(9)
    with pytest.raises(ConfigurationError, match="at least 1"):
        LIMIT.part(0)
