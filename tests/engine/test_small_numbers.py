"""Numbers that the engine remembers and judges by, where they begin and end."""

from __future__ import annotations

import threading

from tests.engine.virtual import Ask, Served, World, good, vector
from together_embed.engine.hedge import Hedger
from together_embed.engine.marks import Marks
from together_embed.engine.signals import Permit
from together_embed.errors import ConfigurationError

# What is far longer than its like


def hedger(share: float = 0.5) -> Hedger:
    return Hedger(share, threading.Lock())


def test_sixteen_requests_of_a_size_are_needed_to_judge_others() -> None:
    observed = hedger()
    for _ in range(16):
        assert observed.patience(1000) is None
        observed.learn(1000, 1.0)
    assert observed.patience(1000) == 2.0


def test_far_longer_is_twice_the_time_of_the_slowest_tenth() -> None:
    observed = hedger()
    for seconds in range(1, 21):
        observed.learn(1000, float(seconds))
    assert observed.patience(1000) == 2 * 19.0


def test_what_was_long_ago_is_forgotten() -> None:
    observed = hedger()
    for seconds in [9.0] * 50 + [1.0] * 231:  # of the last 256, 25 were slow
        observed.learn(1000, seconds)
    assert observed.patience(1000) == 2.0


def test_requests_of_another_size_are_judged_by_the_next_larger_ones() -> None:
    observed = hedger()
    for size, seconds in ((1000, 1.0), (100_000, 5.0)):
        for _ in range(16):
            observed.learn(size, seconds)
    assert [observed.patience(size) for size in (10, 512, 1023)] == [2.0] * 3
    assert [observed.patience(size) for size in (1024, 100_000)] == [10.0] * 2
    assert observed.patience(200_000) is None


def test_a_share_of_what_is_sent_may_be_spent_and_a_little_saved_up() -> None:
    observed = hedger(share=0.25)
    for _ in range(7):
        observed.sent()
    assert observed.left == 1
    observed.spend()
    assert observed.left == 0
    observed.sent()
    assert observed.left == 1
    for _ in range(1000):
        observed.sent()
    assert observed.left == 32


# Refusals as marks


def marked(*marks: tuple[int, float]) -> Marks:
    found = Marks()
    for serial, at in marks:
        found.add(Permit(serial, 1, at, 0.0))
    return found


def test_a_rate_is_measured_back_to_where_sixteen_were_accepted() -> None:
    assert marked((0, 0.0), (101, 10.0), (118, 12.0)).measure() == 8.0
    assert marked((0, 0.0), (101, 10.0), (117, 12.0)).measure() == 115 / 12
    assert marked((0, 0.0), (3, 0.0)).measure() is None
    assert marked((0, 0.0), (2, 4.0)).measure() == 0.25
    assert marked((0, 0.0), (1, 4.0)).measure() is None  # nothing was accepted
    assert marked((0, 0.0), (21, 1e-9)).measure() == 20_000


def test_a_refusal_that_comes_late_is_no_mark_and_was_not_accepted_all_the_same() -> (
    None
):
    marks = marked((0, 0.0), (50, 1.0), (40, 1.5), (101, 10.0))
    assert (marks.count, marks.newest) == (4, 101)
    assert marks.measure() == (101 - 50 - 2) / 9.0
    marks.clear()
    assert marks.measure() is None


def test_of_refusals_with_nothing_accepted_between_the_last_is_the_mark() -> None:
    marks = marked((0, 0.0), (20, 1.0), (21, 1.5), (22, 2.0))
    assert marks.run == 2
    assert marks.measure() == 19 / 2.0
    marks.add(Permit(43, 1, 4.0, 0.0))
    assert marks.run == 0
    assert marks.measure() == 20 / 2.0


def test_refusals_last_that_follow_one_another_for_more_than_a_second() -> None:
    def lasting(count: int, seconds: float) -> bool:
        run = ((20 + n, 1.0 + n * seconds / count) for n in range(count + 1))
        return marked((0, 0.0), *run).are_lasting

    assert lasting(16, 1.1)
    assert not lasting(16, 1.0)
    assert not lasting(15, 1.1)


