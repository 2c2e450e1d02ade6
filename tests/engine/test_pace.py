"""A pace that refusals teach, request by request, and what its numbers are good for."""

from __future__ import annotations

import pytest

from together_embed.engine.pace import OVER, RUN, SURPRISE, UNDER, Metre, Pace
from together_embed.engine.signals import Permit

TRIP = 0.3


class Taught:
    """A pace, and a server that refuses after so many requests."""

    def __init__(self, rate: float = 10.0) -> None:
        self.pace = Pace()
        self.now = 0.0
        self.serial = 0
        self.rate = rate
        self.pace.marks.add(Permit(0, 1, 0.0, 0.0))
        self.refuse(24)

    def refuse(self, sent: int, rate: float = 0.0, closest: float = 0.0) -> bool:
        """Send so many, of which a rate is accepted, and refuse one more."""
        for _ in range(sent):
            self.pace.send(self.now, TRIP)
        self.serial += sent + 1
        self.now += sent / (rate or self.rate)
        self.late()
        return self.pace.refused(self.now, closest)

    def late(self) -> None:
        """Take in a refusal that tells nothing new."""
        self.pace.marks.add(Permit(self.serial, 1, self.now, 0.0))

    @property
    def known(self) -> float:
        """The rate that a cycle turns about, where it is no guess; at its beginning."""
        assert self.pace.rate is not None
        return self.pace.rate / UNDER

    def cycle(self, *, rate: float = 0.0, late: int = 0) -> int:
        """Send until the pace is over the rate, and refuse; return after how many."""
        over, sent = self.known * OVER, 0
        while self.pace.rate is not None and self.pace.rate < over * (1 - 1e-9):
            self.pace.send(self.now, TRIP)
            sent += 1
        for _ in range(late):
            self.late()
        self.refuse_after(sent, rate)
        return sent

    def refuse_after(self, sent: int, rate: float) -> None:
        self.serial += sent + 1
        self.now += sent / (rate or self.rate)
        self.late()
        self.pace.refused(self.now, 0.0)


def test_a_metre_spaces_what_goes_out_and_lets_a_late_start_be_caught_up() -> None:
    metre = Metre(4.0, slack=0.5)
    metre.charge(1, 100.0)
    assert metre.ready_at == 100.25  # it was idle, not late
    metre.charge(1, 100.75)
    assert metre.ready_at == 100.5  # half a second late: another may follow at once
    metre.charge(2, 100.75)
    assert metre.ready_at == 101.0
    metre.charge(-1, 100.75)
    assert metre.ready_at == 100.75
    metre.charge(1, 101.5)
    assert metre.ready_at == 101.75
    unbound = Metre(None)
    unbound.charge(1000, 5.0)
    assert unbound.ready_at == 0.0


def test_what_is_left_to_wait_changes_with_the_rate() -> None:
    metre = Metre(2.0)
    metre.charge(10, 100.0)
    metre.set_rate(5.0, 101.0)  # eight of the ten are still owed
    assert metre.ready_at == pytest.approx(102.6)
    metre.set_rate(None, 101.0)
    assert metre.ready_at == 0.0
    for rate in (5.0, 2.0):  # nothing is owed
        metre.set_rate(rate, 103.0)
        assert metre.ready_at == 103.0


def test_a_pace_is_held_back_by_nothing_before_the_first_rate_is_measured() -> None:
    pace = Pace()
    pace.send(100.0, TRIP)
    pace.marks.add(Permit(0, 1, 0.0, 0.0))
    assert not pace.refused(0.0, 0.0)
    assert pace.rate is None
    assert not pace.expects_refusal
    assert pace.in_flight(TRIP) == 1


def test_after_a_refusal_the_next_goes_out_when_there_is_one_to_be_had() -> None:
    taught = Taught(10.0)
    assert taught.pace.ready_at == pytest.approx(taught.now + 1 / 9.8)
    taught.pace.send(taught.now, TRIP)
    assert taught.pace.ready_at == pytest.approx(taught.now + 2 / 9.8)


def test_a_cycle_goes_evenly_from_a_little_under_the_rate_to_a_little_over() -> None:
    taught = Taught(10.0)
    paces = [taught.pace.rate]
    for _ in range(24):
        taught.pace.send(taught.now, TRIP)
        paces.append(taught.pace.rate)
    assert paces[0] == 9.8
    assert paces[12] == pytest.approx(10.1)
    assert paces[24] == pytest.approx(10.4)
    taught.pace.send(taught.now, TRIP)
    assert taught.pace.rate == pytest.approx(10.4 * 2 ** (1 / 6))  # and fast from there


def test_a_refusal_is_expected_a_little_over_the_rate_and_nowhere_else() -> None:
    taught = Taught(10.0)
    expected = []
    for _ in range(24 + 50):
        taught.pace.send(taught.now, 5.0)  # so that it doubles in small steps
        assert taught.pace.rate is not None
        expected.append((taught.pace.rate, taught.pace.expects_refusal))
    assert {told for rate, told in expected if rate < 10} == {False}
    assert {told for rate, told in expected if 10.01 < rate < 15} == {True}
    assert {told for rate, told in expected if rate > 15} == {False}


