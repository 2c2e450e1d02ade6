"""The flow by itself: who is served when, and what refusals and times teach it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from together_embed.engine import quota
from together_embed.engine.brake import DOUBT, Brake
from together_embed.engine.flow import GRACE, LOOK, OUTAGE, Flow, Line
from together_embed.engine.retry import Policy
from together_embed.engine.signals import Permit, Report, Verdict
from together_embed.engine.window import INITIAL

RIGHT = Report(Verdict.RIGHT, 0.3, 1000)
STRAINED = Report(Verdict.STRAINED, 0.3, 1000)


def refused(hint: float | None = None) -> Report:
    return Report(Verdict.REFUSED, 0.02, 1000, hint)


def make(ceiling: int = 100, **bounds: float) -> Flow:
    return Flow(ceiling, Policy(8, lambda: 0.5), threading.Lock(), **bounds)


def nobody() -> None:
    """Be woken."""


def line(flow: Flow, wake: Callable[[], None] = nobody) -> Line:
    return flow.join(wake)


def land(flow: Flow, permits: list[Permit], report: Report, now: float) -> None:
    for permit in permits:
        flow.land(permit, report, now)


def test_a_client_starts_with_ten_requests() -> None:
    flow = make()
    permits, wait = flow.take(line(flow), 1000, 0.0)
    assert len(permits) == INITIAL
    assert wait is None


def test_the_window_opens_fast_while_what_is_in_flight_pays() -> None:
    flow = make()
    mine = line(flow)
    sizes = []
    for trip in range(6):
        permits, _ = flow.take(mine, 1000, float(trip))
        sizes.append(len(permits))
        land(flow, permits, RIGHT, trip + 0.3)
    assert all(new >= 1.5 * old for old, new in pairwise(sizes[:-1]))
    assert sizes[-1] > 80


def test_never_more_are_in_flight_than_the_user_allows() -> None:
    flow = make(3)
    first, second = line(flow), line(flow)
    permits = flow.take(first, 50, 0.0)[0] + flow.take(second, 50, 0.0)[0]
    for turn in range(1, 200):
        assert len(permits) <= 3
        flow.land(permits.pop(0), RIGHT, turn * 0.1)
        permits += flow.take(first, 50, turn * 0.1)[0]
        permits += flow.take(second, 50, turn * 0.1)[0]


def test_lines_are_served_in_turn() -> None:
    flow = make(1)
    lines = {name: line(flow) for name in "abc"}
    (permit,), _ = flow.take(lines["a"], 5, 0.0)
    for name in "bca":
        flow.take(lines[name], 5, 0.0)
    order = ""
    for turn in range(1, 31):
        flow.land(permit, RIGHT, turn)
        for name in "cab":  # whoever asks, the place is kept for whose turn it is
            if given := flow.take(lines[name], 5, turn)[0]:
                order += name
                (permit,) = given
    assert all(set(order[n : n + 3]) == set("abc") for n in range(6, 28, 3))


def test_a_query_does_not_wait_behind_a_corpus() -> None:
    flow = make(4)
    corpus = line(flow)
    permits, _ = flow.take(corpus, 1000, 0.0)
    woken: list[int] = []
    query = line(flow, lambda: woken.append(1))
    assert flow.take(query, 1, 0.1)[0] == []
    flow.land(permits.pop(), RIGHT, 0.3)
    assert woken == [1]
    assert len(flow.take(query, 1, 0.3)[0]) == 1


def test_a_place_is_not_kept_for_one_who_does_not_come() -> None:
    flow = make(1)
    first, idle, third = line(flow), line(flow), line(flow)
    (permit,), _ = flow.take(first, 1, 0.0)
    flow.take(idle, 1, 0.0)
    flow.take(third, 1, 0.0)
    flow.land(permit, RIGHT, 1.0)
    given, wait = flow.take(third, 1, 1.0)
    assert (given, wait) == ([], GRACE)
    given, _ = flow.take(third, 1, 1.0 + GRACE)
    assert len(given) == 1


def test_who_leaves_takes_no_place_along() -> None:
    flow = make(1)
    first, second, third = line(flow), line(flow), line(flow)
    (permit,), _ = flow.take(first, 1, 0.0)
    flow.take(second, 1, 0.0)
    flow.take(third, 1, 0.0)
    flow.land(permit, RIGHT, 1.0)
    flow.leave(second)
    assert len(flow.take(third, 1, 1.0)[0]) == 1


def test_a_refusal_with_a_time_holds_back_every_line() -> None:
    flow = make()
    first, second = line(flow), line(flow)
    permits, _ = flow.take(first, 3, 0.0)
    flow.land(permits[0], refused(8.0), 0.1)
    assert flow.take(first, 3, 0.1)[0] == []
    assert flow.take(second, 3, 0.1)[0] == []


def test_one_request_alone_finds_out_that_a_time_was_wrong() -> None:
    flow = make()
    mine = line(flow)
    (permit,), _ = flow.take(mine, 1, 0.0)
    flow.land(permit, refused(8.0), 0.1)
    given, wait = flow.take(mine, 5, 0.1)
    assert given == []
    assert wait == pytest.approx(8.0 * DOUBT * 1.05)
    probe, wait = flow.take(mine, 5, 0.1 + 8.0 * DOUBT * 1.05)
    assert len(probe) == 1
    assert flow.take(mine, 5, 1.0) == ([], None)
    flow.land(probe[0], RIGHT, 1.0)
    assert len(flow.take(mine, 2, 60.0)[0]) >= 1


def test_a_probe_that_is_refused_waits_twice_as_long_up_to_the_whole_time() -> None:
    flow = make()
    mine = line(flow)
    now, waits, expected = 0.0, [], []
    (permit,), _ = flow.take(mine, 1, now)
    expected.append(flow.land(permit, refused(8.0), now))
    for _ in range(7):
        _, wait = flow.take(mine, 1, now)
        assert wait is not None
        waits.append(wait)
        now += wait
        (probe,), _ = flow.take(mine, 1, now)
        expected.append(flow.land(probe, refused(8.0), now))
    shares = [wait / 8.0 / 1.05 for wait in waits]
    assert shares == pytest.approx([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1])
    # Probes before their time say nothing about the batch; the others do.
    assert expected == [False, True, True, True, True, True, False, False]


def test_a_probe_before_its_time_says_nothing_of_what_the_server_carries() -> None:
    flow = make()
    mine = line(flow)
    for now in range(6):
        for permit in flow.take(mine, 100, float(now))[0]:
            flow.land(permit, RIGHT, now + 0.5)
    now, permits = 6.0, flow.take(mine, 100, 6.0)[0]
    for permit in permits:
        flow.land(permit, refused(60.0), now)
    carried = flow.limit
    assert carried > 20
    for _ in range(4):
        _, wait = flow.take(mine, 1, now)
        assert wait is not None
        now += wait
        (probe,), _ = flow.take(mine, 1, now)
        assert flow.land(probe, refused(66.0 - now), now)
    assert (flow.limit, flow.rate) == (carried, None)


def test_times_that_mean_nothing_are_not_waited_for_any_more() -> None:
    brake = Brake(Policy(8, lambda: 0.0))
    waits = []
    for serial in range(0, 12, 2):
        now = 100.0 * serial
        if (hint := brake.hint(60.0)) is None:
            break
        brake.pull(Permit(serial, 2, now, 0), now, hint, serial)
        waits.append(brake.open_at - now)
        brake.release(Permit(serial + 1, 1, brake.open_at, 0), brake.open_at)
    assert waits == [60.0 * DOUBT]


def test_refusals_of_one_burst_are_one_refusal() -> None:
    flow = make()
    mine = line(flow)
    permits, _ = flow.take(mine, 10, 0.0)
    land(flow, permits[4:], refused(), 0.02)
    assert flow.limit == 4  # what was accepted, and no less


def test_many_strained_answers_in_a_row_are_a_server_that_is_down() -> None:
    flow = make()
    mine = line(flow)
    permits, _ = flow.take(mine, OUTAGE, 0.0)
    land(flow, permits, STRAINED, 0.1)
    assert flow.is_down
    assert flow.limit < INITIAL
    for at in (5.0, 6.0, 7.0):
        permits, _ = flow.take(mine, 10, at)
        land(flow, permits, RIGHT, at + 0.3)
        assert not flow.is_down
    assert flow.limit == 4  # it is doubled, as at a start


def test_who_rests_while_the_server_is_down_is_told_when_it_is_up() -> None:
    flow, told = make(), []
    resting, other = line(flow, lambda: told.append("up")), line(flow)
    permits, _ = flow.take(other, OUTAGE, 0.0)
    land(flow, permits, STRAINED, 0.1)
    flow.take(resting, 0, 0.2)
    permits, _ = flow.take(other, 1, 1.0)
    assert not told
    land(flow, permits, RIGHT, 1.1)
    assert told == ["up"]


def test_one_strained_answer_is_nobodys_brake() -> None:
    flow = make()
    mine = line(flow)
    permits, _ = flow.take(mine, 1, 0.0)
    land(flow, permits, STRAINED, 0.1)
    assert len(flow.take(mine, 5, 0.1)[0]) == 5


def sent_in(seconds: float, flow: Flow, size: int = 0) -> int:
    """Send whenever it is allowed, each request being right after a tenth."""
    mine, now, count = line(flow), 0.0, 0
    flying: list[tuple[float, Permit]] = []
    while now < seconds:
        given, wait = flow.take(mine, 1, now, size)
        count += len(given)
        flying += [(now + 0.1, permit) for permit in given]
        moments = [at for at, _ in flying] + ([now + wait] if wait is not None else [])
        now = now if given else max(now + 1e-9, min(moments))
        for at, permit in [landed for landed in flying if landed[0] <= now]:
            flying.remove((at, permit))
            flow.land(permit, Report(Verdict.RIGHT, 0.1, size), now)
    return count


def test_requests_per_second_is_kept_to() -> None:
    assert sent_in(10.0, make(requests_per_second=7)) in range(69, 73)


@pytest.mark.parametrize("rate", [0.4, 1, 7.5, 20, 300])
@pytest.mark.parametrize("late", [0.002, 0.09, 0.5])
def test_a_users_rate_is_kept_to_in_every_second_however_late_who_waits_is_woken(
    rate: float, late: float
) -> None:
    flow, dice, now = make(256, requests_per_second=rate), Random(7), 1000.0
    mine = line(flow)
    sent: list[float] = []
    while len(sent) < 10 * rate + 20:
        given, wait = flow.take(mine, 9, now)
        sent += [now] * len(given)
        land(flow, given, RIGHT, now)
        now += (wait or 0.0) + dice.random() * late
    many = max(1, int(rate))
    spans = [after - at for at, after in zip(sent, sent[many:], strict=False)]
    assert min(spans) >= many / rate - 1e-9
    if late < 0.01:  # and used, too: what is late is caught up
        assert len(sent) - 1 >= 0.98 * rate * (sent[-1] - sent[0])


def test_a_tenth_of_a_second_for_which_one_was_late_may_be_caught_up() -> None:
    flow = make(requests_per_second=10)
    mine = line(flow)
    waits = []
    for now in (0.0, 0.15, 5.0):
        assert len(flow.take(mine, 1, now)[0]) == 1
        waits.append(flow.take(mine, 1, now)[1])
    assert waits == pytest.approx([0.1, 0.05, 0.1])


def test_tokens_per_minute_are_kept_to() -> None:
    # A request of 4,000 bytes is taken to be of 1,000 tokens.
    assert sent_in(30.0, make(tokens_per_minute=60_000), 4_000) in range(29, 33)


def test_new_bounds_hold_at_once_for_calls_under_way() -> None:
    flow = make(8)
    woken: list[int] = []
    mine = line(flow, lambda: woken.append(1))
    permits, wait = flow.take(mine, 50, 0.0)
    assert (len(permits), wait) == (8, None)
    flow.bound(3, 0.1, requests_per_second=None, tokens_per_minute=None)
    for turn in range(5):
        flow.land(permits.pop(), RIGHT, 0.3)
        assert flow.take(mine, 50, 0.3 + turn)[0] == []  # over the bound, and landing
    flow.land(permits.pop(), RIGHT, 9.0)
    permits += flow.take(mine, 50, 9.0)[0]
    assert len(permits) == flow.limit == 3
    woken.clear()
    flow.bound(5, 9.1, requests_per_second=None, tokens_per_minute=None)
    assert woken == []  # the window has yet to find out that more is carried
    land(flow, permits, RIGHT, 9.3)
    assert len(flow.take(mine, 50, 9.3)[0]) == 5


def test_no_pause_and_no_new_bound_lets_the_window_pass_its_ceiling() -> None:
    flow = make(1)
    mine = line(flow)
    (permit,), _ = flow.take(mine, 9, 0.0)
    flow.land(permit, refused(30.0), 0.1)
    for turn in range(200):
        now = 40.0 + turn
        permits, _ = flow.take(mine, 9, now)
        assert len(permits) <= 1
        land(flow, permits, RIGHT, now + 0.3)


def test_a_wait_for_a_rate_changes_with_the_rate() -> None:
    flow = make(requests_per_second=0.01)
    mine = line(flow)
    assert len(flow.take(mine, 1, 0.0)[0]) == 1
    assert flow.take(mine, 1, 0.0) == ([], pytest.approx(100, rel=0.1))
    flow.bound(100, 0.0, requests_per_second=1.0, tokens_per_minute=None)
    assert flow.take(mine, 1, 0.0) == ([], pytest.approx(1, rel=0.1))
    flow.bound(100, 0.5, requests_per_second=None, tokens_per_minute=None)
    assert len(flow.take(mine, 9, 0.5)[0]) == 9


def test_the_first_in_line_is_told_to_come_again_and_the_others_a_little_later() -> (
    None
):
    flow = make(requests_per_second=1)
    flow.take(line(flow), 1, 0.0)
    woken: list[str] = []
    first = line(flow, lambda: woken.append("first"))
    second = line(flow, lambda: woken.append("second"))
    assert flow.take(first, 1, 0.0) == ([], pytest.approx(1.0))
    assert flow.take(second, 1, 0.0) == ([], pytest.approx(1.0 + 2 * LOOK))
    assert woken == []
    flow.leave(first)
    assert woken == ["second"]  # it is the first now, and has to know when
    assert flow.take(second, 1, 0.0) == ([], pytest.approx(1.0))


def test_who_waits_for_a_place_hears_of_the_moment_where_the_first_does_not_come() -> (
    None
):
    flow = make(1, requests_per_second=1)
    woken: list[str] = []
    half_used, asking = line(flow), line(flow, lambda: woken.append("asking"))
    permits, _ = flow.take(half_used, 2, 0.0)
    assert flow.take(asking, 1, 0.1) == ([], None)
    land(flow, permits, RIGHT, 0.3)
    assert woken == ["asking"]
    _, wait = flow.take(asking, 1, 0.3)
    assert wait == pytest.approx(0.7 + 2 * LOOK)
    _, wait = flow.take(asking, 1, 0.3 + wait)
    assert wait == pytest.approx(GRACE)  # the first has the place for so long
    assert len(flow.take(asking, 1, 1.02 + wait)[0]) == 1


def test_who_holds_up_the_host_of_all_places_gets_one_beyond_them_at_a_time() -> None:
    flow = make(2, requests_per_second=10)
    on_loop = flow.join(nobody, 7)
    assert len(flow.take(on_loop, 9, 0.0)[0]) == 1
    assert len(flow.take(on_loop, 9, 0.1)[0]) == 1
    elsewhere, blocking = flow.join(nobody, None, 8), flow.join(nobody, None, 7)
    assert flow.take(elsewhere, 1, 0.1) == ([], None)
    assert flow.take(blocking, 2, 0.1) == ([], pytest.approx(0.1))  # the rate holds
    permits, _ = flow.take(blocking, 2, 0.2)
    assert len(permits) == 1
    assert flow.take(blocking, 1, 0.5) == ([], None)
    land(flow, permits, RIGHT, 0.6)
    assert len(flow.take(blocking, 1, 0.6)[0]) == 1


def test_what_was_learned_is_kept_for_the_next_call() -> None:
    flow = make()
    mine = line(flow)
    permits, _ = flow.take(mine, 10, 0.0)
    land(flow, permits, RIGHT, 0.3)
    flow.leave(mine)
    assert len(flow.take(line(flow), 100, 9.0)[0]) > 15


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "1.5"}, (5, 1.5)),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "0"}, None),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "-1"}, None),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-remaining": "5", "x-ratelimit-reset": "900000"}, None),
        ({"x-ratelimit-remaining": "-5", "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "5"}, None),
        (
            {
                "x-ratelimit-limit": "0.1667",
                "x-ratelimit-remaining": "5",
                "x-ratelimit-reset": "1",
            },
            None,
        ),
        ({"x-tokenlimit-remaining": "900", "x-tokenlimit-reset": "2"}, (3, 2.0)),
        (
            {
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-tokens": "2",
                "x-ratelimit-remaining-requests": "1",
                "x-ratelimit-reset-requests": "4",
            },
            (1, 4.0),
        ),
        ({"retry-after": "2"}, None),
    ],
)
def test_headers_are_read_with_distrust(
    headers: dict[str, str], left: tuple[float, float] | None
) -> None:
    read = quota.read(headers, tokens=300)
    assert (read and tuple(read)) == left


def test_nothing_goes_out_once_a_header_says_that_nothing_is_left() -> None:
    flow = make()
    mine = line(flow)
    (permit,), _ = flow.take(mine, 1, 0.0)
    said = Report(Verdict.RIGHT, 0.3, 1000, None, quota.Quota(0, 1.5))
    flow.land(permit, said, 0.3)
    assert flow.take(mine, 5, 0.3) == ([], 1.5)
    assert len(flow.take(mine, 1, 1.8)[0]) == 1


def test_a_header_that_always_says_so_is_not_believed_for_ever() -> None:
    flow = make()
    mine = line(flow)
    said = Report(Verdict.RIGHT, 0.3, 1000, None, quota.Quota(0, 3600.0))
    now, held = 0.0, 0
    for _ in range(20):
        given, wait = flow.take(mine, 1, now)
        while not given:
            assert wait is not None
            held, now = held + 1, now + wait
            given, wait = flow.take(mine, 1, now)
        flow.land(given[0], said, now + 0.3)
        now += 0.3
    assert 0 < held < 10
