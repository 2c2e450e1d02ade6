"""What is counted, and what the hook is told, on a virtual clock."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.engine.virtual import (
    SECONDS,
    Ask,
    Served,
    World,
    bad,
    good,
    lost,
    script,
)
from together_embed.engine.outcome import Cause, Reply
from together_embed.errors import BadRequestError, ForbiddenError, RateLimitError


def test_requests_texts_and_bytes_are_counted() -> None:
    world = World()
    world.embed(["a", "b", "c", "a"])
    stats = world.stats
    assert (stats.requests, stats.texts, stats.duplicates) == (2, 4, 1)
    assert (stats.retries, stats.refused, stats.failed) == (0, 0, 0)
    assert stats.sent_bytes == sum(ask.size for ask in world.asks)
    assert stats.received_bytes == sum(len(good(a.texts).body) for a in world.asks)
    assert (stats.calls, stats.seconds) == (1, SECONDS)


def test_failures_are_counted_by_kind() -> None:
    short = Reply(200, {}, b'{"data": []}')
    told = [bad(429), bad(500), lost(Cause.TIMEOUT), lost(Cause.CLOSED_EARLY), short]
    world = World(script(*told))
    world.embed(["a"])
    stats = world.stats
    kinds = {"429": 1, "500": 1, "timeout": 1, "closed_early": 1, "invalid": 1}
    assert stats.failures == kinds
    assert (stats.refused, stats.failed, stats.invalid) == (1, 4, 1)
    assert (stats.requests, stats.retries) == (6, 5)


def test_the_wait_for_a_limit_is_counted_and_that_for_a_place_is_not() -> None:
    world = World(limit=1, batch_size=1)
    world.embed(["a", "b", "c"])
    assert world.stats.waited == 0
    world = World(script(bad(429, retry_after="7")), batch_size=1)
    world.embed(["a"])
    first, again = world.asks
    assert world.stats.waited == pytest.approx(again.at - first.at - SECONDS)
    assert world.stats.waited > 0


def test_a_batch_is_told_how_long_limits_held_it_back_in_all() -> None:
    told = [bad(429, retry_after="7"), bad(429, retry_after="7")]
    world = World(script(*told), batch_size=1)
    world.embed(["a"])
    (batch,) = world.told
    assert batch.waited == world.stats.waited
    first, *_, last = world.asks
    between = last.at - first.at - (len(world.asks) - 1) * SECONDS
    assert batch.waited == pytest.approx(between)


def test_what_a_server_counts_is_added_up_where_it_says_so() -> None:
    def counting(ask: object) -> Reply:
        row = b'{"index": 0, "embedding": [1.0]}'
        return Reply(200, {}, b'{"data": [%s], "usage": {"total_tokens": 5}}' % row)

    world = World()
    world.embed(["a"])
    assert world.stats.tokens is None
    world = World(counting, batch_size=1)
    world.embed(["a", "b"])
    assert world.stats.tokens == 10
    assert [batch.tokens for batch in world.told] == [5, 5]


def test_the_hook_is_told_of_each_batch_once() -> None:
    world = World(script(bad(429, retry_after="2")), batch_size=2)
    world.embed(["a", "b", "c"])
    assert sorted(batch.texts for batch in world.told) == [1, 2]
    assert sum(batch.attempts for batch in world.told) == 3
    for batch in world.told:
        assert (batch.status, batch.error, batch.encoding) == (200, None, "float")
        assert (batch.width, batch.started_at) == (3, 100.0)
    stats = world.stats
    assert sum(batch.waited for batch in world.told) == stats.waited
    assert sum(batch.sent_bytes for batch in world.told) == stats.sent_bytes
    assert sum(batch.received_bytes for batch in world.told) == stats.received_bytes
    assert max(batch.seconds for batch in world.told) == stats.seconds


def test_the_counts_of_all_batches_are_those_of_the_client() -> None:
    def serve(ask: Ask) -> Served:
        told = {0: bad(429), 1: bad(500), 2: lost()}.get(ask.number)
        return told or (bad(422) if "bad" in ask.texts else good(ask.texts))

    world = World(serve, batch_size=4, hedge=0.5)
    world.failure([*"abcdefgh", "a", "b", "bad", "a"])
    failures: Counter[str] = Counter()
    for batch in world.told:
        failures.update(batch.failures)
    stats = world.stats
    assert failures == stats.failures
    assert {"429", "500", "connection", "422"} <= set(failures)
    assert sum(batch.duplicates for batch in world.told) == stats.duplicates == 3


def test_the_hook_is_told_of_a_batch_that_failed_for_good() -> None:
    world = World(lambda ask: bad(429, "slow down"), max_retries=1)
    world.failure(["a"])
    (batch,) = world.told
    assert (batch.status, batch.attempts) == (429, 2)
    assert batch.error is RateLimitError
    assert batch.reason == "slow down"
    assert batch.encoding is None


def test_a_batch_that_is_halved_is_told_of_in_its_parts() -> None:
    def serve(ask: object) -> Reply:
        texts = ask.texts  # type: ignore[attr-defined]
        return bad(403) if "bad" in texts else good(texts)

    world = World(serve, batch_size=4)
    world.failure(["a", "b", "c", "bad"])
    assert sum(batch.texts for batch in world.told) == 4
    (refused,) = [batch for batch in world.told if batch.error]
    assert refused.error is ForbiddenError
    assert refused.attempts == 3  # as one of four, as one of two, alone
    sent = sum(batch.sent_bytes for batch in world.told)
    assert sent == world.stats.sent_bytes


def test_what_was_found_out_about_the_server_is_shown() -> None:
    world = World(
        lambda ask: bad(400) if len(ask.texts) > 3 else good(ask.texts),
        batch_size=6,
        base64=None,
        learns=False,
    )
    assert world.stats.largest is None
    world.embed([str(number) for number in range(12)])
    assert world.stats.largest == 3
    assert world.stats.failures["400"] >= 1
    assert world.stats.limit >= 1


def test_the_hook_is_told_what_the_failure_said_without_the_text() -> None:
    text = "a text that nobody but its owner should read"
    world = World(lambda ask: bad(400, f"cannot embed {text}"))
    error = world.failure([text])
    assert isinstance(error, BadRequestError)
    (batch,) = world.told
    assert batch.error is BadRequestError
    assert text not in f"{batch}"
