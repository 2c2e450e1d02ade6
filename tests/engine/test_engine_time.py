"""When a job sends: delays, hints, deadlines, one brake for all."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.virtual import (
    Ask,
    Served,
    Server,
    World,
    always,
    bad,
    good,
    lost,
    script,
    vector,
)
from together_embed.engine import retry
from together_embed.engine.outcome import Cause, Lost, Reply
from together_embed.errors import (
    DeadlineExceededError,
    NoReplicaError,
    RequestTimeoutError,
)

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"
LATER = "Sun, 22 Nov 2026 10:00:07 GMT"


def moments(world: World) -> list[float]:
    return [round(ask.at - 100.0, 6) for ask in world.asks]


def test_waits_double_and_the_dice_choose_within_them() -> None:
    world = World(lambda _: (0.0, bad(500)), max_retries=6, dice=lambda: 0.5)
    world.failure(["a"])
    gaps = [b - a for a, b in pairwise(moments(world))]
    bounds = [min(retry.MAX_DELAY, retry.BASE_DELAY * 2**n) for n in range(6)]
    assert gaps == pytest.approx([bound * 0.5 for bound in bounds])


def test_dice_that_fall_low_wait_for_nothing() -> None:
    world = World(lambda _: (0.0, bad(500)), max_retries=3, dice=lambda: 0.0)
    world.failure(["a"])
    assert moments(world) == [0.0] * 4


def test_a_retry_that_waits_holds_no_permit() -> None:
    def server(ask: Ask) -> Served:
        return bad(500, retry_after="50") if ask.number == 0 else good(ask.texts)

    world = World(server, limit=1, batch_size=1)
    world.embed(["a", "b", "c"])
    assert moments(world)[:3] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": LATER, "date": DATE}, 7.0),
        ({"llm_provider-retry-after": "5"}, 5.0),
        ({"x-ratelimit-reset": "4.5"}, 4.5),
        ({"x-ratelimit-reset": "1795341607", "date": DATE}, 7.0),
        ({"x-ratelimit-reset": LATER, "date": DATE}, 7.0),
        ({"retry-after": "never", "x-ratelimit-reset": "2"}, 2.0),
        ({"retry-after": "0", "x-ratelimit-reset": "2"}, 2.0),
        ({"retry-after": "3600"}, retry.MAX_HINT),
    ],
)
def test_a_time_that_the_server_names_is_kept(
    headers: dict[str, str], wait: float
) -> None:
    assert retry.hinted_delay(headers) == pytest.approx(wait)


@pytest.mark.parametrize(
    "value",
    [
        *("0", "-1", "nan", "inf", "-inf", "1e300", "", " ", "soon", "1e999"),
        *("99999999", "1795341607", DATE, "Sun, 99 Foo 2026 10:00:00 GMT"),
        *("Sun, 22 Nov 2026 10:00 GMT", "9" * 5000, "\u0667x", "Sun, 22 Nov"),
        "Sun, 22 Nov 99999 10:00:00 GMT",
        *(
            f"Sun, 22 Nov {'9' * 20} 10:00:00 GMT",
            f"Sun, {'9' * 20} Nov 2026 1:0:0 GMT",
        ),
    ],
)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "x-ratelimit-reset"])
def test_a_time_that_makes_no_sense_is_no_hint(name: str, value: str) -> None:
    assert retry.hinted_delay({name: value}) is None


def test_a_time_on_a_success_is_taken_no_notice_of() -> None:
    def server(ask: Ask) -> Served:
        reply = good(ask.texts)
        return type(reply)(200, {"retry-after": "50"}, reply.body)

    world = World(server, limit=1)
    world.embed(["a", "b", "c", "d"])
    assert moments(world) == [0.0, 1.0]


def test_one_refusal_holds_back_every_job_of_the_client() -> None:
    def server(ask: Ask) -> Served:
        return bad(429, retry_after="20") if ask.at < 120.0 else good(ask.texts)

    world = World(server, limit=4, batch_size=1)
    first = world.start([["a", "b", "c", "d", "e", "f"]])
    world._turn(first)
    burst = len(world.asks)
    world._pass_time([first])
    second = world.start([["x", "y"]])
    world.carry(first, second)
    assert burst == 4
    probes = [at for at in moments(world)[burst:] if at < 20.0]
    assert len(probes) <= 5
    gaps = [b - a for a, b in pairwise(probes)]
    assert all(gap > 1.0 for gap in gaps), "one probe at a time, never a herd"
    assert first.error is second.error is None


def test_a_call_beside_a_corpus_is_served_in_turn() -> None:
    world = World(limit=2, batch_size=1)
    corpus = world.start([[f"t{n}" for n in range(200)]])
    world._turn(corpus)
    world._pass_time([corpus])
    query = world.start([["query"]])
    world.carry(corpus, query)
    assert query.over_at is not None
    assert query.over_at - 100.0 <= 5.0
    assert corpus.over_at is not None
    assert corpus.over_at > query.over_at


# Deadline and timeout


def test_a_deadline_ends_a_call_and_says_what_is_missing() -> None:
    def server(ask: Ask) -> Served:
        return good(ask.texts) if ask.number == 0 else (99.0, good(ask.texts))

    world = World(server, batch_size=2, deadline=5.0)
    error = world.failure(["a", "b", "c", "d", "e"])
    assert isinstance(error, DeadlineExceededError)
    assert error.indices == (2, 3, 4)
    assert world.now == 105.0
    world.land(all_of_it=True)
    assert world.held == 0


def test_a_deadline_counts_the_waits_between_retries() -> None:
    world = World(lambda _: bad(500, "busy", retry_after="3"), deadline=10.0)
    error = world.failure(["a"])
    assert isinstance(error, DeadlineExceededError)
    assert world.now == 110.0
    assert [attempt.status for attempt in error.attempts] == [500] * 3
    assert "busy" in str(error)


fates = st.lists(
    st.tuples(
        st.integers(1, 60),
        st.sampled_from([None, bad(500), bad(429), bad(503, retry_after="2"), lost()]),
    ),
    max_size=30,
)


@given(fates, st.integers(1, 60), st.integers(1, 4))
def test_a_deadline_is_kept_to_within_one_poll(
    fates: list[tuple[int, Reply | Lost | None]], seconds: int, limit: int
) -> None:
    def server(ask: Ask) -> Served:
        tenths, outcome = fates[ask.number] if ask.number < len(fates) else (99, None)
        return tenths / 10, outcome or good(ask.texts)

    settings = {"deadline": seconds / 10, "batch_size": 1, "max_retries": 1000}
    world = World(server, limit=limit, **settings)
    run = world.start([[f"t{n}" for n in range(9)]])
    world.carry(run)
    ends = 100.0 + seconds / 10
    assert all(ask.at < ends for ask in world.asks)
    assert run.over_at is not None
    if run.error is None:
        assert run.over_at <= ends
    else:
        assert isinstance(run.error, DeadlineExceededError)
        assert run.over_at == pytest.approx(ends, abs=1e-9)
        world.land(all_of_it=True)
    assert world.held == 0


def test_a_poll_that_comes_late_ends_the_call_and_starts_nothing() -> None:
    world = World(limit=2, batch_size=1, deadline=5.0)
    run = world.start([["a", "b", "c", "d"]])
    world._turn(run)
    assert len(world.asks) == 2
    world.now += 7.0
    world._turn(run)
    assert isinstance(run.error, DeadlineExceededError)
    assert len(world.asks) == 2


def test_a_deadline_counts_what_has_come_and_is_not_decoded_yet() -> None:
    for count, left in ((3, ()), (4, (3,))):
        world = World(limit=3, batch_size=1, deadline=5.0)
        run = world.start([["a", "b", "c", "d"][:count]])
        world._turn(run)
        world.now += 7.0
        world.land()
        world.carry(run)
        if left:
            assert isinstance(run.error, DeadlineExceededError)
            assert run.error.indices == left
            assert "1 of 4 texts have no vector" in str(run.error)
        else:
            assert run.groups == [[vector(text) for text in "abc"]]
        assert len(world.asks) == 3


def test_a_deadline_names_no_text_whose_answer_comes_while_the_call_ends() -> None:
    world = World(limit=2, batch_size=1, deadline=5.0)
    run = world.start([["a", "b", "c"]])
    world._turn(run)
    world.now += 7.0
    assert run.job.next_step(world.now) is None
    world.land()
    while run.job.is_digesting:
        run.job.digest(world.now)
    results, failures, remaining = run.job.partial()
    assert (set(results), set(failures), remaining) == ({0, 1}, {2}, ())
    assert failures[2].indices == (2,)


def test_a_deadline_tells_of_failures_of_what_is_in_flight() -> None:
    world = World(script(bad(500, "busy"), (99.0, bad(500))), deadline=5.0)
    error = world.failure(["a"])
    assert [attempt.reason for attempt in error.attempts][:1] == ["busy"]


def test_a_request_that_the_deadline_cut_short_is_the_deadlines_matter() -> None:
    server = lambda ask: (99.0, good(ask.texts))  # noqa: E731
    error = World(server, deadline=5.0, timeout=60.0, max_retries=0).failure(["a"])
    assert isinstance(error, DeadlineExceededError)
    assert len(error.attempts) == 1


def test_no_request_may_take_longer_than_the_call_has_left() -> None:
    world = World(script(bad(500)), deadline=10.0, timeout=8.0, dice=lambda: 0.0)
    seconds = []
    run = world.start([["a"]])
    launch = run.job._launch

    def spy(*given: object) -> object:
        ticket = launch(*given)  # type: ignore[arg-type]
        seconds.append(ticket.seconds)
        return ticket

    run.job._launch = spy  # type: ignore[method-assign,assignment]
    world.server = lambda ask: (5.0, bad(500)) if ask.number == 0 else good(ask.texts)
    world.carry(run)
    assert seconds == [8.0, 5.0]


def test_a_request_is_given_up_after_its_time_whatever_the_transport_knows() -> None:
    world = World(timeout=10.0, max_retries=1)
    run = world.start([["a"]])
    # The transport does not notice: the ticket's own seconds are not looked at.
    world.server = lambda ask: (1000.0, good(ask.texts))
    send = world._send

    def deaf(to: object, ticket: object) -> None:
        ticket.seconds = None  # type: ignore[attr-defined]
        send(to, ticket)  # type: ignore[arg-type]

    world._send = deaf  # type: ignore[method-assign,assignment]
    world.carry(run)
    assert isinstance(run.error, RequestTimeoutError)
    assert len(world.asks) == 2
    assert world.held == 0
    world.land(all_of_it=True)
    assert world.held == 0


def test_the_wait_for_a_permit_is_no_part_of_a_requests_time() -> None:
    world = World(
        lambda ask: (4.0, good(ask.texts)), limit=1, batch_size=1, timeout=5.0
    )
    assert world.embed(["a", "b", "c"]) == [vector(t) for t in "abc"]
    assert len(world.asks) == 3


# A deployment that starts


def starting_until(moment: float) -> Server:
    body = b'{"error": {"message": "no replica", "type": "routing_error"}}'
    cold = Reply(503, {}, body)
    return lambda ask: good(ask.texts) if ask.at - 100.0 >= moment else cold


def test_a_start_of_twenty_minutes_is_waited_out_and_costs_no_retries() -> None:
    world = World(starting_until(1200.0), max_retries=1, batch_size=1)
    assert world.embed(["a", "b", "c"]) == [vector(text) for text in "abc"]
    assert 1200.0 <= world.now - 100.0 <= 1200.0 + 2 * retry.MAX_DELAY
    gaps = [b - a for a, b in pairwise(moments(world))]
    assert max(gaps) <= retry.MAX_DELAY
    assert len(world.asks) < 1200.0  # one careful request at a time


def test_a_start_is_not_waited_for_without_end() -> None:
    world = World(starting_until(1e9), max_retries=1)
    assert isinstance(world.failure(["a"]), NoReplicaError)
    waited = world.now - 100.0
    assert retry.STARTUP <= waited <= retry.STARTUP + 2 * retry.MAX_DELAY


def test_a_start_is_waited_for_no_longer_than_the_deadline() -> None:
    world = World(starting_until(1e9), deadline=30.0)
    assert isinstance(world.failure(["a"]), DeadlineExceededError)
    assert world.now == 130.0


def test_who_wants_no_retries_does_not_wait_for_a_start() -> None:
    world = World(starting_until(1e9), max_retries=0)
    assert isinstance(world.failure(["a"]), NoReplicaError)
    assert len(world.asks) == 1


# The encoding


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("limit", [1, 4])
def test_base64_is_dropped_by_a_server_that_took_it_and_no_longer_does(
    size: int, limit: int
) -> None:
    changed = False

    def server(ask: Ask) -> Served:
        minds = changed and "encoding_format" in ask.fields
        return bad(422) if minds else good(ask.texts)

    world = World(server, limit=limit, base64=None, batch_size=8)
    world.embed(["a"])
    assert world.dialect.base64 is True
    changed = True
    for call in range(2):  # one text may be cured by chance: one more is asked
        texts = [f"{call}.{number}" for number in range(size)]
        assert world.embed(texts) == [vector(text) for text in texts]
    assert world.dialect.base64 is False
    assert world.dialect.portion.largest is None


def test_one_text_that_is_cured_by_chance_drops_no_base64_for_good() -> None:
    world = World(script(None, bad(400)), limit=1, base64=None)
    world.embed(["a"])
    world.embed(["b"])
    world.embed(["c"])
    asked = [ask.fields.get("encoding_format") for ask in world.asks]
    assert asked == ["base64", "base64", None, "base64"]
    assert world.dialect.base64 is True


def test_a_refused_text_among_others_is_no_doubt_about_base64() -> None:
    def server(ask: Ask) -> Served:
        return bad(400) if "t6" in ask.texts else good(ask.texts)

    world = World(server, limit=1, base64=True, batch_size=8)
    world.failure([f"t{number}" for number in range(8)])
    assert all("encoding_format" in ask.fields for ask in world.asks)


def test_base64_is_asked_for_until_the_server_is_known_to_refuse_it() -> None:
    def server(ask: Ask) -> Served:
        if "encoding_format" in ask.fields:
            return bad(400, "Unrecognized request arguments supplied: encoding_format")
        return good(ask.texts)

    world = World(server, limit=1, base64=None)
    world.embed([f"t{n}" for n in range(8)])
    asked = ["encoding_format" in ask.fields for ask in world.asks]
    assert asked == [True] + [False] * 4
    world.embed(["another call"])
    assert "encoding_format" not in world.asks[-1].fields


def test_a_server_that_does_not_name_the_field_is_understood_too() -> None:
    def server(ask: Ask) -> Served:
        return bad(422) if "encoding_format" in ask.fields else good(ask.texts)

    world = World(server, limit=1, base64=None, max_retries=0)
    world.embed([f"t{n}" for n in range(8)])
    asked = ["encoding_format" in ask.fields for ask in world.asks]
    assert asked.count(True) <= 2  # one may be on its way before the first is read
    assert not any(asked[3:])


def test_a_400_that_the_encoding_did_not_cause_teaches_nothing() -> None:
    def server(ask: Ask) -> Served:
        return bad(400, "too long") if "long" in ask.texts else good(ask.texts)

    world = World(server, base64=None)
    error = world.failure(["long"])
    assert [attempt.status for attempt in error.attempts] == [400, 400]
    world.embed(["short"])
    assert world.asks[-1].fields["encoding_format"] == "base64"


def test_a_refusal_that_comes_late_is_understood_too() -> None:
    world = World(
        script(None, bad(400, "encoding_format: unknown")), limit=1, base64=None
    )
    world.embed(["a", "b", "c"])
    assert ["encoding_format" in ask.fields for ask in world.asks] == [
        True,
        True,
        False,
    ]


def test_an_encoding_that_the_user_chose_is_kept() -> None:
    world = World(
        lambda _: bad(400, "encoding_format: unknown"), base64=True, learns=False
    )
    world.failure(["a"])
    assert len(world.asks) == 1


def test_a_timeout_counts_as_a_timeout() -> None:
    world = World(lambda _: lost(Cause.TIMEOUT), max_retries=0)
    assert isinstance(world.failure(["a"]), RequestTimeoutError)
    assert World(always).embed(["a"]) == [vector("a")]
