"""The size of a request: halved when refused, found again, and remembered."""

import math
import threading
from collections.abc import Callable

import pytest

from tests.engine.virtual import Ask, Served, World, bad, good
from together_embed.engine.outcome import Reply
from together_embed.engine.portion import Portion


def limited(most: int, status: int = 422) -> World:
    """Return a world whose server takes so many texts a request."""

    def serve(ask: Ask) -> Served:
        return good(ask.texts) if len(ask.texts) <= most else bad(status)

    return World(serve, batch_size=100, limit=4)


TEXTS = [f"t{number}" for number in range(2_000)]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_too_large_goes_out_in_smaller_ones(status: int) -> None:
    world = limited(32, status)
    assert len(world.embed(TEXTS)) == len(TEXTS)
    refused = [ask for ask in world.asks if len(ask.texts) > 32]
    assert len(refused) <= 4 + 6  # those in flight at once, and the search


@pytest.mark.parametrize(("status", "largest"), [(413, None), (422, 3)])
def test_a_refusal_for_a_bodys_size_limits_bytes_and_not_texts(
    status: int, largest: int | None
) -> None:
    def serve(ask: Ask) -> Served:
        return good(ask.texts) if ask.size <= 500 else bad(status)

    world = World(serve, batch_size=9)
    world.embed([f"{number:0150}" for number in range(9)])
    world.embed([f"s{number}" for number in range(9)])
    assert len(world.asks[-1].texts) == (largest or 9)
    assert world.dialect.portion.largest == largest


@pytest.mark.parametrize(
    ("param", "asks"), [("null", 3), ('"input"', 3), ('"dimensions"', 1)]
)
def test_what_is_refused_for_another_field_is_not_halved(param: str, asks: int) -> None:
    body = f'{{"error": {{"message": "no", "param": {param}}}}}'.encode()
    world = World(
        lambda ask: Reply(400, {}, body) if "b" in ask.texts else good(ask.texts)
    )
    world.failure(["a", "b"])
    assert len(world.asks) == asks


def test_what_was_learned_is_kept_for_the_clients_next_call() -> None:
    world = limited(32)
    world.embed(TEXTS)
    before = len(world.asks)
    world.embed(TEXTS)
    assert sum(len(ask.texts) > 32 for ask in world.asks[before:]) <= 3
    assert max(len(ask.texts) for ask in world.asks[before:]) < 50


def test_the_search_comes_near_to_the_limit() -> None:
    world = limited(32)
    world.embed([f"t{number}" for number in range(20_000)])
    assert {len(ask.texts) for ask in world.asks[-20:-1]} <= {31, 32}


def test_the_batches_in_doubt_go_out_one_by_one() -> None:
    world = limited(10)
    world.embed(TEXTS)
    search = [ask for ask in world.asks if 10 < len(ask.texts) < 100]
    assert [len(ask.texts) for ask in search[:3]] == [50, 25, 13]


def test_a_text_that_is_refused_is_found_and_named() -> None:
    def serve(ask: Ask) -> Served:
        return bad(400) if "bad" in ask.texts else good(ask.texts)

    world = World(serve, batch_size=64, limit=1)
    texts = [f"t{number}" for number in range(200)]
    texts[150] = "bad"
    error = world.failure(texts)
    assert error.indices == (150,)
    assert len(world.asks) <= 4 + 2 * 7


