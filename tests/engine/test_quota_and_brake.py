"""What headers say is left, and how refusals of one burst are taken together."""

from __future__ import annotations

import math
import time

import pytest

from together_embed.engine import quota, retry
from together_embed.engine.brake import Brake
from together_embed.engine.quota import LIES, Budget, Quota
from together_embed.engine.retry import Policy
from together_embed.engine.signals import Permit


def test_as_many_go_out_as_are_left_and_then_none_before_the_reset() -> None:
    budget = Budget()
    budget.learn(Quota(3, 1.5), serial=0, after=1, now=100.0)
    assert budget.ready_at == 0.0
    budget.send(2, 100.0)
    assert budget.ready_at == 0.0
    budget.send(3, 101.0)
    assert budget.ready_at == 101.5


def test_nothing_goes_out_where_an_answer_leaves_nothing() -> None:
    budget = Budget()
    budget.learn(Quota(1, 1.5), serial=0, after=1, now=100.0)
    assert budget.ready_at == 101.5
    budget.learn(None, serial=1, after=0, now=101.0)
    assert budget.ready_at == 101.5


def test_headers_that_are_found_wrong_again_and_again_are_never_believed_again() -> (
    None
):
    budget = Budget()
    serial, held = 0, []
    for _ in range(4):
        before = serial
        while serial < before + 10:
            now = 10.0 * serial
            budget.learn(Quota(0, 60), serial, after=0, now=now)
            if budget.ready_at <= now:
                break
            serial += 1
            budget.send(serial, now + 2.0)
        held.append(serial - before)
        budget.refused()
    assert held == [LIES, LIES // 2, LIES // 4, 0]


def test_the_newest_answer_that_leaves_something_ends_the_wait() -> None:
    budget = Budget()
    budget.learn(Quota(1, 60), serial=3, after=0, now=100.0)
    budget.send(4, 100.0)
    assert budget.ready_at == 102.0
    budget.learn(Quota(1, 60), serial=2, after=0, now=100.1)
    assert budget.ready_at == 102.0
    budget.learn(Quota(1, 60), serial=4, after=0, now=100.2)
    assert budget.ready_at == 0.0


def test_who_says_that_nothing_is_left_names_a_time() -> None:
    budget = Budget()
    assert budget.hint(100.0) is None
    budget.learn(Quota(1, 60), serial=0, after=0, now=100.0)
    assert budget.hint(110.0) is None
    budget.send(1, 110.0)
    assert budget.hint(110.0) == 50.0
    assert budget.hint(160.0) is None


def test_headers_are_not_believed_once_right_answers_have_shown_them_wrong() -> None:
    budget = Budget()
    budget.learn(Quota(0, 10), serial=0, after=0, now=100.0)
    for serial in range(1, LIES + 1):
        budget.send(serial, 100.0)
        budget.learn(Quota(0, 10), serial, after=0, now=100.0)
    held = budget.ready_at
    budget.learn(Quota(0, 1000), LIES + 1, after=0, now=105.0)
    assert budget.ready_at == held
    budget.refused()
    budget.learn(Quota(0, 1.5), LIES + 2, after=0, now=105.0)
    assert budget.ready_at == 106.5


def test_the_longest_time_that_a_burst_of_refusals_names_counts() -> None:
    brake = Brake(Policy(8, lambda: 0.0))
    assert not brake.pull(Permit(0, 1, 0.0, 0), 0.0, 1.0, newest=1)
    first = brake.open_at
    brake.pull(Permit(1, 1, 0.0, 0), 0.0, 10.0, newest=1)
    assert brake.open_at > first
    assert brake.pull(Permit(2, 1, 5.0, 0), 6.0, None, newest=2)  # the probe was early


def test_a_refusal_after_the_named_time_was_not_to_be_expected() -> None:
    brake = Brake(Policy(8, lambda: 0.0))
    assert not brake.pull(Permit(0, 1, 0.0, 0), 0.0, 1.0, newest=0)
    assert not brake.pull(Permit(1, 1, 1.5, 0), 2.0, None, newest=1)


def test_a_header_holds_everything_back_for_two_seconds_at_most() -> None:
    budget = Budget()
    budget.learn(Quota(0, 10), serial=0, after=0, now=100.0)
    assert budget.ready_at == 102.0
    budget.learn(Quota(1, 10), serial=0, after=0, now=103.0)
    budget.send(1, 104.0)
    assert budget.ready_at == 106.0
    budget.send(2, 120.0)  # what was said is over
    assert budget.ready_at == 106.0


def test_a_header_that_was_wrong_four_times_is_still_believed() -> None:
    budget = Budget()
    for serial in range(LIES):
        budget.learn(Quota(0, 10), serial, after=0, now=100.0 + serial)
        assert budget.ready_at == 102.0 + serial
        budget.send(serial + 1, 100.0 + serial)
    budget.learn(Quota(0, 10), LIES, after=0, now=200.0)
    assert budget.ready_at < 200.0


def test_who_keeps_to_what_is_left_proves_no_header_wrong() -> None:
    budget = Budget()
    for serial in range(1, 2 * LIES):
        now = 100.0 + 10 * serial
        budget.learn(Quota(1, 5), serial - 1, after=0, now=now)
        budget.send(serial, now)
        assert budget.ready_at == now + 2.0


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"remaining": "0", "reset": "1"}, (0, 1.0)),
        ({"remaining": "7", "limit": "7", "reset": "1"}, (7, 1.0)),
        ({"remaining": "8", "limit": "7", "reset": "1"}, None),
        ({"remaining": "1", "limit": "many", "reset": "1"}, None),
        ({"remaining": "many", "reset": "1"}, None),
        ({"remaining": "1", "reset": "86400"}, (1, 86_400.0)),
        ({"remaining": "1", "reset": "86401"}, None),
        ({"remaining": "1", "reset": "Sun, 22 Nov 2026 10:00:02 GMT"}, (1, 2.0)),
    ],
)
def test_what_is_left_is_read_where_it_makes_sense(
    headers: dict[str, str], left: tuple[float, float] | None
) -> None:
    named = {f"x-ratelimit-{name}": value for name, value in headers.items()}
    named["date"] = "Sun, 22 Nov 2026 10:00:00 GMT"
    read = quota.read(named, tokens=0.0)
    assert (read and tuple(read)) == left


