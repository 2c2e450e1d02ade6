"""A text that several calls of a client want at once goes out once."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.virtual import (
    Ask,
    Served,
    World,
    bad,
    good,
    lost,
    script,
    vector,
)
from together_embed.engine import sharing
from together_embed.engine.joints import merge
from together_embed.engine.lengths import Limit
from together_embed.engine.outcome import Reply
from together_embed.errors import EmbeddingsError, LongInputWarning

WRONG = Reply(200, {}, b"{}")
LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]


def sent(world: World) -> Counter[str]:
    return Counter(text for ask in world.asks for text in ask.texts)


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
@pytest.mark.parametrize("limit", [1, 2, 40])
def test_two_calls_for_the_same_texts_share_the_work(
    limit: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "AT_ONCE", at_once)
    world = World(limit=limit)
    one, two = world.start([LETTERS]), world.start([LETTERS[::-1]])
    world.carry(one, two)
    assert one.groups == [[vector(text) for text in LETTERS]]
    assert two.groups == [[vector(text) for text in LETTERS[::-1]]]
    assert set(sent(world).values()) == {1}
    assert world.stats.texts + world.stats.shared == 2 * len(LETTERS)
    assert world.held == 0
    assert not world.sharing.known


def test_a_group_that_sends_nothing_wants_nothing_of_others() -> None:
    job = World().start([]).job
    group = job.group([], "what goes along")
    job.enter(group)
    for start, asked in group.lookups():
        group.recall(start, [None for _ in asked])
    job.add(group)
    assert job._guest._sharing.known == {}


def test_of_a_batch_each_text_that_others_want_is_handed_to_them() -> None:
    world = World(batch_size=9)
    first = world.start([["a", "b", "c", "d"]])
    world._turn(first)
    others = [world.start([["d", "b"]]), world.start([["c", "x", "d"]])]
    world.carry(first, *others)
    assert [other.groups for other in others] == [
        [[vector("d"), vector("b")]],
        [[vector("c"), vector("x"), vector("d")]],
    ]
    assert [sorted(ask.texts) for ask in world.asks] == [[*"abcd"], ["x"]]


def test_a_text_in_two_groups_of_a_call_goes_out_once() -> None:
    world = World(limit=4)
    run = world.start([["a", "b"], ["b", "c"], ["a", "d"]])
    world.carry(run)
    assert run.groups == [[vector(t) for t in group] for group in ("ab", "bc", "ad")]
    assert set(sent(world).values()) == {1}


def test_a_call_that_came_later_sends_what_nobody_has_sent_yet_itself() -> None:
    """A query does not wait behind a corpus that holds its text."""
    world = World(limit=1, batch_size=1)
    corpus = world.start([LETTERS])
    world._turn(corpus)
    query = world.start([["z"]])
    world.carry(corpus, query)
    assert query.over_at is not None
    assert query.over_at <= 103.0
    assert set(sent(world).values()) == {1}


def test_texts_that_are_shared_leave_the_other_batches_full() -> None:
    world = World(lambda ask: (5.0, good(ask.texts)), limit=9, batch_size=4)
    first = world.start([["a", "c", "e", "g"]])
    world._turn(first)
    second = world.start([["a", "b", "c", "d", "e", "f", "g", "h"]])
    world.carry(first, second)
    assert sorted(len(ask.texts) for ask in world.asks) == [4, 4]


@pytest.mark.parametrize("failure", [bad(401), bad(500), lost(), good(["x", "y"])])
def test_where_the_first_fails_the_second_sends_the_text_itself(
    failure: Served,
) -> None:
    def serve(ask: Ask) -> Served:
        return failure if ask.number == 0 else good(ask.texts)

    world = World(serve, max_retries=0)
    first, second = world.start([["a"]]), world.start([["a"]])
    world.carry(first, second)
    assert isinstance(first.error, EmbeddingsError)
    assert second.groups == [[vector("a")]]
    assert len(world.asks) == 2
    assert second.over_at == 102.0  # at once


def test_a_third_call_waits_for_the_second_where_the_first_has_failed() -> None:
    served = [(1.0, bad(401)), (5.0, good(["a"]))]
    world = World(lambda ask: served[ask.number], max_retries=0)
    first, second = world.start([["a"]]), world.start([["a"]])
    world.carry(first)
    world._turn(second)
    assert len(world.asks) == 2
    third = world.start([["a"]])
    world.carry(second, third)
    assert second.groups == third.groups == [[vector("a")]]
    assert len(world.asks) == 2
    assert not world.sharing.known


def test_a_retry_leaves_out_what_another_call_has_sent_meanwhile() -> None:
    served = [bad(500, retry_after="2"), (30.0, good(["b"]))]
    world = World(
        lambda ask: served[ask.number] if ask.number < 2 else good(ask.texts),
        batch_size=9,
    )
    first = world.start([[*"abcd"]])
    world._turn(first)
    world._pass_time([first])
    world._turn(first)
    second = world.start([["b"]])
    world._turn(second)
    world.carry(first, second)
    assert [ask.texts for ask in world.asks] == [[*"abcd"], ["b"], [*"acd"]]
    assert first.groups == [[vector(text) for text in "abcd"]]
    assert second.groups == [[vector("b")]]


def test_where_the_first_tries_again_the_text_goes_out_once_more_and_not_twice() -> (
    None
):
    world = World(lambda ask: good(ask.texts) if ask.number else bad(500))
    first, second = world.start([["a"]]), world.start([["a"]])
    world.carry(first, second)
    assert first.groups == second.groups == [[vector("a")]]
    assert len(world.asks) == 2


@pytest.mark.parametrize("failure", [bad(500), lost(), WRONG])
def test_many_who_wait_for_a_request_that_fails_send_one_more(failure: Served) -> None:
    world = World(lambda ask: good(ask.texts) if ask.number > 2 else failure, limit=9)
    runs = [world.start([["a"]]) for _ in range(6)]
    world.carry(*runs)
    assert [run.groups for run in runs] == [[[vector("a")]]] * 6
    assert len(world.asks) == 4
    assert not world.sharing.known


def test_a_call_that_ends_still_hands_on_what_comes_for_it() -> None:
    world = World(lambda ask: (3.0, good(ask.texts)))
    first = world.start([["a"]])
    world._turn(first)
    second = world.start([["a"]])
    world._turn(second)
    world._end(first)
    world.carry(second)
    assert second.groups == [[vector("a")]]
    assert len(world.asks) == 1
    assert not world.sharing.known


def test_what_was_never_sent_is_not_waited_for() -> None:
    world = World(limit=1, batch_size=1)
    first = world.start([["a", "b"]])
    world._turn(first)  # "a" is on its way; the call is left before "b" is
    world.land(all_of_it=True)
    assert world.embed(["b"]) == [vector("b")]
    world._end(first)
    assert not world.sharing.known


def test_an_answer_is_handed_on_though_nobody_drives_the_first() -> None:
    world = World(limit=2, batch_size=1)
    idle = world.start([["a", "b"]])
    world._turn(idle)
    assert world.embed(["b", "a"]) == [vector("b"), vector("a")]
    assert len(world.asks) == 2
    world.carry(idle)
    assert idle.groups == [[vector("a"), vector("b")]]
    assert len(world.asks) == 2


def test_a_request_that_never_ends_is_waited_for_no_longer_than_its_time() -> None:
    world = World(
        lambda ask: (1e9 if ask.number == 0 else 1.0, good(ask.texts)), timeout=None
    )
    stuck = world.start([["a"]])
    world._turn(stuck)
    assert world.embed(["a"]) == [vector("a")]
    assert 60.0 <= world.now - 100.0 <= 62.0


def test_a_deadline_ends_the_wait_for_another_call() -> None:
    world = World(lambda ask: (9.0, good(ask.texts)))
    first = world.start([["a"]])
    world._turn(first)
    world.plan = replace(world.plan, deadline=2.0)
    error = world.failure(["a"])
    assert type(error).__name__ == "DeadlineExceededError"
    assert world.now == 102.0
    world.carry(first)
    assert first.groups == [[vector("a")]]


def test_a_call_that_holds_up_the_carrier_does_not_wait_for_it() -> None:
    """A sync call in an event loop's thread: nothing of the loop moves meanwhile."""
    world = World(lambda ask: (30.0 if ask.number == 0 else 1.0, good(ask.texts)))
    on_loop = world.start([["a"]], host=7)
    world._turn(on_loop)
    elsewhere = world.start([["a"]], blocks=8)
    world._turn(elsewhere)
    assert len(world.asks) == 1
    blocking = world.start([["a"]], blocks=7)
    world.carry(blocking)
    assert blocking.over_at == 101.0
    world.carry(on_loop, elsewhere)
    assert (on_loop.over_at, elsewhere.over_at) == (101.0, 101.0)
    assert len(world.asks) == 2


