"""The flow, event by event: who may send, who is woken, what is learned."""

from __future__ import annotations

import threading

import pytest

from together_embed.engine.brake import DOUBT, JITTER
from together_embed.engine.flow import Flow, Line
from together_embed.engine.quota import Quota
from together_embed.engine.retry import Policy
from together_embed.engine.signals import Permit, Report, Verdict

RIGHT = Report(Verdict.RIGHT, 0.4, 1000)
STRAINED = Report(Verdict.STRAINED, 0.4, 1000)
BROKEN = Report(Verdict.BROKEN, 0.4, 1000)
FAILED = Report(Verdict.FAILED, 0.4, 1000)
ABANDONED = Report(Verdict.ABANDONED)


def refused(hint: float | None = None) -> Report:
    return Report(Verdict.REFUSED, 0.02, 1000, hint)


class Desk:
    """A flow, and lines of a letter each; remembers who was woken."""

    def __init__(self, ceiling: int = 100, **bounds: float) -> None:
        self.flow = Flow(ceiling, Policy(8, lambda: 0.5), threading.Lock(), **bounds)
        self.lines: dict[str, Line] = {}
        self.woken = ""

    def line(self, name: str) -> Line:
        if name not in self.lines:

            def wake() -> None:
                self.woken += name

            self.lines[name] = self.flow.join(wake)
        return self.lines[name]

    def take(
        self, name: str, want: int, now: float = 0.0, size: int = 0
    ) -> list[Permit]:
        return self.flow.take(self.line(name), want, now, size)[0]

    def wait(self, name: str, now: float) -> float | None:
        """Return for how long a line that wants one has to wait."""
        permits, wait = self.flow.take(self.line(name), 1, now)
        assert permits == []
        return wait

    def land(self, permits: list[Permit], report: Report, now: float) -> None:
        for permit in permits:
            self.flow.land(permit, report, now)

    def carry(self, until: float) -> float:
        """Send and land all that may be, for a while."""
        now = 0.0
        while now < until:
            self.land(self.take("a", 100, now), RIGHT, now + 0.4)
            now += 0.5
        return now

    def heard(self) -> str:
        woken, self.woken = "".join(sorted(self.woken)), ""
        return woken


def test_after_a_refusal_requests_go_out_a_little_faster_than_they_come_back() -> None:
    desk = Desk()
    permits = desk.take("a", 10)
    assert len(permits) == 10  # nothing is spread before
    desk.land(permits[9:], refused(), 0.02)
    assert desk.flow.limit == 4
    desk.land(permits[4:9], RIGHT, 0.4)
    desk.take("a", 1, 0.5)
    size = desk.flow.limit
    assert size > 4
    assert desk.wait("a", 0.5) == pytest.approx(0.4 / (2.5 * size))
    assert desk.flow.holds


def test_the_usual_time_of_a_request_follows_slowly() -> None:
    desk = Desk(1)
    for number, seconds in enumerate((0.4, 2.0)):
        at = 10.0 * number
        report = Report(Verdict.RIGHT, seconds, 1000)
        desk.land(desk.take("a", 1, at), report, at + seconds)
    assert desk.flow._usual == pytest.approx(0.4 + 1.6 / 16)
    assert desk.flow._least == 0.4


def test_what_failed_or_was_given_up_teaches_no_times() -> None:
    desk = Desk(4)
    first, second, third = desk.take("a", 3)
    desk.land([first], FAILED, 5.0)
    desk.land([second], ABANDONED, 5.0)
    desk.land([third], STRAINED, 5.0)
    assert desk.flow._usual == 0.0
    assert desk.flow.in_flight == 0
    assert desk.flow.is_calm(5.0)