def test_tokens_that_are_left_are_requests_of_a_token_at_least() -> None:
    headers = {"x-tokenlimit-remaining": "9", "x-tokenlimit-reset": "1"}
    for tokens, left in ((0.0, 9), (1.0, 9), (2.0, 4)):
        assert quota.read(headers, tokens) == Quota(left, 1.0)


def braked(dice: float = 0.0) -> Brake:
    """Return a brake that was pulled at 100 s, for a named time of 32 s."""
    brake = Brake(Policy(8, lambda: dice))
    assert not brake.pull(Permit(0, 1, 99.0, 0), 100.0, 32.0, newest=3)
    assert brake.probing
    return brake


def test_a_named_time_is_tested_after_a_share_of_it_and_a_little_by_lot() -> None:
    assert braked().open_at == 101.0
    assert braked(dice=1.0).open_at == pytest.approx(101.1)


def test_who_lets_go_hears_for_how_long_all_were_held() -> None:
    brake = braked()
    assert brake.release(Permit(3, 1, 99.0, 0), 100.5) == 0.0  # sent before it
    assert brake.probing
    brake.pull(Permit(4, 1, 101.0, 0), 101.5, 30.0, newest=4)
    assert brake.release(Permit(5, 1, 103.0, 0), 103.5) == 3.5
    assert not brake.probing
    assert brake.release(Permit(6, 1, 104.0, 0), 104.5) == 0.0


def test_the_share_that_was_enough_is_where_the_next_wait_begins() -> None:
    brake = braked()
    assert brake.pull(Permit(4, 1, 101.0, 0), 101.0, 32.0, newest=4)
    assert brake.open_at == 103.0
    brake.release(Permit(5, 1, 103.0, 0), 103.0)
    for begun, share in ((200.0, 2.0), (300.0, 1.0)):  # half of it after each success
        serial = int(begun)
        brake.pull(Permit(serial, 1, begun, 0), begun, 32.0, newest=serial)
        assert brake.open_at == begun + share
        brake.release(Permit(serial + 1, 1, begun, 0), begun + 5)
    assert brake.hint(32.0) is None


