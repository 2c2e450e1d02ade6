"""Whose fault a refusal is: what is told from the requests that went out before it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from together_embed.engine.blame import Jury
from together_embed.engine.signals import Permit

TRIP = 0.3


class Court:
    """A jury that saw so many in flight at each request, a tenth of a second apart."""

    def __init__(self, levels: Sequence[int], apart: float = 0.1) -> None:
        self.jury = Jury()
        self.serial = -1
        self.apart = apart
        self.send(levels)

    def send(self, levels: Sequence[int]) -> Permit:
        for level in levels:
            self.serial += 1
            permit = Permit(self.serial, level, self.serial * self.apart, 0.0)
            self.jury.sent(permit)
        return permit

    def judge(self, level: int, *, steady: bool = True, wary: bool = False) -> bool:
        """Refuse one more, sent with so many in flight."""
        permit = self.send([level])
        found = self.jury.judge(permit, TRIP, steady=steady, wary=wary)
        self.jury.strike(permit)
        return found


def both(levels: Sequence[int], refused: int) -> tuple[bool, bool]:
    """Tell whether two such refusals speak for a rate, and whether for a cap.

    For the latter, against a jury that is of the other opinion.
    """
    fresh = Court(levels)
    fresh.judge(refused)
    for_rate = fresh.judge(refused)
    convinced = Court([10] * 8)
    assert [convinced.judge(5) for _ in range(2)] == [False, True]
    convinced.send(levels)
    for _ in range(3):
        assert convinced.judge(refused)
    return for_rate, not convinced.judge(refused)


def test_refusals_only_where_more_is_in_flight_than_was_accepted_are_a_cap() -> None:
    assert both([8] * 40, refused=9) == (False, True)


def test_refusals_where_more_was_accepted_of_late_are_a_rate() -> None:
    assert both([12] * 40, refused=9) == (True, False)


@pytest.mark.parametrize(
    ("beyond", "speaks"), [(2, (False, True)), (4, (False, False)), (5, (True, False))]
)
def test_two_accepted_at_such_a_number_are_an_accident_and_five_are_none(
    beyond: int, speaks: tuple[bool, bool]
) -> None:
    assert both([1] * 40 + [20] * beyond, refused=9) == speaks


@pytest.mark.parametrize(("accepted", "rate"), [(17, False), (18, True)])
def test_an_eighth_more_than_was_refused_can_be_the_answers_on_their_way(
    accepted: int, rate: bool
) -> None:
    assert both([accepted] * 40, refused=16) == (rate, False)


def test_what_went_out_long_before_says_nothing() -> None:
    old = Court([20] * 9 + [1] * 30)  # the last of the nine is out of the newest 32
    assert [old.judge(9) for _ in range(4)] == [False] * 4
    young = Court([20] * 9 + [1] * 26)
    assert [young.judge(9) for _ in range(2)] == [False, True]


def test_three_round_trips_are_of_late_however_many_went_out() -> None:
    busy = Court([20] * 9 + [1] * 50, apart=0.015)
    assert [busy.judge(9) for _ in range(2)] == [False, True]
    idle = Court([20] * 9 + [1] * 50, apart=0.02)
    assert [idle.judge(9) for _ in range(4)] == [False] * 4


def test_a_cap_is_not_believed_while_the_window_grows_fast() -> None:
    court = Court([10] * 8)
    assert [court.judge(5) for _ in range(2)] == [False, True]
    for _ in range(9):
        assert court.judge(50, steady=False)


def test_an_opinion_is_given_up_after_two_votes_more_for_the_other() -> None:
    court = Court([10] * 40)
    assert [court.judge(5) for _ in range(9)] == [False] + [True] * 8
    # Four votes are remembered: six the other way are two more.
    assert [court.judge(50) for _ in range(6)] == [True] * 5 + [False]
    for _ in range(9):
        court.judge(50)
    court.send([10] * 40)
    assert [court.judge(5) for _ in range(6)] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("at_once", "accepted", "votes"),
    [(3, 13, True), (3, 14, False), (2, 1, False), (40, 31, True), (40, 32, False)],
)
def test_where_some_mean_nothing_the_fourth_within_sixteen_votes(
    at_once: int, accepted: int, votes: bool
) -> None:
    court = Court([12] * 40)
    assert not court.judge(9)  # one vote for a rate
    court.send([12] * 40)
    for _ in range(at_once):
        permit = court.send([9])
        court.jury.strike(permit)
    court.send([12] * accepted)
    assert court.judge(9, wary=True) == votes


def test_a_jury_that_acquits_begins_anew() -> None:
    court = Court([12] * 40)
    assert [court.judge(9) for _ in range(2)] == [False, True]
    court.jury.acquit()
    assert [court.judge(9) for _ in range(2)] == [False, True]


def test_the_closest_are_two_requests_that_were_both_accepted() -> None:
    jury = Jury()
    permits = [
        Permit(n, 1, at, 0.0) for n, at in enumerate((5.0, 6.0, 6.5, 8.0, 8.1, 9.0))
    ]
    for permit in permits:
        jury.sent(permit)
    jury.strike(permits[4])
    assert jury.closest(permits[5]) == 0.5
    assert jury.closest(permits[2]) == 1.0
    assert jury.closest(permits[0]) == 0.0


def test_two_refusals_in_a_row_that_came_closer_show_that_closeness_is_minded() -> None:
    jury = Jury()

    def crowded(gap: float) -> bool:
        return jury.count_crowding(Permit(0, 1, 0.0, 0.0, gap), closest=1.0)

    assert [crowded(gap) for gap in (0.89, 0.91, 0.89, 0.89)] == [False] * 3 + [True]
    assert not crowded(0.9)