def test_as_many_are_in_flight_as_the_rate_needs_twice_over() -> None:
    assert Taught(10.0).pace.in_flight(0.3) == 7  # 9.8 a second x 0.3 s x 2, and one


def test_without_a_refusal_the_pace_doubles_in_a_quarter_of_a_cycle() -> None:
    taught = Taught(10.0)
    for _ in range(24 + 6):
        taught.pace.send(taught.now, TRIP)
    assert taught.pace.rate == pytest.approx(2 * 10.4)


def test_it_doubles_no_faster_than_the_answers_can_tell() -> None:
    taught = Taught(10.0)
    for _ in range(24 + 50):
        taught.pace.send(taught.now, 5.0)  # 50 are sent before an answer is there
    assert taught.pace.rate == pytest.approx(2 * 10.4)


def test_at_eight_times_the_rate_there_is_no_such_limit_any_more() -> None:
    taught = Taught(10.0)
    paces: list[float] = []
    while taught.pace.rate is not None:
        paces.append(taught.pace.rate)
        taught.pace.send(taught.now, TRIP)
    assert 70 < paces[-1] <= 80


def test_cycles_grow_while_one_rate_is_found_again_and_shrink_where_that_is_cheap() -> (
    None
):
    taught = Taught()
    # Of all requests more than 1.7 % were refused up to the sixth, and fewer then.
    found = [taught.cycle() for _ in range(8)]
    assert found == [24, 48, 96, 100, 100, 100, 64, 64]


@pytest.mark.parametrize(
    ("rate", "cycle"), [(7.4, 24), (7.6, 48), (13.2, 48), (13.4, 24)]
)
def test_a_rate_that_is_found_again_is_known_better_another_one_is_not(
    rate: float, cycle: int
) -> None:
    taught = Taught(10.0)
    taught.cycle(rate=rate)
    assert taught.cycle() == cycle


def test_a_refusal_before_half_of_a_cycle_is_no_sign_that_the_rate_is_known() -> None:
    early, half = Taught(), Taught()
    early.refuse(11)
    half.refuse(12)
    assert (early.cycle(), half.cycle()) == (24, 48)


def test_cycles_that_cost_several_refusals_are_up_to_four_times_as_long() -> None:
    taught = Taught()
    dear = [taught.cycle(late=late) for late in (3, 3, 3, 9, 9, 9, 9)]
    assert dear == [24, 48, 96, 192, 384, 400, 400]
    taught = Taught()
    twice = [taught.cycle(late=1) for _ in range(6)]
    assert twice == [24, 48, 96, 192, 200, 200]


def test_two_refusals_at_once_say_that_the_rate_has_fallen_and_each_more_the_more() -> (
    None
):
    taught = Taught(10.0)
    found = []
    for _ in range(4):
        taught.refuse(7)
        found.append(taught.known)
    assert found == pytest.approx([10.0, 8.0, 8.0 * 0.8**2, 8.0 * 0.8**5])


def run_of(taught: Taught, refusals: int) -> None:
    """Refuse more, one each tenth of a second, with nothing accepted between."""
    for _ in range(refusals):
        taught.refuse_after(0, 10.0)
        taught.now += 0.1


@pytest.mark.parametrize(("refusals", "cycle"), [(RUN - 1, 24), (RUN, 100)])
def test_a_server_that_accepts_nothing_for_a_while_counts_by_the_clock(
    refusals: int, cycle: int
) -> None:
    taught = Taught(20.0)
    taught.cycle(rate=50.0)
    run_of(taught, refusals)
    assert taught.cycle() == cycle


def test_where_the_clock_counts_a_cycle_takes_two_seconds_at_least() -> None:
    taught = Taught(200.0)
    run_of(taught, RUN)
    two_seconds = int(2 * taught.known)
    assert taught.cycle() == two_seconds > 100


def test_where_the_clock_counts_the_pace_doubles_in_no_less_than_a_whole_cycle() -> (
    None
):
    taught = Taught(200.0)
    run_of(taught, RUN)
    known = taught.known
    for _ in range(2 * int(2 * known)):
        taught.pace.send(taught.now, TRIP)
    assert taught.pace.rate == pytest.approx(2 * OVER * known)


def test_a_refusal_soon_after_such_a_pause_says_that_it_was_none_by_the_clock() -> None:
    taught = Taught(20.0)
    run_of(taught, RUN)
    taught.refuse(7)
    assert taught.cycle() == 24


def test_few_a_second_are_not_told_from_a_clock() -> None:
    taught = Taught(SURPRISE - 0.5)
    run_of(taught, RUN)
    assert taught.cycle() == 24


def test_a_refusal_that_came_late_enough_ends_a_row_of_them() -> None:
    taught = Taught(10.0)
    taught.refuse(7)
    taught.refuse(8)
    taught.refuse(7)
    assert taught.known == pytest.approx(10.0)