def test_without_a_named_time_the_brakes_own_waits_double() -> None:
    brake = Brake(Policy(8, lambda: 1.0))
    waits = []
    for serial in range(5):
        assert not brake.pull(Permit(serial, 1, 100.0, 0), 100.0, None, newest=serial)
        waits.append(brake.open_at - 100.0)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]
    brake.release(Permit(5, 1, 100.0, 0), 100.0)
    brake.pull(Permit(6, 1, 100.0, 0), 100.0, None, newest=6)
    assert brake.open_at == 100.5


def test_a_probe_is_early_that_went_out_before_the_named_time_was_over() -> None:
    brake = braked()
    assert brake.is_early(Permit(4, 1, 131.9, 0), 1.0)
    assert not brake.is_early(Permit(4, 1, 132.0, 0), 1.0)
    assert not brake.is_early(Permit(3, 1, 99.0, 0), 1.0)  # of the burst itself
    brake.release(Permit(4, 1, 101.0, 0), 101.0)
    assert not brake.is_early(Permit(5, 1, 101.0, 0), 1.0)


def test_a_later_refusal_of_a_burst_can_lengthen_the_wait_and_not_shorten_it() -> None:
    brake = braked()
    brake.pull(Permit(1, 1, 99.0, 0), 100.0, 16.0, newest=3)
    assert brake.open_at == 101.0
    brake.pull(Permit(2, 1, 99.0, 0), 100.0, 64.0, newest=3)
    assert brake.open_at == 102.0
    assert brake.is_early(Permit(4, 1, 163.9, 0), 1.0)
    assert not brake.is_early(Permit(4, 1, 164.0, 0), 1.0)


def test_a_probe_that_no_time_is_named_for_is_early_each_time() -> None:
    brake = Brake(Policy(8, lambda: 0.0))
    assert not brake.is_early(Permit(0, 1, 90.0, 0), None)  # it is no probe
    brake.pull(Permit(0, 1, 90.0, 0), 90.0, None, newest=0)
    assert brake.is_early(Permit(1, 1, 95.0, 0), None)
    brake.release(Permit(1, 1, 95.0, 0), 100.0)
    assert not brake.is_early(Permit(2, 1, 101.0, 0), None)


def test_a_server_serves_for_a_minute_after_a_right_answer() -> None:
    brake = Brake(Policy(8, lambda: 0.0))
    assert not brake.serves(0.0)
    brake.release(Permit(1, 1, 95.0, 0), 100.0)
    assert brake.serves(159.9)
    assert not brake.serves(160.0)


def test_our_own_waits_are_bounded_however_often_it_failed() -> None:
    policy = Policy(8, lambda: 0.5)
    assert policy.backoff(1) == 0.25
    assert policy.backoff(5) == policy.backoff(5000) == 4.0


def test_a_hint_of_a_day_is_followed_for_a_minute_and_a_longer_one_is_none() -> None:
    assert retry.hinted_delay({"retry-after": "86400"}) == 60.0
    assert retry.hinted_delay({"retry-after": "86401"}) is None
    assert retry.hinted_delay({"retry-after-ms": "86400000"}) == 60.0
    assert retry.hinted_delay({"retry-after": "59.5"}) == 59.5


@pytest.mark.parametrize(
    ("then", "seconds"),
    [
        ("Sun, 22 Nov 2026 10:00:01 GMT", 1),
        ("Sun, 22 Nov 2026 10:02:00 GMT", 120),
        ("Sun, 22 Nov 2026 13:00:00 GMT", 3 * 3600),
        ("Thu, 26 Nov 2026 10:00:00 GMT", 4 * 86_400),
        ("Tue, 22 Dec 2026 10:00:00 GMT", 30 * 86_400),
        ("Mon, 22 Nov 2027 10:00:00 GMT", 365 * 86_400),
        ("Thu, 22 Jan 2026 10:00:00 GMT", -304 * 86_400),
        ("1000000000", 1_000_000_000),  # of seconds, not of the epoch
        ("1795341601", 1),
    ],
)
def test_a_date_is_as_far_ahead_as_it_is_from_the_answers_own(
    then: str, seconds: float
) -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    assert retry.seconds_until(then, date) == seconds


def test_a_date_is_read_the_same_in_every_time_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = {"x-ratelimit-reset": "1767225600"}
    headers["date"] = "Wed, 31 Dec 2025 23:59:50 GMT"
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert math.isclose(retry.hinted_delay(headers) or 0, 10.0)
    monkeypatch.undo()
    time.tzset()