def places(count: int) -> set[int]:
    return {0, min(1, count - 1), count * 37 // 100, count // 2, count - 1}


LENGTHS = {
    "alike": lambda number: 1,
    "any": lambda number: 1 + 7_919 * number % 101,
    "few-are-long": lambda number: 1 + 10 ** (7 * number % 5),
}


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("before", [0, 1], ids=["cold", "warm"])
@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_a_refused_text_costs_twice_the_logarithm_of_its_batch(
    status: int, before: int, length: Callable[[int], int]
) -> None:
    for count in (*range(1, 34), 64, 100):
        for place in places(count):
            at = before * count + place
            texts = [
                f"t{number:03}" + "x" * length(number)
                for number in range((1 + before) * count)
            ]
            world = World(
                lambda ask, wrong=texts[at]: (  # type: ignore[misc]
                    bad(status) if wrong in ask.texts else good(ask.texts)
                ),
                batch_size=count,
                limit=1 if before else 4,
            )
            run = world.start([texts])
            world.carry(run)
            results, failures, remaining = run.job.partial()
            assert len(results) == len(texts) - 1
            assert list(failures) == [at]
            assert remaining == ()
            extra = len(world.asks) - (1 + before)
            assert extra <= 2 * math.ceil(math.log2(count)), (count, place)


@pytest.mark.parametrize("limit", [1, 20])
@pytest.mark.parametrize("most", [7, 32, 1000])
def test_refused_texts_at_the_start_of_a_clients_first_call_cost_no_others(
    limit: int, most: int
) -> None:
    texts = [f"t{number}" for number in range(300)]
    wrong = set(texts[:3])

    def serve(ask: Ask) -> Served:
        right = len(ask.texts) <= most and not wrong & {*ask.texts}
        return good(ask.texts) if right else bad(400)

    world = World(serve, batch_size=100, limit=limit)
    run = world.start([texts])
    world.carry(run)
    results, failures, _ = run.job.partial()
    assert list(failures) == [0, 1, 2]
    assert len(results) == 297


def test_of_few_texts_each_is_tried_however_many_are_refused() -> None:
    def serve(ask: Ask) -> Served:
        return good(ask.texts) if ask.texts == ["t9"] else bad(400)

    world = World(serve, batch_size=10)
    run = world.start([[f"t{number}" for number in range(10)]])
    world.carry(run)
    results, failures, _ = run.job.partial()
    assert list(failures) == list(range(9))
    assert list(results) == [9]


def test_a_refused_text_does_not_make_others_smaller_for_ever() -> None:
    portion = Portion()
    portion.carried(64, 640)
    assert not portion.refused(64, 640, 320, by_bytes=False)
    assert portion.allot() == (math.inf, math.inf)


def test_a_413_is_about_bytes_unless_as_many_were_carried() -> None:
    portion = Portion()
    portion.carried(100, 1_000)
    assert portion.refused(100, 8_000, 4_000, by_bytes=True)
    assert portion.allot() == (math.inf, 4_000)
    assert portion.in_doubt
    portion.carried(50, 3_900)
    assert portion.in_doubt  # it may be a text of the other half
    portion.carried(50, 3_900)
    assert not portion.in_doubt


def test_any_refusal_of_more_bytes_for_as_many_texts_is_about_bytes() -> None:
    portion = Portion()
    portion.carried(100, 1_000)
    assert portion.refused(100, 8_000, 4_000, by_bytes=False)
    assert portion.allot() == (math.inf, 4_000)
    both = Portion()
    assert both.refused(100, 8_000, 4_000, by_bytes=False)
    assert both.allot() == (50, math.inf)
    assert both.refused(50, 4_000, 2_000, by_bytes=True)
    assert both.allot() == (50, 2_000)


def test_a_413_for_a_little_more_than_was_carried_is_about_bytes() -> None:
    portion = Portion()
    portion.carried(100, 1_000)
    assert not portion.refused(50, 1_100, 600, by_bytes=False)
    assert portion.refused(50, 1_100, 600, by_bytes=True)
    assert portion.allot() == (math.inf, 1_000)


def test_an_error_about_another_field_is_not_about_the_size() -> None:
    body = b'{"error": {"message": "no", "param": "dimensions"}}'
    world = World(lambda _: Reply(400, {}, body), batch_size=100)
    world.failure(TEXTS[:100])
    assert len(world.asks) == 1


@pytest.mark.parametrize(
    "message",
    ["Unrecognized request arguments supplied: user", "encoding_format: unknown"],
)
def test_an_error_that_names_a_field_in_words_is_not_about_the_size(
    message: str,
) -> None:
    world = World(lambda _: bad(400, message), batch_size=100, learns=False)
    world.failure(TEXTS[:100])
    assert len(world.asks) == 1


@pytest.mark.parametrize("status", [400, 403, 413, 422])
@pytest.mark.parametrize("limit", [1, 4])
def test_where_no_text_at_all_is_taken_no_size_is_learned(
    status: int, limit: int
) -> None:
    wrong = True

    def serve(ask: Ask) -> Served:
        return bad(status) if wrong else good(ask.texts)

    world = World(serve, batch_size=100, limit=limit)
    world.failure(TEXTS[:400])
    wrong = False
    before = len(world.asks)
    world.embed(TEXTS)
    assert len(world.asks) - before == len(TEXTS) / 100


def test_a_portion_can_be_shared_by_threads() -> None:
    portion = Portion()

    def use() -> None:
        for size in range(1, 500):
            portion.carried(size % 30, size)
            portion.refused(100, size, size // 2, by_bytes=size % 2 == 0)
            portion.allot()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert portion.allot()[0] >= 1