@pytest.mark.parametrize(("rate", "known"), [(9.0, 9.73), (99.0, 10.0)])
def test_a_refusal_under_the_rate_can_lower_what_is_known_and_not_raise_it(
    rate: float, known: float
) -> None:
    taught = Taught(10.0)
    taught.cycle()
    taught.refuse(8, rate=rate)
    assert taught.known == pytest.approx(known, abs=0.01)


def doubted() -> Taught:
    """Return a pace whose cycle is of 96 requests, after a refusal early in it."""
    taught = Taught(10.0)
    taught.cycle()
    taught.cycle()
    assert taught.refuse(8)
    return taught


def test_what_is_refused_whatever_the_pace_is_ends_it_after_two_doubts() -> None:
    taught = doubted()
    assert taught.pace.rate is not None
    assert not taught.refuse(8)
    assert taught.pace.rate is None


@pytest.mark.parametrize(("sent", "ends"), [(67, False), (66, True)])
def test_two_refusals_late_in_their_cycles_make_up_for_a_doubt(
    sent: int, ends: bool
) -> None:
    taught = doubted()
    for _ in range(2):
        taught.refuse(sent)  # of 96, and of 100
    taught.refuse(8)
    assert (taught.pace.rate is None) == ends


def far(taught: Taught, times: float, trip: float = TRIP) -> float:
    """Go to so many times the rate; return the pace there."""
    taught.serial += 24
    taught.now += 24 / taught.rate
    known = taught.known
    while taught.pace.rate is not None and taught.pace.rate < times * known:
        taught.pace.send(taught.now, trip)
    return taught.pace.rate or 0.0


def test_between_what_was_measured_and_a_pace_far_above_the_middle_is_tried() -> None:
    taught = Taught(10.0)
    tried = far(taught, 4.0)
    taught.refuse_after(0, 10.0)
    assert taught.pace.rate == pytest.approx((10.0 * tried) ** 0.5)


@pytest.mark.parametrize(("times", "guesses"), [(1.95, False), (2.01, True)])
def test_far_above_is_twice_the_rate(times: float, guesses: bool) -> None:
    taught = Taught(10.0)
    far(taught, times, trip=5.0)
    taught.refuse_after(0, 10.0)
    assert ((taught.pace.rate or 0.0) > 14) == guesses


@pytest.mark.parametrize("rate", [10.0, 0.1])
def test_where_requests_were_taken_closely_a_pace_nearby_tells_no_more(
    rate: float,
) -> None:
    near = Taught(rate)
    assert 1.1 < far(near, 1.15) / rate < 2
    near.refuse_after(0, rate)
    assert near.known == pytest.approx(rate)


@pytest.mark.parametrize(("share", "guesses"), [(0.51, True), (0.49, False)])
def test_where_none_was_taken_closely_a_little_less_than_the_closest_is_tried(
    share: float, guesses: bool
) -> None:
    taught = Taught(10.0)
    tried = far(taught, 1.15)
    taught.serial += 2  # one of them was accepted
    taught.late()
    taught.pace.refused(taught.now, share / tried)
    guessed = taught.pace.rate == pytest.approx(0.985 * tried)
    assert guessed == guesses


def test_no_guess_goes_beyond_what_was_accepted_closest() -> None:
    taught = Taught(10.0)
    tried = far(taught, 1.15)
    taught.serial += 1
    taught.late()
    taught.pace.refused(taught.now, 1.05 / tried)
    assert taught.pace.rate == pytest.approx(0.985 * tried / 1.05)


def guess(taught: Taught) -> bool:
    """Go far, be refused; tell whether a guess is made of it."""
    tried = far(taught, 4.0)
    taught.refuse_after(0, taught.rate)
    assert taught.pace.rate is not None
    return taught.pace.rate > 0.3 * tried


def test_guesses_that_fail_come_more_seldom() -> None:
    taught = Taught(10.0)
    between = []
    for _ in range(6):
        waited = 0
        while not guess(taught):
            waited += 1
        between.append(waited)
        taught.refuse(3)  # at once
        assert taught.known < 11.0
    assert between == [0, 2, 4, 8, 16, 16]


@pytest.mark.parametrize(
    ("sent", "next_ones"),
    [(50, [True, False, False, True]), (49, [False] * 4)],
)
def test_a_guess_that_holds_for_half_a_cycle_is_known_and_the_next_are_dared_again(
    sent: int, next_ones: list[bool]
) -> None:
    taught = Taught(10.0)
    assert guess(taught)
    taught.refuse(3)
    assert [guess(taught) for _ in range(3)] == [False, False, True]
    taught.rate = taught.pace.rate or 0.0
    taught.refuse(sent)
    found = [guess(taught)]
    taught.refuse(3)
    found += [guess(taught) for _ in range(3)]
    assert found == next_ones


def test_a_server_that_minds_closeness_is_sent_to_no_closer() -> None:
    pace = Pace()
    pace.space(0.2, 100.0)
    assert pace.rate == pytest.approx(5.0 * UNDER)
    assert pace.ready_at == pytest.approx(100.0 + 1 / (5.0 * UNDER))
    for _ in range(24):
        pace.send(100.0, TRIP)
    assert pace.rate == pytest.approx(5.0 * OVER)
