"""What single refusals teach window and pace."""

from __future__ import annotations

import pytest

from together_embed.engine.marks import FUTILE, Marks
from together_embed.engine.pace import LEAST_CYCLE, NEARLY, SURPRISE, UNDER, Pace
from together_embed.engine.signals import Permit
from together_embed.engine.window import TRANSIT, Window


def permit(serial: int, at: float = 0.0, level: int = 1) -> Permit:
    return Permit(serial, level, at, 0.0)


def test_the_rate_is_what_was_accepted_between_two_refusals() -> None:
    marks = Marks()
    marks.add(permit(0, 0.0))
    assert marks.measure() is None
    marks.add(permit(21, 2.0))
    assert marks.measure() == 10.0


def test_every_second_refusal_that_no_pace_prevents_ends_what_was_measured() -> None:
    marks = Marks()
    assert [marks.count_futile() for _ in range(4)] == [False, True, False, True]


def test_refusals_where_they_are_due_speak_for_a_rate_half_as_loud() -> None:
    assert FUTILE == 3
    one_between, two_between = Marks(), Marks()
    for marks, due in ((one_between, 1), (two_between, 2)):
        marks.add(permit(0))
        assert not marks.count_futile()
        for _ in range(due):
            marks.count_telling()
    assert one_between.count_futile()
    assert not two_between.count_futile()


def settled() -> Window:
    """Return a window that a refusal has ended the growth of."""
    window = Window(100)
    window.refused(permit(20, level=65), 64, news=True)
    assert window.size == 32
    serial = 20
    while not window.is_steady:
        serial += 1
        window.right(permit(serial, level=window.size), 0.3, 1000, serial)
    return window


def test_doubling_that_is_refused_comes_back_to_a_little_less() -> None:
    assert settled().size == 64 - 64 // TRANSIT


def test_one_refusal_alone_at_a_size_that_was_carried_is_borne() -> None:
    window = settled()
    before = window.size
    window.refused(permit(5000, level=before), before - 1, news=True)
    assert window.size == before


def test_refusals_that_follow_each_other_cut_the_window() -> None:
    window = settled()
    before = window.size
    for serial in range(5000, 5004):
        window.refused(permit(serial, level=before), before - 1, news=True)
    assert window.size < before // 2


def paced(rate: float) -> Pace:
    """Return a pace that two refusals have taught a rate."""
    pace = Pace()
    pace.marks.add(permit(0, 0.0))
    pace.marks.add(permit(101, 100 / rate))
    assert pace.refused(100 / rate, 0.0)
    return pace


def test_a_cycle_begins_under_the_rate_and_ends_over_it() -> None:
    pace = paced(10.0)
    assert pace.rate == 10.0 * UNDER
    rates = []
    for _ in range(200):
        pace.send(100.0, 0.3)
        rates.append(pace.rate)
    assert rates[20] < 10.5
    assert rates[-1] is None  # nothing has refused: there is no such limit any more


def refuse_four(step: int) -> list[float]:
    pace = paced(40.0)
    known = []
    for number in range(4):
        pace.send(10.0 + number, 0.3)
        assert SURPRISE > 1
        pace.marks.add(permit(103 + step * number, 10.0 + number))
        pace.refused(10.0 + number, 0.0)
        known.append(pace.rate or 0.0)
    return known


def test_refusals_in_a_row_at_once_say_that_the_rate_has_fallen() -> None:
    known = refuse_four(2)
    assert known == sorted(known, reverse=True)
    assert known[-1] < 0.5 * known[0]


def test_refusals_with_nothing_accepted_between_them_measure_one_rate() -> None:
    known = refuse_four(1)
    # What was accepted, over the time that goes by.
    assert known[1:] == pytest.approx([101 / at * UNDER for at in (11.0, 12.0, 13.0)])


def test_a_pace_that_went_far_is_followed_by_a_guess_and_that_is_taken_back() -> None:
    pace = paced(10.0)
    while (pace.rate or 0.0) < 40.0:
        pace.send(20.0, 0.3)
    pace.marks.add(permit(160, 15.0))
    pace.refused(15.0, 0.0)
    guess = pace.rate or 0.0
    assert guess > 1.5 * 10.0
    pace.marks.add(permit(163, 15.2))
    pace.refused(15.2, 0.0)
    assert (pace.rate or 0.0) < 0.8 * guess


def test_the_cycle_of_a_guess_begins_with_it_and_goes_over_it_late() -> None:
    pace = paced(10.0)
    while (pace.rate or 0.0) < 11.0:
        pace.send(20.0, 0.3)
    tried = pace.rate or 0.0
    pace.marks.add(permit(150, 15.0))
    pace.refused(15.0, 0.7 / tried)  # the server minds no closeness
    guess = pace.rate or 0.0
    assert guess == NEARLY * tried
    for _ in range(LEAST_CYCLE // 2):
        pace.send(20.0, 0.3)
    assert guess < (pace.rate or 0.0) < 1.003 * guess
