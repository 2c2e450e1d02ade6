"""What a job sends, and what it makes of the answers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.engine.virtual import (
    Ask,
    Served,
    World,
    always,
    bad,
    good,
    lost,
    script,
    vector,
)
from together_embed.engine.outcome import Cause, Outcome, Reply
from together_embed.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InputError,
    InvalidResponseError,
    OverloadedError,
    RateLimitError,
    RequestError,
)

TEXTS = [f"text {n}" for n in range(11)]


def right(texts: list[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


def test_texts_go_out_in_batches_of_the_chosen_count() -> None:
    world = World(batch_size=4)
    assert world.embed(TEXTS) == right(TEXTS)
    assert [len(ask.texts) for ask in world.asks] == [4, 4, 3]


def test_a_body_holds_the_model_the_texts_and_what_the_user_adds() -> None:
    world = World(batch_size=4, base64=None, extra={"note": "x"})
    world.embed(TEXTS[:4])
    (ask,) = world.asks
    assert ask.fields.pop("encoding_format") == "base64"
    assert ask.fields == {"model": "m", "input": TEXTS[:4], "note": "x"}


def test_no_body_is_larger_than_asked_for() -> None:
    texts = [chr(97 + n) * (n * 7 % 50 + 1) for n in range(20)]
    world = World(batch_size=100, max_batch_bytes=160, base64=None)
    assert world.embed(texts) == right(texts)
    assert max(ask.size for ask in world.asks) <= 160
    assert len(world.asks) < len(texts)


def test_other_fields_count_as_bytes_of_the_body() -> None:
    world = World(batch_size=100, max_batch_bytes=300, extra={"note": "x" * 150})
    world.embed([f"{n:020}" for n in range(20)])
    assert max(ask.size for ask in world.asks) <= 300


def test_escapes_and_wide_characters_count_as_what_they_take() -> None:
    world = World(batch_size=100, max_batch_bytes=200)
    world.embed(['"\n' * 20 + str(n) for n in range(5)] + [f"ü漢{n}" * 9 for n in "ab"])
    assert max(ask.size for ask in world.asks) <= 200


def test_a_text_that_alone_is_too_large_goes_out_alone() -> None:
    world = World(batch_size=100, max_batch_bytes=100)
    world.embed(["a", "b" * 500, "c", "d"])
    assert [len(ask.texts) for ask in world.asks] == [1, 1, 2]


def test_equal_texts_of_a_call_go_out_once_and_each_gets_its_own_list() -> None:
    world = World()
    rows = world.embed(["a", "b", "a", "c", "a"])
    assert rows == right(["a", "b", "a", "c", "a"])
    assert [ask.texts for ask in world.asks] == [["a", "b"], ["c"]]
    assert len({id(row) for row in rows}) == 5
    assert world.stats.duplicates == 2


def test_answers_are_put_in_place_by_their_index() -> None:
    world = World(lambda ask: good(ask.texts, backwards=True), batch_size=5)
    assert world.embed(TEXTS) == right(TEXTS)


def test_batches_may_come_back_in_any_order() -> None:
    world = World(lambda ask: (10.0 - ask.number, good(ask.texts)), limit=8)
    assert world.embed(TEXTS) == right(TEXTS)


def test_no_more_than_the_limit_is_in_flight() -> None:
    world = World(limit=3, batch_size=1)
    world.embed(TEXTS)
    assert world.most <= 3
    assert world.held == 0


def test_answers_do_not_pile_up_where_they_come_faster_than_they_are_decoded() -> None:
    world = World(limit=4, batch_size=1)
    run = world.start([[f"t{number}" for number in range(100)]])
    most = 0
    while run.over_at is None:
        world._turn(run)  # decodes one
        most = max(most, len(world.asks) - world.stats.texts)
        world.land(all_of_it=True)
    assert most == 2 * 4 - 1  # one was decoded in that turn


def test_groups_come_out_in_order_and_as_soon_as_they_are_whole() -> None:
    world = World(lambda ask: (5.0 if ask.number == 0 else 1.0, good(ask.texts)))
    run = world.start([["a"], [], ["b", "c", "d"], ["a"]])
    world.carry(run)
    assert run.groups == [right(["a"]), [], right(["b", "c", "d"]), right(["a"])]


def test_empty_groups_without_end_wait_for_nothing() -> None:
    world = World(limit=2)
    run = world.start([[]] * 50 + [["a"]] + [[]] * 50)
    world.carry(run)
    assert run.groups == [[]] * 50 + [right(["a"])] + [[]] * 50


def test_a_source_is_drawn_on_only_as_far_as_it_can_be_put_to_use() -> None:
    drawn: list[int] = []

    def source() -> object:
        for number in range(100):
            drawn.append(number)
            yield [f"t{number}"]

    world = World(lambda ask: (1e6, good(ask.texts)), limit=2, deadline=10.0)
    world.carry(world.start(source()))  # type: ignore[arg-type]
    assert len(drawn) <= 2 * 2 + 1


def test_a_batch_that_backs_off_does_not_stop_the_source() -> None:
    world = World(script(bad(500, retry_after="50")), limit=2, batch_size=1)
    run = world.start([f"t{n}"] for n in range(4))
    world.carry(run)
    assert [ask.at for ask in world.asks][:4] == [100.0, 100.0, 101.0, 101.0]


# What goes wrong


@pytest.mark.parametrize(
    "first", [lost(), lost(Cause.TIMEOUT), bad(500), bad(502), bad(503), bad(408)]
)
def test_what_may_pass_is_tried_again(first: Served) -> None:
    world = World(script(first))
    assert world.embed(["a"]) == right(["a"])
    assert len(world.asks) == 2


@pytest.mark.parametrize(
    "status", [301, 400, 401, 402, 403, 404, 405, 413, 418, 422, 204]
)
def test_what_asking_again_does_not_cure_fails_at_once(status: int) -> None:
    world = World(script(bad(status)))
    error = world.failure(["a"])
    assert error.status == status
    assert error.indices == (0,)
    assert len(error.attempts) == len(world.asks) == 1


def test_a_passing_fault_in_the_clothes_of_a_400_is_tried_again() -> None:
    world = World(script(bad(400, "All connection attempts failed")))
    assert world.embed(["a"]) == right(["a"])


def test_an_error_tells_the_whole_history_of_its_batch() -> None:
    world = World(
        script(lost(), bad(500, "first"), Reply(200, {}, b"<html>"), bad(401, "last"))
    )
    error = world.failure(["a"])
    assert isinstance(error, AuthenticationError)
    assert [attempt.status for attempt in error.attempts] == [None, 500, 200, 401]
    assert error.attempts[1].reason == "first"
    assert all(attempt.seconds == 1.0 for attempt in error.attempts)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_bounded(retries: int) -> None:
    world = World(lambda _: bad(500), max_retries=retries)
    error = world.failure(["a"])
    assert len(world.asks) == len(error.attempts) == retries + 1
    assert world.held == 0


def test_refusals_without_end_end() -> None:
    world = World(lambda _: bad(429), max_retries=5)
    error = world.failure(TEXTS)
    assert isinstance(error, RateLimitError)
    assert len(error.attempts) == 6


def test_a_limit_by_the_minute_is_waited_out_whatever_the_retries() -> None:
    granted: Counter[int] = Counter()

    def serve(ask: Ask) -> Served:
        minute = int(world.now / 60)
        granted[minute] += 1
        return good(ask.texts) if granted[minute] <= 10 else bad(429)

    world = World(serve, batch_size=1, max_retries=2)
    world.carry(world.start([f"t{number}"] for number in range(25)))
    assert 180 <= world.now < 200
    assert len(world.asks) < 25 + 2 * 30


def test_refusals_without_end_end_a_minute_after_the_server_has_served() -> None:
    world = World(script(None, *[bad(429)] * 1000), max_retries=5)
    world.embed(["a"])
    began = world.now
    error = world.failure(TEXTS)
    assert isinstance(error, RateLimitError)
    assert 60 < world.now - began < 120
    assert len(error.attempts) < 50


def test_who_wants_no_retries_waits_for_no_limit() -> None:
    world = World(script(None, bad(429)), max_retries=0)
    world.embed(["a"])
    assert isinstance(world.failure(["b"]), RateLimitError)
    assert len(world.asks) == 2


def test_an_invalid_answer_is_tried_again_then_raised() -> None:
    world = World(lambda ask: good(ask.texts[1:]), max_retries=2)
    error = world.failure(["a", "b"])
    assert isinstance(error, InvalidResponseError)
    assert [attempt.status for attempt in error.attempts] == [200] * 3


def test_batches_of_two_widths_are_not_mixed() -> None:
    def server(ask: Ask) -> Served:
        body = b'{"data":[{"index":0,"embedding":[1.0,2.0]}]}'
        return Reply(200, {}, body) if ask.texts == ["b"] else good(ask.texts)

    error = World(server, batch_size=1, limit=1, max_retries=1).failure(["a", "b"])
    assert isinstance(error, InvalidResponseError)
    assert error.indices == (1,)


def test_an_answer_of_another_width_than_asked_for_is_wrong() -> None:
    error = World(always, width=4, max_retries=0).failure(["a"])
    assert isinstance(error, InvalidResponseError)


def test_the_first_fatal_error_ends_the_call_while_others_are_in_flight() -> None:
    def server(ask: Ask) -> Served:
        return (1.0, bad(401)) if ask.number == 1 else (50.0, good(ask.texts))

    world = World(server, batch_size=1)
    error = world.failure(TEXTS)
    assert world.now == 101.0
    assert error.indices == (1,)
    assert len(world.asks) == 4
    world.land(all_of_it=True)
    assert world.held == 0


def test_what_was_whole_before_a_failure_is_handed_out() -> None:
    world = World(script(None, bad(401)), limit=1)
    run = world.start([["a"], ["b"], ["c"]])
    world.carry(run)
    assert run.groups == [right(["a"])]
    assert run.error.indices == (1,)  # type: ignore[union-attr]


def test_an_error_names_every_place_of_a_text_that_came_more_than_once() -> None:
    world = World(lambda ask: bad(422) if "bad" in ask.texts else good(ask.texts))
    error = world.failure(["a", "b", "bad", "c", "bad"])
    assert error.indices == (2, 4)


def test_a_connection_closed_early_is_tried_again_at_once() -> None:
    world = World(script(lost(Cause.CLOSED_EARLY), lost(Cause.CLOSED_EARLY)))
    world.embed(["a"])
    assert [ask.at for ask in world.asks] == [100.0, 101.0, 102.0]


def test_a_server_that_always_closes_early_is_not_hammered() -> None:
    world = World(lambda _: lost(Cause.CLOSED_EARLY))
    error = world.failure(["a"])
    assert isinstance(error, ConnectionFailedError)
    assert len(world.asks) == 9
    gaps = [b.at - a.at for a, b in pairwise(world.asks)]
    assert gaps[:2] == [1.0, 1.0]
    assert min(gaps[2:]) > 1.0


def test_where_nothing_listens_the_caller_learns_it_soon() -> None:
    world = World(lambda _: lost(Cause.UNREACHABLE))
    assert isinstance(world.failure(["a"]), ConnectionFailedError)
    assert len(world.asks) == 4


@pytest.mark.parametrize(
    ("told", "most"),
    [
        (lost(Cause.UNREACHABLE), 16),
        (lost(Cause.TIMEOUT), 24),
        (lost(Cause.CONNECTION), 48),
        (lost(Cause.CLOSED_EARLY), 48),
        *((bad(status), 48) for status in (500, 502)),
        *((bad(status), 24) for status in (408, 503, 504)),
    ],
)
def test_a_server_that_is_down_gets_few_requests_of_a_large_call(
    told: Outcome, most: int
) -> None:
    world = World(lambda _: (0.01, told), limit=256)
    assert isinstance(world.failure([f"text {n}" for n in range(2_000)]), RequestError)
    assert len(world.asks) <= most
    assert world.now < 140.0


def test_of_many_calls_to_a_server_that_is_down_each_ends_by_its_own_attempts() -> None:
    world = World(lambda _: (0.01, bad(503)), limit=256)
    runs = [world.start([[f"text {n}"]]) for n in range(50)]
    world.carry(*runs)
    assert all(isinstance(run.error, OverloadedError) for run in runs)
    assert len(world.asks) == 50 * 9
    assert world.now < 140.0


def test_a_restart_in_the_middle_is_waited_for_by_one_request_at_a_time() -> None:
    def serve(ask: Ask) -> Served:
        if 100.5 <= ask.at < 112.0:
            return 0.001, lost(Cause.UNREACHABLE)
        return 0.1, good(ask.texts)

    world = World(serve, limit=256)
    texts = [f"text {n}" for n in range(1_000)]
    assert world.embed(texts) == right(texts)
    assert 0 < len([ask for ask in world.asks if 100.7 <= ask.at < 112.0]) < 9


def test_a_crash_below_is_raised_as_it_is() -> None:
    crash = ZeroDivisionError("a fault of ours")
    world = World(script(lost(), lost()), max_retries=0)
    world.server = lambda _: type(lost())(Cause.CRASH, "x", crash)
    assert world.failure(["a"]) is crash
    assert world.held == 0


# Input


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003", "a\ud800b"])
def test_a_text_that_cannot_be_sent_is_named_before_anything_is(text: str) -> None:
    world = World()
    error = world.failure(["fine", text])
    assert isinstance(error, InputError)
    assert error.indices == (1,)
    assert "input 1" in str(error)
    assert world.asks == []


@pytest.mark.parametrize("item", [None, 3, b"bytes", ["a"], 1.5])
def test_an_element_that_is_no_string_is_named_with_its_type(item: object) -> None:
    error = World().failure(["fine", "too", item])  # type: ignore[list-item]
    assert isinstance(error, TypeError)
    assert "texts[2]" in str(error)
    assert type(item).__name__ in str(error)


def test_a_later_group_that_cannot_be_sent_is_named_by_its_place_in_the_call() -> None:
    world = World(limit=1)
    run = world.start([["a", "b"], ["c", " "]])
    world.carry(run)
    assert run.error.indices == (3,)  # type: ignore[union-attr]


def test_what_a_server_repeats_of_the_input_is_named_not_shown() -> None:
    secret = "a long text that nobody else may read"
    world = World(lambda ask: bad(422, f"cannot take: {ask.texts[0]}"), batch_size=1)
    run = world.start([["a", "b"], ["c", "c", secret]])
    world.server = lambda ask: (
        bad(422, f"no: {secret}") if secret in ask.texts else good(ask.texts)
    )
    world.carry(run)
    assert secret not in str(run.error)
    assert "<text 4>" in str(run.error)