# What a job keeps and asks for


def test_answers_that_are_kept_are_given_out_with_their_texts() -> None:
    world = World(keeps=True)
    run = world.start([["a", "b", "c"]])
    world.carry(run)
    assert [fresh.texts for fresh in run.job.fresh] == [["a", "b"], ["c"]]
    assert [fresh.answer.embeddings for fresh in run.job.fresh] == [
        [vector("a"), vector("b")],
        [vector("c")],
    ]
    other = World()
    run = other.start([["a"]])
    other.carry(run)
    assert not run.job.fresh


def test_no_more_is_on_its_way_to_the_disk_than_the_flow_lets_and_one() -> None:
    world = World(keeps=True, limit=3, batch_size=1)
    run = world.start([[f"t{number}" for number in range(20)]])
    world._turn(run)
    assert len(world.asks) == 3
    world.now += 1.0
    world.land()
    assert len(run.job._undigested) == 3
    step = run.job.next_step(world.now)
    assert step is not None
    assert len(step.launches) == 1  # three are here and not kept yet


def test_where_nothing_can_be_sent_a_call_says_so_before_it_sends() -> None:
    def ready() -> None:
        raise ConfigurationError("no key")

    world = World(ready=ready)
    assert str(world.failure(["a"])) == "no key"
    assert world.asks == []
    assert world.embed([]) == []


# What Ctrl-C left of texts that others want


def test_who_waits_for_a_request_that_was_broken_off_sends_its_texts_itself() -> None:
    for carried, sent in ((True, 1), (False, 2)):
        world = World()
        first, second = world.start([["a"]]), world.start([["a"]])
        world._turn(first)
        world._turn(second)
        assert len(world.asks) == 1
        tickets = first.job.close(world.now)
        first.job.mend(tickets if carried else [])
        first.over_at = world.now
        world.carry(second)
        assert second.groups == [[vector("a")]]
        assert len(world.asks) == sent
        world.land(all_of_it=True)
        assert world.held == 0
        assert not world.sharing.known


def test_texts_that_never_went_out_are_nobodys_after_ctrl_c() -> None:
    world = World(limit=1, batch_size=1)
    first = world.start([["a", "b", "c"]])
    world._turn(first)
    second = world.start([["b"]])
    world._turn(second)
    tickets = list(first.job._flight)
    first.job.mend(tickets)  # before anything was closed
    assert set(world.sharing.known) == {"a", "b"}
    assert {want.guest for want in world.sharing.known["b"].members} == {  # type: ignore[union-attr]
        second.job._guest
    }


def test_a_request_that_others_wait_for_is_waited_for_until_its_time() -> None:
    def serve(ask: Ask) -> Served:
        return (30.0 if ask.number == 0 else 1.0), good(ask.texts)

    world = World(serve, timeout=10.0, max_retries=0)
    first = world.start([["a"]])
    world._turn(first)
    world.now += 4.0
    second = world.start([["a"]])
    world._turn(second)
    step = second.job.next_step(world.now, awaiting=True)
    assert step is not None
    assert step.patience == 6.0


def test_a_request_that_had_its_time_leaves_it_to_its_twin_and_that_to_another() -> (
    None
):
    def serve(ask: Ask) -> Served:
        stuck = (
            ask.texts == ["stuck"]
            and sum(other.texts == ["stuck"] for other in world.asks) < 3
        )
        return (1000.0 if stuck else 1.0), good(ask.texts)

    world = World(serve, batch_size=1, hedge=0.5, timeout=10.0)
    send = world._send

    def deaf(to: object, ticket: object) -> None:
        ticket.seconds = None  # type: ignore[attr-defined]
        send(to, ticket)  # type: ignore[arg-type]

    world._send = deaf  # type: ignore[method-assign,assignment]
    world.embed([*(f"{number:05}" for number in range(40)), "stuck"])
    stats = world.stats
    assert (stats.hedged, stats.retries) == (2, 0)
    assert stats.failures == {"timeout": 1}
    world.land(all_of_it=True)
    assert world.held == 0