def test_a_text_that_the_server_refuses_is_refused_to_each_who_asks() -> None:
    def serve(ask: Ask) -> Served:
        return bad(422) if "bad" in ask.texts else good(ask.texts)

    world = World(serve, limit=3)
    first, second = world.start([["a", "bad", "c"]]), world.start([["bad", "d"]])
    world.carry(first, second)
    for run, index in ((first, 1), (second, 0)):
        assert isinstance(run.error, EmbeddingsError)
        assert run.error.indices == (index,)
    assert not world.sharing.known


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(
            st.lists(st.text("abc", min_size=1, max_size=7), min_size=1, max_size=5),
            max_size=3,
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_texts_in_pieces_are_shared_piece_by_piece(
    works: list[list[list[str]]], limit: int, batch_size: int
) -> None:
    world = World(limit=limit, batch_size=batch_size)
    world.plan = replace(world.plan, limit=Limit(3, len, "split"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongInputWarning)
        runs = [world.start(groups) for groups in works]
        world.carry(*runs)
    for run, groups in zip(runs, works, strict=True):
        assert run.error is None
        for rows, group in zip(run.groups, groups, strict=True):
            for row, text in zip(rows, group, strict=True):
                pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
                right = merge([vector(p) for p in pieces], [len(p) for p in pieces])
                assert row == pytest.approx(right)
    assert not world.sharing.known


work = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9), max_size=3
)
works = st.lists(work, min_size=2, max_size=4)


