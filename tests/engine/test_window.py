"""The window's course with servers of a kind: at which answer it goes where.

The numbers of these courses are what the window finds, and when: a change of them is a
change of behaviour, to be looked at in the simulation before they are written anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from together_embed.engine.signals import Permit
from together_embed.engine.window import Window


class Carrier:
    """A window, and a server that answers one request after the other.

    Args:
        seconds: What an answer takes with so many in flight.
        cap: More in flight are refused.
    """

    def __init__(
        self, seconds: Callable[[int], float], cap: float = math.inf, ceiling: int = 100
    ) -> None:
        self.window = Window(ceiling)
        self.seconds = seconds
        self.cap = cap
        self.serial = 0
        self.refused = 0

    def permit(self, level: int) -> Permit:
        self.serial += 1
        return Permit(self.serial, level, 0.0, 0.0)

    def answer(self, size: int = 1000) -> None:
        """Answer one request, with as many in flight as the window allows."""
        level = self.window.size
        permit = self.permit(level)
        if level > self.cap:
            self.refused += 1
            self.window.refused(permit, level - 1, news=True)
        else:
            self.window.right(permit, self.seconds(level), size, permit.serial)

    def course(self, answers: int) -> str:
        """Answer so many; return the sizes, and after which answer each was chosen.

        A `..` stands for sizes that grow by one with each answer.
        """
        told = [f"{self.window.size}"]
        grew = False
        for number in range(1, answers + 1):
            before = self.window.size
            self.answer()
            grows = self.window.size == before + 1
            if grows and grew:
                told[-1] = f"..{self.window.size}"
            elif self.window.size != before:
                told.append(f"{number}:{self.window.size}")
            if grows and not grew:
                told.append("")
            grew = grows
        return " ".join(part for part in told if part)


def constant(_level: int) -> float:
    return 0.3


def slots(count: int) -> Callable[[int], float]:
    """Let all but so many wait."""
    return lambda level: 0.3 * max(1.0, level / count)


def test_without_limits_it_opens_by_one_with_each_answer_up_to_the_users_bound() -> (
    None
):
    assert Carrier(constant).course(400) == "10 1:11 ..100"
    assert Carrier(constant, ceiling=40).course(400) == "10 1:11 ..40"


def test_a_small_cap_is_tried_by_one_more_and_ever_more_seldom() -> None:
    six = Carrier(constant, 6)
    assert six.course(500) == (
        "10 1:4 2:5 ..7 5:3 6:4 ..6 27:7 28:6 53:7 54:6 104:7 105:6 205:7 206:6 306:7 "
        "307:6 407:7 408:6"
    )
    assert six.refused == 8


def test_a_cap_of_one_is_found() -> None:
    one = Carrier(constant, 1)
    assert one.course(200) == (
        "10 1:4 2:3 3:2 4:1 19:2 20:1 45:2 46:1 96:2 97:1 197:2 198:1"
    )


def test_a_large_cap_is_tried_after_two_round_trips() -> None:
    thirty = Carrier(constant, 30)
    assert thirty.course(700) == (
        "10 1:11 ..31 22:26 23:27 ..29 93:30 101:31 102:30 171:31 172:30 235:31 236:30 "
        "299:31 300:30 398:31 399:30 504:31 505:30 610:31 611:30"
    )
    assert thirty.refused == 8


def test_a_step_that_succeeds_is_followed_by_growth_until_one_does_not() -> None:
    assert Carrier(constant, 64).course(400) == (
        "10 1:11 ..65 56:59 57:60 185:61 201:62 ..65 205:61 351:62 367:63 ..65 370:62"
    )


def test_a_cap_that_rises_is_followed_at_the_next_step_and_one_that_falls_at_once() -> (
    None
):
    carrier = Carrier(constant, 6)
    assert carrier.course(60).endswith("53:7 54:6")
    carrier.cap = 40
    assert carrier.course(300) == (
        "6 44:7 50:8 ..41 84:38 171:39 181:40 ..41 183:39 271:40 282:41 283:40"
    )
    carrier.cap = 10
    assert carrier.course(300) == (
        "40 1:39 2:38 3:26 4:18 5:12 6:8 22:9 28:10 ..11 30:9 31:10 53:11 54:10 79:11 "
        "80:10 130:11 131:10 231:11 232:10"
    )


@pytest.mark.parametrize(
    ("count", "answers", "course"),
    [
        (
            1,
            150,
            "10 1:11 ..19 10:16 15:12 20:9 25:6 30:4 35:3 40:2 45:1 50:16 55:12 65:9 "
            "75:6 85:4 95:3 105:2 125:3 130:2 145:3 150:2",
        ),
        (8, 160, "10 1:11 ..19 10:16 15:12 20:9 25:6 30:16 65:20 70:16 105:20 110:16 "
         "145:20 150:16"),
        (32, 330, "10 1:11 ..58 49:49 61:36 70:27 76:49 184:61 199:49 307:61 322:49"),
    ],
)  # fmt: skip
def test_no_more_than_twice_as_many_are_in_flight_as_are_worked_on(
    count: int, answers: int, course: str
) -> None:
    carrier = Carrier(slots(count))
    assert carrier.course(answers) == course
    assert carrier.window.size <= 2 * count


def test_more_slots_are_found_by_steps_of_a_quarter_that_double() -> None:
    carrier = Carrier(slots(8))
    carrier.course(100)
    carrier.seconds = slots(24)
    assert carrier.course(100) == "16 5:20 10:28 17:44 28:28 84:35 92:28"


def test_a_server_that_is_slower_for_all_is_sent_as_many_as_before() -> None:
    carrier = Carrier(slots(24))
    carrier.course(400)
    size = carrier.window.size
    carrier.seconds = lambda level: 3 * slots(24)(level)
    carrier.course(30)
    assert carrier.window.size in (size, size * 3 // 4)
    carrier.course(300)
    assert size <= carrier.window.size <= size * 5 // 4


@pytest.mark.parametrize(("times", "less"), [(1.95, False), (2.05, True)])
def test_answers_that_take_twice_as_long_as_the_quickest_have_less_tried(
    times: float, less: bool
) -> None:
    carrier = Carrier(constant, ceiling=40)
    carrier.course(100)
    carrier.seconds = lambda _: 0.3 * times
    assert ("30" in carrier.course(20)) == less


def test_after_a_long_pause_it_opens_again_up_to_what_was_carried() -> None:
    carrier = Carrier(constant, 30)
    carrier.course(700)
    carrier.window.restart()
    assert carrier.window.safe == carrier.window.size == 1
    assert carrier.course(60) == "1 1:2 ..31 31:29"
    fast = Carrier(slots(8))
    fast.course(100)
    fast.window.restart()
    assert fast.course(60) == "1 1:2 ..15 15:11 20:8 25:6 30:11 55:13 60:17"


def test_answers_with_few_at_work_tell_nothing_about_more() -> None:
    window = Window(100)
    for serial in range(40):
        window.right(Permit(serial, 4, 0.0, 0.0), 0.3, 1000, serial)
    assert window.size == 10
    window.right(Permit(40, 5, 0.0, 0.0), 0.3, 1000, 40)
    assert window.size == 11


def test_an_answer_from_before_a_step_says_nothing_about_it() -> None:
    window = Window(100)
    sizes = []
    for serial in range(100):  # after the fifth answer they are to what went out before
        seconds = 0.3 if serial < 5 else 30.0
        window.right(Permit(serial, 50, 0.0, 0.0), seconds, 1000, newest=99)
        sizes.append(window.size)
    assert sizes == [*range(11, 101), *[100] * 10]


def test_times_are_compared_among_requests_of_about_the_same_size() -> None:
    mixed = Carrier(lambda level: 0.1)
    for number in range(60):
        big = number // 10 % 2 == 1
        mixed.seconds = lambda level, big=big: 3.0 if big else 0.1  # type: ignore[misc]
        mixed.answer(60_000 if big else 1000)
    assert mixed.window.size == 70


def test_a_new_bound_holds_at_once_and_where_it_alone_held_back_it_opens_again() -> (
    None
):
    carrier = Carrier(constant, ceiling=12)
    carrier.course(50)
    carrier.window.bound(5)
    assert (carrier.window.size, carrier.window.ceiling) == (5, 5)
    carrier.window.bound(30)
    assert carrier.course(100) == "5 1:6 ..30"


def test_a_higher_bound_opens_nothing_that_the_server_holds_back() -> None:
    carrier = Carrier(constant, 30, ceiling=50)
    carrier.course(300)
    carrier.window.bound(200)
    assert carrier.course(80) == "30"


def test_where_nothing_waits_any_more_steps_double_up_to_the_users_bound() -> None:
    carrier = Carrier(slots(8), ceiling=60)
    carrier.course(100)
    carrier.seconds = constant
    assert carrier.course(300) == "16 5:20 10:28 17:44 28:60"


def test_a_bound_that_is_raised_while_it_opens_is_opened_up_to() -> None:
    carrier = Carrier(constant, ceiling=40)
    carrier.course(10)
    carrier.window.bound(60)
    assert carrier.course(200) == "20 1:21 ..60"


def test_a_bound_that_is_raised_changes_nothing_about_a_cap_that_was_found() -> None:
    carrier = Carrier(constant, 30, ceiling=50)
    carrier.course(22)
    carrier.window.bound(200)
    assert carrier.course(60) == "26 1:27 ..29"


def test_a_bound_that_is_lowered_ends_steps_beyond_it() -> None:
    carrier = Carrier(slots(8))
    carrier.course(66)
    assert (carrier.window.size, carrier.window.safe) == (20, 16)
    carrier.window.bound(12)
    assert (carrier.window.size, carrier.window.safe) == (12, 12)
    assert carrier.course(100) == "12"
    searching = Carrier(slots(8))
    searching.course(22)
    searching.window.bound(5)
    assert searching.course(100) == "5 8:3 13:5"


def wary(cap: float = math.inf) -> Carrier:
    """Return a window of 30 that has borne two accidents."""
    carrier = Carrier(constant, 30)
    while carrier.serial < 600 or carrier.window.size != 30:
        carrier.answer()
    carrier.cap = cap
    for known in (False, True):
        for _ in range(15):
            carrier.permit(30)
        assert not carrier.window.is_wary
        carrier.window.refused(carrier.permit(30), 29, news=True)
        assert carrier.window.is_wary == known
    assert carrier.window.size == 30
    return carrier


@pytest.mark.parametrize(("between", "falls"), [(7, True), (8, False)])
def test_after_accidents_a_step_ends_with_the_second_refusal_within_eight(
    between: int, falls: bool
) -> None:
    carrier = wary()
    while carrier.window.size == 30:
        carrier.answer()
    assert carrier.window.size == 31
    carrier.window.refused(carrier.permit(31), 30, news=True)
    assert carrier.window.size == 31
    for _ in range(between):
        carrier.permit(31)
    carrier.window.refused(carrier.permit(31), 30, news=True)
    assert (carrier.window.size == 30) == falls


@pytest.mark.parametrize(("size", "between", "falls"), [(40, 9, True), (40, 10, False)])
def test_after_accidents_a_size_falls_where_a_quarter_of_it_is_between_refusals(
    size: int, between: int, falls: bool
) -> None:
    window = Carrier(constant, size)
    window.course(700)
    window.window.doubt()
    before = window.window.size
    for _ in range(2):
        for _ in range(between):
            window.permit(before)
        window.window.refused(window.permit(before), before - 1, news=True)
    assert before == 40
    assert (window.window.size < 40) == falls


@pytest.mark.parametrize(("between", "wary"), [(19, False), (20, True)])
def test_an_accident_is_half_the_window_of_requests_from_any_other_refusal(
    between: int, wary: bool
) -> None:
    carrier = Carrier(constant, 40)
    carrier.course(700)
    carrier.window.doubt()
    # The first is one, but no more than four are remembered; 4 and 4 later are none.
    for apart in (100, 4, 4, between + 1, between + 1, 4, 4):
        carrier.serial += apart - 1
        carrier.window.refused(carrier.permit(40), 40, news=True)
    assert carrier.window.size == 40
    assert carrier.window.is_wary == wary


def test_after_accidents_growth_goes_on_in_steps_that_double() -> None:
    carrier = wary(cap=60)
    sizes = {carrier.window.size}
    for _ in range(300):
        carrier.answer()
        sizes.add(carrier.window.size)
    assert sorted(sizes)[:5] == [30, 31, 33, 37, 45]


def test_where_there_are_accidents_a_step_is_tried_half_as_often() -> None:
    carrier = wary(cap=30)
    steps = []
    for number in range(3000):
        carrier.window.doubt()
        before = carrier.window.size
        carrier.answer()
        if carrier.window.size > before:
            steps.append(number)
    # 200 answers of 30 in flight, and what a step takes.
    assert 200 <= steps[-1] - steps[-2] < 215


def test_four_accidents_are_remembered_and_each_refusal_that_is_none_takes_one() -> (
    None
):
    carrier = Carrier(constant, 30)
    carrier.course(700)
    for _ in range(9):
        carrier.serial += 100
        carrier.window.refused(carrier.permit(30), 29, news=True)
    for _ in range(3):
        assert carrier.window.is_wary
        carrier.window.refused(carrier.permit(30), 29, news=True)
    assert not carrier.window.is_wary