@pytest.mark.parametrize(("right", "down"), [(False, True), (True, False)])
def test_four_strained_answers_are_an_outage_where_no_right_one_is_between(
    right: bool, down: bool
) -> None:
    desk = Desk(4)
    for at in range(3):
        desk.land(desk.take("a", 1, at), STRAINED, at + 0.4)
    if right:
        desk.land(desk.take("a", 1, 3.0), RIGHT, 3.4)
    desk.land(desk.take("a", 1, 4.0), STRAINED, 4.4)
    assert desk.flow.is_down == down
    assert desk.flow.is_calm(4.4) != down


def test_a_fault_counts_a_quarter_of_a_strained_answer() -> None:
    desk = Desk(4)
    for at in range(15):
        desk.land(desk.take("a", 1, at), BROKEN, at + 0.4)
    assert not desk.flow.is_down
    desk.land(desk.take("a", 1, 15), BROKEN, 15.4)
    assert desk.flow.is_down


def test_a_probe_that_is_strained_holds_back_for_the_time_that_it_names() -> None:
    desk = Desk(4)
    desk.land(desk.take("a", 1), refused(), 0.1)
    probe = desk.take("a", 1, 1.0)
    desk.land(probe, Report(Verdict.STRAINED, 0.1, 1000, 32.0), 1.1)
    assert desk.wait("a", 1.1) == pytest.approx(32 / 32 * 2 * 1.05)


def test_strain_with_others_in_flight_makes_the_window_small_and_waits_for_none() -> (
    None
):
    desk = Desk(100)
    permits = desk.take("a", 10)
    desk.land(permits[:4], STRAINED, 0.4)
    assert desk.flow.limit < 10
    desk.land(permits[4:], RIGHT, 0.5)
    assert desk.flow.is_calm(0.5)


def test_nothing_needless_is_sent_until_ten_seconds_after_a_refusal() -> None:
    desk = Desk(4)
    first, second = desk.take("a", 2)
    desk.land([first], refused(), 5.0)
    assert not desk.flow.is_calm(14.9)
    assert desk.flow.take_beyond(desk.line("a"), 14.9) is None
    assert desk.flow.is_calm(15.0)
    permit = desk.flow.take_beyond(desk.line("a"), 15.0)
    assert permit is not None
    assert desk.flow.in_flight == 2
    desk.land([second, permit], RIGHT, 15.4)
    assert desk.flow.in_flight == 0


def test_what_is_sent_beyond_keeps_to_the_users_bounds() -> None:
    desk = Desk(2, requests_per_second=1.0)
    desk.take("a", 1, 0.0)
    assert desk.flow.take_beyond(desk.line("a"), 0.5) is None  # too soon
    assert desk.flow.take_beyond(desk.line("a"), 1.0) is not None
    assert desk.flow.take_beyond(desk.line("a"), 9.0) is None  # two are in flight


def test_a_lone_refusal_with_others_in_flight_waits_for_a_time_that_is_named() -> None:
    told, silent = Desk(), Desk()
    for desk, hint in ((told, 8.0), (silent, None)):
        permits = desk.take("a", 4)
        desk.land(permits[:1], refused(hint), 0.1)
        desk.land(permits[1:], RIGHT, 0.2)
    assert told.wait("a", 0.2) == pytest.approx(8 / 32 * 1.05 - 0.1)
    assert len(silent.take("a", 1, 0.2)) == 1


@pytest.mark.parametrize(("pause", "limit"), [(2.0, 99), (2.1, 1)])
def test_after_a_pause_of_over_two_seconds_the_window_opens_from_one(
    pause: float, limit: int
) -> None:
    desk = Desk(100)
    now = desk.carry(10.0)
    first, *others = desk.take("a", 100, now)
    assert len(others) == 99
    desk.land([first], refused(30.0), now)
    desk.land(others, RIGHT, now + 0.4)
    assert desk.flow.limit == 99
    probe = desk.take("a", 9, now + 1.0)
    assert len(probe) == 1
    desk.land(probe, RIGHT, now + pause)
    assert desk.flow.limit in (limit, limit + 1)