@settings(max_examples=150)
@given(
    works,
    st.lists(
        st.sampled_from([None, bad(500), bad(422), lost(), bad(429), WRONG]), max_size=9
    ),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_whatever_calls_share_each_gets_its_own_vectors_and_all_end(
    works: list[list[list[str]]],
    told: list[Served | None],
    limit: int,
    batch_size: int,
    keeps: bool,
) -> None:
    def serve(ask: Ask) -> Served:
        served = told[ask.number] if ask.number < len(told) else None
        return good(ask.texts, backwards=True) if served is None else served

    disk: dict[str, list[float]] | None = {} if keeps else None
    world = World(serve, limit=limit, batch_size=batch_size, disk=disk)
    runs = [world.start(groups) for groups in works]
    world.carry(*runs)
    world.land(all_of_it=True)
    for run, groups in zip(runs, works, strict=True):
        right = [[vector(text) for text in group] for group in groups]
        assert run.groups == right[: len(run.groups)]
        assert run.error is not None or run.groups == right
    assert world.held == 0
    assert not world.sharing.known


def test_a_row_that_is_shorter_than_the_others_is_wrong_for_who_wants_it_alone() -> (
    None
):
    rows = [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [1.0]}]
    uneven = Reply(200, {}, json.dumps({"data": rows}).encode())
    world = World(script(uneven))
    first = world.start([["a", "b"]])
    world._turn(first)
    second = world.start([["b"]])
    world.carry(first, second)
    assert first.groups == [[vector("a"), vector("b")]]
    assert second.groups == [[vector("b")]]


# Beside a store


@settings(max_examples=150)
@given(
    st.lists(st.tuples(work, st.sampled_from([0.0, 0.5, 1.0, 1.5])), max_size=6),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_with_a_store_no_text_goes_out_twice_whenever_it_is_asked_for(
    works: list[tuple[list[list[str]], float]], limit: int, batch_size: int
) -> None:
    disk: dict[str, list[float]] = {}
    world = World(limit=limit, batch_size=batch_size, disk=disk)
    runs = [world.start(groups) for groups, _ in works]
    for run, (_, later) in zip(runs, works, strict=True):
        run.due_at += later
    world.carry(*runs)
    for run, (groups, _) in zip(runs, works, strict=True):
        assert run.groups == [[vector(text) for text in group] for group in groups]
    wanted = {text for groups, _ in works for group in groups for text in group}
    assert sent(world) == dict.fromkeys(wanted, 1)
    assert disk == {text: vector(text) for text in wanted}
    assert not world.sharing.known


@pytest.mark.parametrize("decoded", [False, True])
def test_who_asks_before_an_answer_is_kept_is_given_it(decoded: bool) -> None:
    world = World(disk={})
    first = world.start([["a", "b"]])
    world._turn(first)
    world._turn(first)
    world.land(all_of_it=True)
    if decoded:
        world._turn(first)
        assert first.job.fresh
    second = world.start([["c", "b"]])
    world.carry(second)
    assert second.groups == [[vector("c"), vector("b")]]
    assert [ask.texts for ask in world.asks] == [["a", "b"], ["c"]]
    world.carry(first)
    assert not world.sharing.known


def test_who_asks_after_an_answer_was_found_wrong_is_not_given_it() -> None:
    world = World(script(WRONG, (9.0, good(["a"]))), disk={}, max_retries=1)
    first = world.start([["a"]])
    world._turn(first)
    world._turn(first)
    world.land(all_of_it=True)
    world._turn(first)
    world.now += 60.0
    world._turn(first)
    assert len(world.asks) == 2
    second = world.start([["a"]])
    world.carry(first, second)
    assert first.groups == second.groups == [[vector("a")]]
    assert len(world.asks) == 2


def test_a_call_that_ends_takes_nobody_elses_text_along() -> None:
    world = World(script(None, bad(401)), batch_size=1, limit=1)
    first = world.start([["a", "b"]])
    world._turn(first)
    world.land(all_of_it=True)
    world._turn(first)  # "a" is done with, "b" is on its way
    second = world.start([["a"]])
    world._turn(second)
    world.land(all_of_it=True)
    world._turn(first)
    assert first.error is not None
    assert [*world.sharing.known] == ["a"]


def test_answers_that_are_kept_one_after_the_other_all_leave_the_table() -> None:
    world = World(keeps=True)
    run = world.start([["a", "b", "c"]])
    world._turn(run)
    world.land(all_of_it=True)
    world._turn(run)
    world._turn(run)
    assert len(run.job.fresh) == 2
    run.job.kept()
    assert [*world.sharing.known] == ["c"]
    run.job.kept()
    assert not world.sharing.known
