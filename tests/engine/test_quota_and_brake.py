"""What headers say is left, and how refusals of one burst are taken together."""

from __future__ import annotations

import math
import time

import pytest

from together_embed.engine import retry
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