def test_a_server_that_says_that_nothing_is_left_is_asked_when_it_said() -> None:
    desk = Desk(4)
    said = Report(Verdict.RIGHT, 0.4, 1000, None, Quota(2, 1.5))
    first, second, third = desk.take("a", 3)
    desk.land([first], said, 1.0)  # two went out after it
    assert desk.wait("a", 1.0) == 1.5
    desk.land([second, third], RIGHT, 1.1)
    assert len(desk.take("a", 1, 2.5)) == 1


def test_a_refusal_without_a_time_has_the_one_until_which_nothing_is_left() -> None:
    desk = Desk(4)
    (first,) = desk.take("a", 1)
    desk.land([first], Report(Verdict.RIGHT, 0.4, 1000, None, Quota(0, 64.0)), 0.0)
    (early,) = desk.take("a", 1, 2.0)
    desk.land([early], Report(Verdict.REFUSED, 0.1, 1000), 2.0)
    assert desk.wait("a", 2.0) == pytest.approx((64.0 - 2.0) * DOUBT, rel=JITTER)


def test_tokens_are_charged_by_what_was_sent_in_the_end() -> None:
    desk = Desk(4, tokens_per_minute=60_000)
    (permit,) = desk.take("a", 1, 0.0, size=4_000)  # a thousand tokens are a second
    desk.land([permit], Report(Verdict.RIGHT, 0.4, 8_000), 0.4)
    assert desk.wait("a", 0.5) == pytest.approx(1.5)
    other = Desk(4, tokens_per_minute=60_000)
    (permit,) = other.take("a", 1, 0.0, size=4_000)
    other.land([permit], Report(Verdict.RIGHT, 0.4, 2_000), 0.4)
    assert other.take("a", 1, 0.5) != []


def test_new_bounds_hold_for_what_is_sent_next() -> None:
    desk = Desk(4)
    desk.flow.bound(4, 0.0, requests_per_second=2.0, tokens_per_minute=120_000)
    desk.take("a", 1, 0.0, size=80)
    assert desk.wait("a", 0.0) == pytest.approx(0.5)
    assert desk.flow.rate == 2.0
    desk.flow.bound(4, 0.0, requests_per_second=None, tokens_per_minute=120_000)
    desk.take("a", 1, 10.0, size=8_000)  # two thousand tokens, of two thousand a second
    assert desk.wait("a", 10.0) == pytest.approx(1.0)  # it was idle before, not late
    assert desk.flow.rate is None


def test_a_line_is_woken_for_one_place_and_takes_what_else_is_free() -> None:
    desk = Desk(3)
    permits = desk.take("a", 3)
    assert desk.take("b", 3) == []
    desk.land(permits[:1], RIGHT, 1.0)
    assert desk.heard() == "b"
    desk.land(permits[1:2], RIGHT, 1.0)
    assert len(desk.take("b", 3, 1.0)) == 2


def test_what_a_line_does_not_want_any_more_goes_back() -> None:
    desk = Desk(1)
    (permit,) = desk.take("a", 1)
    desk.take("b", 1)
    desk.take("c", 1)
    desk.land([permit], RIGHT, 1.0)
    assert desk.heard() == "bc"  # the one has a place, the other is to ask again
    assert desk.take("b", 0, 1.1) == []
    assert len(desk.take("c", 1, 1.1)) == 1


def test_a_line_that_leaves_gives_back_what_it_was_given_and_the_next_is_woken() -> (
    None
):
    desk = Desk(1)
    (permit,) = desk.take("a", 1)
    desk.take("b", 1)
    desk.take("c", 1)
    desk.land([permit], RIGHT, 1.0)
    assert desk.heard() == "bc"
    desk.flow.leave(desk.line("b"))
    assert desk.heard() == "c"
    assert len(desk.take("c", 1, 1.0)) == 1
    desk.flow.leave(desk.line("a"))
    assert desk.heard() == ""


def test_new_lines_take_turns_with_those_that_want_more() -> None:
    desk = Desk(1)
    (permit,) = desk.take("a", 9)
    for name in "bcd":
        desk.take(name, 2)
    served = ""
    for turn in range(1, 9):
        desk.land([permit], RIGHT, turn)
        for name in "abcd":
            if given := desk.take(name, 2, turn):
                served, (permit,) = served + name, given
    assert served == "abacbdac"


