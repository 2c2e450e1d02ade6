"""Whatever happens, vectors are right and permits come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.virtual import Ask, Served, World, bad, good, lost, vector
from together_embed.engine.outcome import Cause, Reply
from together_embed.errors import AuthenticationError, EmbeddingsError

PASSING: list[Served] = [
    *(lost(cause) for cause in Cause if cause not in (Cause.CRASH, Cause.TOO_LARGE)),
    *(bad(status) for status in (408, 429, 500, 502, 503, 504, 529)),
    bad(429, retry_after="2"),
    bad(503, retry_after_ms="900"),
    bad(429, x_ratelimit_reset="1e9"),
    bad(400, "All connection attempts failed"),
    Reply(200, {}, b"<html>"),
    Reply(200, {}, b'{"data":[]}'),
    (30.0, bad(500)),
]
FATAL: list[Served] = [
    *(bad(status) for status in (302, 400, 401, 402, 403, 404, 413, 422)),
    lost(Cause.TOO_LARGE),
    type(lost())(Cause.CRASH, "x", ArithmeticError("ours")),
]
texts = st.lists(st.sampled_from("abcdefghij"), max_size=7)
groups = st.lists(texts, max_size=5)
answers = st.lists(
    st.one_of(
        st.none(),
        st.integers(0, len(PASSING) - 1),
        st.floats(0.0, 40.0).map(lambda seconds: (seconds, None)),
    ),
    max_size=40,
)


def server_of(told: list[object], fatal: dict[int, Served]) -> object:
    def serve(ask: Ask) -> Served:
        if ask.number in fatal:
            return fatal[ask.number]
        step = told[ask.number] if ask.number < len(told) else None
        if isinstance(step, int):
            return PASSING[step]
        if isinstance(step, tuple):
            return step[0], good(ask.texts, backwards=True)
        return good(ask.texts)

    return serve


@settings(max_examples=150)
@given(
    works=st.lists(groups, min_size=1, max_size=4),
    told=answers,
    fatal=st.dictionaries(st.integers(0, 30), st.sampled_from(FATAL), max_size=1),
    limit=st.integers(1, 5),
    retries=st.integers(0, 4),
    dice=st.floats(0.0, 0.999),
    timeout=st.one_of(st.none(), st.floats(0.5, 20.0)),
    deadline=st.one_of(st.none(), st.floats(0.5, 60.0)),
    base64=st.sampled_from([None, False, True]),
)
def test_vectors_are_right_or_an_error_is_raised_and_no_permit_is_lost(
    works: list[list[list[str]]],
    told: list[object],
    fatal: dict[int, Served],
    limit: int,
    retries: int,
    dice: float,
    timeout: float | None,
    deadline: float | None,
    base64: bool | None,
) -> None:
    world = World(
        server_of(told, fatal),  # type: ignore[arg-type]
        limit=limit,
        max_retries=retries,
        dice=lambda: dice,
        timeout=timeout,
        deadline=deadline,
        base64=base64,
    )
    runs = [world.start(groups) for groups in works]
    world.carry(*runs)
    world.land(all_of_it=True)
    assert world.held == 0
    for run, groups in zip(runs, works, strict=True):
        right = [[vector(text) for text in group] for group in groups]
        if run.error is None:
            assert run.groups == right
        else:
            assert isinstance(run.error, (EmbeddingsError, ArithmeticError))
            assert run.groups == right[: len(run.groups)]
    # The client is as good as new: another call is served.
    world.server = lambda ask: good(ask.texts)
    world.plan = replace(world.plan, deadline=None, timeout=None)
    assert world.embed(["after", "all"]) == [vector("after"), vector("all")]
    assert world.held == 0


def test_a_call_that_is_left_half_way_gives_its_permits_back_as_they_land() -> None:
    world = World(lambda ask: (10.0, good(ask.texts)), limit=3, batch_size=1)
    run = world.start([["a", "b", "c", "d"]])
    world._turn(run)
    assert world.held == 3
    world._end(run)
    world.land(all_of_it=True)
    assert world.held == 0
    assert len(world.asks) == 3


def test_a_request_gives_its_permit_back_though_nobody_drives_its_job() -> None:
    world = World(limit=1, batch_size=1)
    idle = world.start([["a"], ["b"], ["c"]])
    world._turn(idle)
    world.land(all_of_it=True)
    idle.job.digest(world.now)
    assert world.embed(["query"]) == [vector("query")]


def test_between_a_failure_and_its_verdict_nothing_goes_out() -> None:
    world = World(limit=1, batch_size=1)
    run = world.start([["a", "b", "c"]])
    world._turn(run)
    (ticket,) = run.job._flight
    run.job.release(ticket, bad(401), world.now)  # the thread that carried it
    step = run.job.next_step(world.now)  # the caller's, which has not heard of it yet
    assert step is not None
    assert not step.launches
    run.job.receive(ticket, bad(401), world.now)
    assert run.job.next_step(world.now) is None
    with pytest.raises(AuthenticationError):
        run.job.result()
    run.job.close(world.now)
    assert world.held == 0


def test_a_permit_is_given_back_once_however_often_it_is_released() -> None:
    world = World(limit=2, batch_size=1)
    run = world.start([["a", "b"]])
    world._turn(run)
    for ticket in run.job.close(world.now) * 3:
        run.job.release(ticket, None, world.now)
    assert world.held == 0
