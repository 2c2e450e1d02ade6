"""What becomes of a batch without vectors, and what the flow is told of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.engine.virtual import (
    Ask,
    Run,
    Served,
    World,
    bad,
    good,
    lost,
    script,
    vector,
)
from together_embed.engine.job import FEW
from together_embed.engine.lengths import Limit
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.portion import NEAR, PROBE, Portion
from together_embed.engine.quota import Quota
from together_embed.engine.rows import Arrays, Form, Lists
from together_embed.engine.shape import Shape
from together_embed.engine.signals import Report, Verdict, report
from together_embed.errors import (
    BadRequestError,
    CertificateError,
    ConfigurationError,
    DeadlineExceededError,
    InputError,
    InvalidResponseError,
    LongInputWarning,
    ModelDriftError,
    RateLimitError,
)

WRONG = Reply(200, {}, b"{}")
LEFT = {"x-tokenlimit-remaining": "900", "x-tokenlimit-reset": "3"}


def statuses(error: object) -> list[int | None]:
    return [attempt.status for attempt in error.attempts]  # type: ignore[attr-defined]


def moments(world: World) -> list[float]:
    return [round(ask.at - 100.0, 6) for ask in world.asks]


def taken_on(world: World, texts: list[str], hidden: str | None = None) -> Run:
    """Start a call with a text that goes out along with others."""
    run = world.start([])
    run.job.add(run.job.group(texts, hidden))
    return run


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (None, Report(Verdict.ABANDONED, 2.0, 400)),
        (lost(), Report(Verdict.BROKEN, 2.0, 400)),
        (lost(Cause.CLOSED_EARLY), Report(Verdict.BROKEN, 2.0, 400)),
        (lost(Cause.TIMEOUT), Report(Verdict.STRAINED, 2.0, 400)),
        (lost(Cause.UNREACHABLE), Report(Verdict.STRAINED, 2.0, 400)),
        (Reply(200, {}, b""), Report(Verdict.RIGHT, 2.0, 400)),
        (
            Reply(
                200, {"x-tokenlimit-remaining": "900", "x-tokenlimit-reset": "3"}, b""
            ),
            Report(Verdict.RIGHT, 2.0, 400, None, Quota(9, 3.0)),
        ),
        (bad(429), Report(Verdict.REFUSED, 2.0, 400)),
        (bad(429, retry_after="7"), Report(Verdict.REFUSED, 2.0, 400, 7.0)),
        (bad(503, retry_after="7"), Report(Verdict.REFUSED, 2.0, 400, 7.0)),
        *(
            (bad(status), Report(Verdict.STRAINED, 2.0, 400))
            for status in (408, 503, 504)
        ),
        *(
            (bad(status, retry_after="7"), Report(Verdict.BROKEN, 2.0, 400))
            for status in (500, 502)
        ),
        (bad(400, retry_after="7"), Report(Verdict.FAILED, 2.0, 400)),
    ],
)
def test_the_flow_is_told_what_an_outcome_says_of_the_server(
    outcome: Outcome | None, told: Report
) -> None:
    assert report(outcome, 2.0, 400) == told


def test_an_overload_with_a_time_is_the_brakes_matter() -> None:
    world = World(script(bad(503, retry_after="32")), limit=1)
    world.embed(["a"])
    assert moments(world) == [0.0, 2.05]  # after a share of the time, not all of it


def test_a_failure_with_a_time_keeps_to_that_time() -> None:
    world = World(script(bad(500, retry_after="32")), limit=1)
    world.embed(["a"])
    assert moments(world) == [0.0, 33.0]


def test_an_answer_that_fails_as_the_deadline_comes_is_told_of_with_its_status() -> (
    None
):
    fails = script((5.0, bad(500, "busy")))
    error = World(fails, deadline=5.0, max_retries=0).failure(["a"])
    assert isinstance(error, DeadlineExceededError)
    assert statuses(error) == [500]
    assert error.attempts[0].seconds == 5.0


def test_what_comes_while_a_call_ends_is_no_failure() -> None:
    world = World(limit=2, batch_size=1, deadline=5.0)
    run = world.start([["a", "b"]])
    world._turn(run)
    world.now += 5.0
    assert run.job.next_step(world.now) is None
    run.job.receive(world._air[0][3], good(["a"]), world.now)
    run.job.digest(world.now)
    results, failures, remaining = run.job.partial()
    assert (results, list(failures), remaining) == ({0: vector("a")}, [1], ())


def test_a_deadline_without_a_failure_tells_of_none() -> None:
    world = World(lambda ask: (9.0, good(ask.texts)), limit=1)
    world._turn(world.start([["it holds the only place"]]))
    world.plan = replace(world.plan, deadline=5.0)
    error = world.failure(["a"])
    assert error.message == "5 s are over, 1 of 1 texts have no vector"


def test_each_wrong_answer_is_told_of_in_words() -> None:
    error = World(lambda _: good([]), max_retries=1, dice=lambda: 0.0).failure(["a"])
    assert [attempt.reason for attempt in error.attempts] == ["0 rows for 1 texts"] * 2


def with_rows(*rows: list[float]) -> Reply:
    data = [{"index": at, "embedding": row} for at, row in enumerate(rows)]
    return Reply(200, {}, json.dumps({"data": data}).encode())


@pytest.mark.parametrize(("width", "asks"), [(2, 1), (4, 3)])
def test_where_dimensions_are_not_honoured_it_is_told_soon(
    width: int, asks: int
) -> None:
    world = World(width=width)
    error = world.failure(["a"])
    assert isinstance(error, InvalidResponseError)
    assert statuses(error) == [200] * asks  # a narrow row may have lost numbers
    assert f"row 0 is 3 wide, not {width}: the server does not honour" in str(error)
    assert len(world.asks) == asks
    other = World(script(WRONG), width=3)
    assert other.embed(["a"]) == [vector("a")]  # wrong in another way: asked again


@pytest.mark.parametrize("form", [Lists, Arrays])
@pytest.mark.parametrize("damaged", [[[1.0, 2.0], [3.0]], [[1.0, 2.0]] * 2, [[], []]])
def test_a_row_that_lost_numbers_does_not_say_that_dimensions_are_not_honoured(
    damaged: list[list[float]], form: type[Form]
) -> None:
    for other in ([], [1.0, 2.0, 3.0, 4.0]):
        rest = with_rows(other, vector("b"))
        world = World(script(with_rows(*damaged), rest, None), width=3)
        assert len(world.embed(["a", "b"], form=form())) == 2
        assert len(world.asks) == 3


@pytest.mark.parametrize(
    ("outcome", "kind", "status", "reason"),
    [
        (Lost(Cause.TOO_LARGE, "9 GB"), InvalidResponseError, 200, ": 9 GB"),
        (Lost(Cause.TOO_LARGE), InvalidResponseError, 200, "any valid one"),
        (Lost(Cause.UNTRUSTED, "expired"), CertificateError, None, ": expired"),
    ],
)
def test_what_no_second_request_cures_is_told_in_the_transports_words(
    outcome: Lost, kind: type, status: int | None, reason: str
) -> None:
    world = World(lambda _: outcome)
    error = world.failure(["a"])
    assert type(error) is kind
    assert statuses(error) == [status]
    assert error.attempts[0].reason.endswith(reason)
    assert len(world.asks) == 1


def test_a_crash_without_an_exception_is_an_error_with_its_words() -> None:
    world = World(lambda _: Lost(Cause.CRASH, "no idea"))
    error = world.failure(["a"])
    assert type(error) is RuntimeError
    assert str(error) == "no idea"
    assert [batch.reason for batch in world.told] == ["RuntimeError"]


def test_failures_of_one_kind_are_added_up_and_told_in_the_transports_words() -> None:
    world = World(lambda _: lost(), max_retries=2)
    error = world.failure(["a"])
    said = [attempt.reason for attempt in error.attempts]
    assert said == [f"{Cause.CONNECTION.value}: as told"] * 3
    assert [batch.failures for batch in world.told] == [{"connection": 3}]


def test_a_repeated_text_is_named_by_its_first_place_and_a_hidden_one_by_none() -> None:
    said = "cannot read 'Jo Doe'"
    world = World(lambda _: bad(401, said))
    assert "<text 1>" in str(world.failure(["a", "Jo Doe", "Jo Doe"]))
    world = World(lambda _: bad(401, said))
    run = taken_on(world, ["a"], hidden="Jo Doe")
    world.carry(run)
    assert "cannot read '<text>'" in str(run.error)


def test_a_batch_asked_for_plainly_once_stays_so_and_that_is_no_retry() -> None:
    world = World(
        script(bad(400), bad(500), bad(500)), base64=None, max_retries=2, limit=1
    )
    world.embed(["a"])
    asked = ["encoding_format" in ask.fields for ask in world.asks]
    assert asked == [True, False, False, False]
    assert world.dialect.base64 is False


@pytest.mark.parametrize(("most", "wrong"), [(8, "t5"), (3, "")])
def test_what_a_smaller_request_cures_is_not_the_encoding(
    most: int, wrong: str
) -> None:
    def serve(ask: Ask) -> Served:
        right = len(ask.texts) <= most and wrong not in ask.texts
        return good(ask.texts) if right else bad(400)

    world = World(serve, base64=None, batch_size=8)
    world.carry(world.start([[f"t{number}" for number in range(8)]]))
    assert world.dialect.base64 is None
    world.embed(["a"])
    assert world.dialect.base64 is True


def test_an_encoding_is_refused_by_a_server_that_takes_few_texts_too() -> None:
    def serve(ask: Ask) -> Served:
        right = len(ask.texts) <= 3 and "encoding_format" not in ask.fields
        return good(ask.texts) if right else bad(422)

    world = World(serve, base64=None, batch_size=8)
    world.embed([f"t{number}" for number in range(80)])
    assert world.dialect.base64 is False


def test_words_about_a_text_are_no_doubt_about_the_encoding_of_many() -> None:
    def serve(ask: Ask) -> Served:
        return bad(400, "text too long") if "t5" in ask.texts else good(ask.texts)

    world = World(serve, base64=None, batch_size=8)
    world.carry(world.start([[f"t{number}" for number in range(8)]]))
    assert len(world.asks) <= 1 + 2 * 3
    assert all("encoding_format" in ask.fields for ask in world.asks)


def test_an_encoding_is_found_out_whatever_words_refuse_it() -> None:
    def serve(ask: Ask) -> Served:
        refused = "encoding_format" in ask.fields
        return bad(400, "invalid input text") if refused else good(ask.texts)

    world = World(serve, base64=None, batch_size=8, limit=1)
    world.embed([f"t{number}" for number in range(80)])
    assert world.dialect.base64 is False
    assert world.dialect.portion.largest is None  # it was never about the size
    before = len(world.asks)
    world.embed([f"t{number}" for number in range(80)])
    assert len(world.asks) == before + 10


def test_failures_are_told_to_the_hook_with_what_was_asked_for() -> None:
    for base64, asked in ((True, "base64"), (False, None)):
        world = World(script(None, bad(401)), base64=base64, limit=1)
        world.failure(["a", "b", "c"])
        assert [batch.asked_encoding for batch in world.told] == [asked] * 2
        assert [batch.asked_model for batch in world.told] == ["m", "m"]
        assert [batch.status for batch in world.told] == [200, 401]


def test_a_second_request_is_counted_with_its_bytes() -> None:
    def serve(ask: Ask) -> Served:
        first = ask.texts == ["slow"] and not any(
            other.texts == ["slow"] for other in world.asks[:-1]
        )
        return (50.0 if first else 1.0), good(ask.texts)

    world = World(serve, batch_size=1, hedge=0.5)
    world.embed([*(f"{number:04}" for number in range(40)), "slow"])
    stats = world.stats
    assert (stats.hedged, stats.requests) == (1, len(world.asks))
    assert stats.sent_bytes == sum(ask.size for ask in world.asks)
    slow = max(world.told, key=lambda batch: batch.attempts)
    assert (slow.attempts, slow.texts) == (2, 1)
    assert slow.sent_bytes == 2 * world.asks[-1].size
    # It is sent when the first took twice as long as the slowest tenth.
    assert world.asks[-1].at == world.asks[-2].at + 2.0


def test_a_call_whose_texts_come_in_groups_names_them_by_their_place_in_the_call() -> (
    None
):
    world = World(lambda ask: bad(401) if "d" in ask.texts else good(ask.texts))
    run = world.start([["a", "b"], ["c"], ["x", "d"]])
    world.carry(run)
    assert run.error.indices == (3, 4)  # type: ignore[union-attr]
    many = World(limit=1)
    run = many.start([["a", "b"], ["c"], ["x", " "]])
    many.carry(run)
    assert run.error.indices == (4,)  # type: ignore[union-attr]


def test_who_waits_for_the_next_texts_is_not_told_to_come_back_at_once() -> None:
    job = World().start([]).job
    step = job.next_step(100.0)
    assert step is not None
    assert step.patience == 0.0
    step = job.next_step(100.0, awaiting=True)
    assert step is not None
    assert step.patience is None


def test_a_call_without_texts_is_over_at_once() -> None:
    run = World().start([])
    assert not run.job.began
    run.job.complete()
    assert run.job.next_step(100.0) is None
    assert run.job.is_finished
    assert not run.job.is_alone


def test_one_request_that_is_all_that_is_left_is_alone() -> None:
    world = World()
    run = world.start([["a"]])
    assert not run.job.is_alone
    for _ in range(2):
        world._turn(run)
    assert run.job.is_alone
    more = world.start([["a", "b", "c"]])
    for _ in range(2):
        world._turn(more)
    assert not more.job.is_alone
    narrow = World(limit=1)
    waits = narrow.start([["a", "b", "c"]])
    for _ in range(2):
        narrow._turn(waits)
    waits.job.complete()
    assert narrow.held == 1
    assert not waits.job.is_alone  # another batch is to go out behind it


def test_progress_is_told_once_for_each_text_whatever_brought_it() -> None:
    told: list[int] = []
    world = World(batch_size=1)
    run = world.start([["a", "b", "a"]], on_progress=told.append)
    world.carry(run)
    assert sorted(told) == [1, 2]
    told.clear()
    first = world.start([["x", "y"]])
    second = world.start([["x", "z"]], on_progress=told.append)
    world.carry(first, second)
    assert sum(told) == 2
    assert 0 not in told


def test_what_a_call_did_is_told_when_it_ends() -> None:
    ends: list[dict[str, object]] = []
    world = World(script(bad(500)))
    run = world.start([["a", "a"]], on_end=ends.append)
    world.carry(run)
    (told,) = ends
    assert (told.calls, told.texts, told.duplicates) == (1, 2, 1)
    assert (told.requests, told.retries, told.failed) == (2, 1, 1)
    assert told.failures == {"500": 1}
    assert told.seconds == world.now - 100.0


def test_sums_of_a_call_are_its_clients_too_while_it_goes_on_and_after() -> None:
    world = World()
    one, two = world.tallies.open(), world.tallies.open()
    one.requests += 2
    one.failures["500"] = 1
    two.requests += 3
    two.failures["500"] = 1
    for _ in range(2):
        assert (world.stats.requests, world.stats.failures) == (5, {"500": 2})
        world.tallies.close(one)
    world.tallies.close(one)  # as after Ctrl-C: it counts once
    two.requests += 1
    world.tallies.close(two)
    assert (world.stats.requests, world.stats.failures) == (6, {"500": 2})
    assert (one.requests, two.requests) == (2, 4)


def test_three_texts_refused_one_by_one_and_none_taken_is_not_about_the_texts() -> None:
    world = World(lambda _: bad(400, "no such model"), batch_size=1, limit=1)
    error = world.failure([*map(str, range(3 + FEW))])
    assert isinstance(error, BadRequestError)
    assert len(world.asks) == 3
    taken = World(
        lambda ask: good(ask.texts) if "a" in ask.texts else bad(400),
        batch_size=1,
        limit=1,
    )
    run = taken.start([["a", "b", "c", "d", "e"]], lenient=True)
    taken.carry(run)
    assert run.error is None
    assert len(taken.asks) == 5


def test_texts_that_are_cut_further_than_they_are_wide_are_an_error() -> None:
    world = World(shape=Shape(cut_to=4))
    error = world.failure(["a"])
    assert isinstance(error, ConfigurationError)
    assert "cut_to=4, but the vectors are 3 wide" in str(error)
    assert World(shape=Shape(cut_to=3)).embed(["a"])


def test_long_texts_are_told_of_in_two_groups_and_counted_in_each() -> None:
    limit = Limit(3, len, "truncate")
    world = World(limit=1)
    world.plan = replace(world.plan, limit=limit)
    run = world.start([["abcd"], ["efgh", "i"], ["jklm"]])
    with pytest.warns(LongInputWarning) as told:
        world.carry(run)
    first, second = [str(warning.message) for warning in told]
    assert first.endswith("input 0")
    assert second.endswith("input 1; later ones are counted in stats.long, not named")
    assert world.stats.long == 3
    sent = [text for ask in world.asks for text in ask.texts]
    assert sent == ["abc", "efg", "i", "jkl"]


@pytest.mark.parametrize("lenient", [False, True])
def test_a_text_that_is_too_long_leaves_the_others_alone_where_that_is_wanted(
    lenient: bool,
) -> None:
    world = World()
    world.plan = replace(world.plan, limit=Limit(3, len, "error"))
    run = world.start([["ab", "abcd", "x"]], lenient=lenient)
    world.carry(run)
    if lenient:
        ((first, error, last),) = run.groups
        assert (first, last) == (vector("ab"), vector("x"))
        assert isinstance(error, InputError)
        assert error.indices == (1,)
    else:
        assert isinstance(run.error, InputError)
        assert run.error.indices == (1,)
        assert world.asks == []


def test_a_size_is_tried_again_after_some_requests_halfway_to_what_was_refused() -> (
    None
):
    portion = Portion()
    assert portion.refused(100, 1000, 500, by_bytes=False)
    assert portion.allot() == (50, float("inf"))
    portion.carried(50, 500)
    sizes = []
    for _ in range(2 * PROBE + 2):
        sizes.append(portion.allot()[0])
        portion.carried(50, 500)
    assert sizes[: PROBE - 1] == [50] * (PROBE - 1)
    assert sizes[PROBE - 1 : PROBE + 1] == [75, 50]
    assert sizes.count(75) == 2


def test_what_was_refused_a_sixteenth_above_what_was_carried_is_not_searched() -> None:
    for refused, tried in ((106, 100), (108, 104)):
        portion = Portion()
        portion.carried(100, 1)
        assert portion.refused(refused, 1, 1, by_bytes=False)
        for _ in range(PROBE):
            portion.carried(100, 1)
        assert portion.allot()[0] == tried
    assert NEAR == 16


def test_a_quarter_more_bytes_than_were_carried_are_no_larger_request() -> None:
    for size, about_size in ((1250, False), (1251, True)):
        portion = Portion()
        portion.carried(100, 1000)
        doubt = portion.refused(100, size, size // 2, by_bytes=False)
        assert (doubt is not None) is about_size


def test_a_refusal_for_a_rate_is_told_with_all_its_tries() -> None:
    world = World(lambda _: bad(429, "slow"), max_retries=2, dice=lambda: 0.0)
    error = world.failure(["a"])
    assert isinstance(error, RateLimitError)
    assert statuses(error) == [429] * 3
    assert world.stats.refused == 3
    assert world.stats.failed == 0


def test_what_there_is_of_a_call_that_failed_is_told_text_by_text() -> None:
    world = World(
        lambda ask: bad(401) if "c" in ask.texts else good(ask.texts),
        batch_size=1,
        limit=1,
    )
    run = world.start([["a", "b", "c", "d"]])
    world.carry(run)
    results, failures, missing = run.job.partial()
    assert results == {0: vector("a"), 1: vector("b")}
    assert failures == {2: run.error}
    assert missing == (3,)


def test_a_text_that_goes_along_hidden_does_so_where_texts_are_measured_too() -> None:
    world = World()
    world.plan = replace(world.plan, limit=Limit(3, len, "truncate"))
    run = taken_on(world, ["a"], hidden="xyz")
    world.carry(run)
    assert [ask.texts for ask in world.asks] == [["xyz", "a"]]
    assert run.groups == [[vector("a")]]


def test_a_prefix_goes_in_front_of_each_text_that_is_sent() -> None:
    world = World()
    run = world.start([["a", "b", "a"]], prefix="q: ")
    world.carry(run)
    assert [ask.texts for ask in world.asks] == [["q: a", "q: b"]]
    assert run.groups == [[vector(f"q: {text}") for text in "aba"]]


@pytest.mark.parametrize(("width", "asks"), [(2, 1), (4, 3)])
def test_vectors_of_another_width_than_those_that_a_store_knows_are_wrong(
    width: int, asks: int
) -> None:
    world = World()
    run = world.start([])
    group = run.job.group(["a", "b"])
    known = "f", bytes(4 * width)
    for start, texts in group.lookups():
        group.recall(start, [known if text == "a" else None for text in texts])
    run.job.add(group)
    world.carry(run)
    assert isinstance(run.error, ModelDriftError)
    assert run.error.message.startswith(f"row 0 is 3 wide, not {width} like the")
    assert world.stats.recalled == 1
    assert len(world.asks) == asks  # one that lost numbers is asked for again


def test_blank_texts_are_sent_where_the_user_leaves_them_to_the_server() -> None:
    world = World(allow_blank=True)
    assert world.embed(["", "a"]) == [vector(""), vector("a")]


def test_a_model_that_repeats_the_key_is_told_of_without_it() -> None:
    def serve(ask: Ask) -> Served:
        body = good(ask.texts).body.replace(b'{"data"', b'{"model": "m-key", "data"')
        return Reply(200, {}, body)

    world = World(serve, scrub=lambda words: words.replace("key", "?"))
    world.embed(["a"])
    assert world.told[0].model == "m-?"
    plain = World()
    plain.embed(["a"])
    assert plain.told[0].model is None


def test_ten_long_texts_are_named_and_of_more_the_first_ten() -> None:
    limit = Limit(3, len, "truncate")
    assert limit.warning(tuple(range(10))).endswith("7, 8, 9")
    assert limit.warning(tuple(range(11))).endswith("7, 8, 9, …")


def test_a_timeout_in_a_call_with_time_left_is_a_retry_of_its_own() -> None:
    world = World(script((50.0, good(["a"]))), timeout=5.0, deadline=60.0)
    run = world.start([["a"]])
    world.carry(run)
    assert run.groups == [[vector("a")]]
    assert world.stats.failures == {"timeout": 1}
    assert world.stats.retries == 1