def test_what_ctrl_c_left_behind_is_put_right() -> None:
    desk = Desk(2)
    first, second = desk.take("a", 2)
    desk.take("b", 2)
    desk.heard()
    for name in "cd":
        desk.take(name, 1)
    desk.flow.mend(desk.line("a"), {second})
    assert desk.flow.in_flight == 2  # one is on its way, and one was given to "b"
    assert {*"bcd"} <= {*desk.heard()}  # any of them may not have been told before
    assert len(desk.take("b", 2)) == 1
    desk.land([second], RIGHT, 1.0)
    assert len(desk.take("b", 1, 1.0)) == 1
    desk.land([first], RIGHT, 2.0)  # it comes late, and counts no more
    assert desk.flow.in_flight == 2


def test_who_was_offered_a_place_has_a_second_to_come() -> None:
    desk = Desk(1)
    (permit,) = desk.take("a", 1)
    for name in "bcd":
        desk.take(name, 1)
    desk.land([permit], RIGHT, 5.0)
    assert desk.wait("c", 5.5) == pytest.approx(0.5)
    assert len(desk.take("c", 1, 6.0)) == 1
    assert desk.take("b", 1, 6.0) == []  # it has to stand in line again


def test_only_a_limit_on_the_rate_holds_back() -> None:
    full = Desk(1)
    full.take("a", 1)
    assert full.wait("a", 0.0) is None
    assert not full.flow.holds
    slow = Desk(9, requests_per_second=1.0)
    slow.take("a", 1)
    assert slow.wait("a", 0.0) == pytest.approx(1.0)
    assert slow.flow.holds
    assert len(slow.take("a", 1, 1.0)) == 1
    assert not slow.flow.holds


def rated(rate: float, seconds: float, burst: float = 1.0) -> tuple[Desk, int, int]:
    """Send all that may be to a server that takes a rate; count what it did.

    A request takes 0.4 s, a refusal 0.02 s.
    """
    desk, now, tokens = Desk(100), 0.0, burst
    taken = denied = 0
    flying: list[tuple[float, Permit, Report]] = []
    while now < seconds:
        given, wait = desk.flow.take(desk.line("a"), 1, now)
        for permit in given:
            if tokens >= 1:
                tokens, taken = tokens - 1, taken + 1
                flying.append((now + 0.4, permit, RIGHT))
            else:
                denied += 1
                flying.append((now + 0.02, permit, refused()))
        if given:
            continue
        moments = [at for at, _, _ in flying] + ([] if wait is None else [now + wait])
        then = max(min(moments), now + 1e-9)
        tokens, now = min(burst, tokens + (then - now) * rate), then
        landed = [one for one in flying if one[0] <= now]
        flying = [one for one in flying if one[0] > now]
        for at, permit, report in landed:
            desk.flow.land(permit, report, at)
    return desk, taken, denied


def test_a_rate_is_found_from_refusals_and_followed() -> None:
    desk, taken, denied = rated(20.0, 60.0, burst=20.0)
    assert taken >= 0.95 * 60 * 20
    assert denied <= 0.05 * taken
    assert desk.flow.rate == pytest.approx(20, rel=0.3)
    # As many may be in flight as the rate needs, and as many again.
    assert 2 * 20 * 0.4 * 0.8 < desk.flow.limit <= 100


def test_a_rate_without_a_burst_is_found_by_how_close_requests_were_taken() -> None:
    desk, taken, denied = rated(50.0, 20.0)
    assert taken >= 0.8 * 20 * 50
    assert denied <= 0.05 * taken
    assert desk.flow.rate == pytest.approx(50, rel=0.3)
    desk.flow.bound(5, 20.0, requests_per_second=None, tokens_per_minute=None)
    assert desk.flow.limit == 5
