"""Long texts: what is sent of them, and what their rows become."""

from math import hypot

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_embed.engine.lengths import Limit, OnLong, limit_for, merge
from together_embed.engine.tokens import ADDED, estimate, estimator
from together_embed.errors import ConfigurationError, InputError

BGE = "BAAI/bge-base-en-v1.5"
PROSE = (
    "The harbour was quiet in the early morning, and the fishermen had not come back "
    "yet. Somewhere a bell rang twice; after that there was nothing but the water."
)


def by_words(text: str) -> int:
    return len(text.split()) + 2


def by_letters(text: str) -> int:
    return len(text) + 2


def limit(tokens: int, on_long: OnLong, count: object = by_words) -> Limit:
    return Limit(tokens, count, on_long)  # type: ignore[arg-type]


@pytest.mark.parametrize("on_long", ["error", "truncate", "split"])
def test_texts_that_fit_are_sent_as_they_are(on_long: OnLong) -> None:
    plan = limit(5, on_long).plan(["one two three", " a  b ", "x"], "q:")
    assert plan.sent == ["q:one two three", "q: a  b ", "q:x"]
    assert plan.long == ()
    rows = [[1.0], [2.0], [3.0]]
    assert plan.merge(rows) == rows


def test_an_error_names_every_text_that_is_too_long() -> None:
    with pytest.raises(InputError, match="over the 5 tokens") as raised:
        limit(5, "error").plan(["a", "a b c d", "b", "a b c d e"])
    assert raised.value.indices == (1, 3)


def test_truncating_keeps_the_start_and_says_which_texts() -> None:
    plan = limit(5, "truncate").plan(["a", " one  two three four five"])
    assert plan.sent == ["a", "one  two three"]
    assert plan.long == (1,)
    assert plan.merge([[1.0], [2.0]]) == [[1.0], [2.0]]


def test_splitting_sends_all_of_it_in_pieces_that_fit() -> None:
    plan = limit(5, "split").plan(["x", "one two three four  five six seven", "y"])
    assert plan.sent == ["x", "one two three", "four  five six", "seven", "y"]
    assert plan.weights == [(1,), (3, 3, 1), (1,)]
    assert plan.long == (1,)
    merged = plan.merge([[9.0], [1.0], [1.0], [1.0], [7.0]])
    assert merged == [[9.0], [pytest.approx(1.0)], [7.0]]


def test_a_prefix_goes_before_each_piece_and_takes_its_room() -> None:
    plan = limit(5, "split").plan(["one two three"], "to find: ")
    assert plan.sent == ["to find: one", "to find: two", "to find: three"]
    assert plan.weights == [(1, 1, 1)]


@given(
    st.text(min_size=1).filter(lambda text: bool(text.strip())),
    st.integers(4, 40),
    st.sampled_from(["", "q: "]),
)
def test_no_piece_is_too_long_or_blank_and_none_of_the_text_is_lost(
    text: str, tokens: int, prefix: str
) -> None:
    for count in (by_letters, by_words, estimate):
        bound = limit(max(tokens, count(prefix) + 4), "split", count)
        plan = bound.plan([text], prefix)
        pieces = [piece.removeprefix(prefix) for piece in plan.sent]
        assert all(count(piece) <= bound.tokens for piece in plan.sent)
        assert all(piece.strip() for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())
        start = limit(bound.tokens, "truncate", count).plan([text], prefix)
        assert start.sent == plan.sent[:1]


def test_a_cut_falls_between_words_where_there_are_any() -> None:
    plan = limit(42, "split", by_letters).plan([PROSE])
    assert " ".join(plan.sent) == PROSE
    unbroken = limit(42, "split", by_letters).plan(["x" * 100])
    assert [len(piece) for piece in unbroken.sent] == [40, 40, 20]


def test_a_limit_below_one_character_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(InputError, match="not even a character") as raised:
        limit(4, "split", by_letters).plan(["a", "b"], "long prefix: ")
    assert raised.value.indices == (0,)


def test_the_work_grows_with_the_text_and_not_with_its_square() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return estimate(text)

    limit(100, "split", count).plan([PROSE * 100])
    once, counted = counted, 0
    limit(100, "split", count).plan([PROSE * 1000])
    assert counted < 12 * once


@pytest.mark.parametrize("on_long", ["truncate", "split"])
def test_a_blank_text_is_handed_on_for_others_to_refuse(on_long: OnLong) -> None:
    assert limit(4, on_long, by_letters).plan([" " * 9]).sent == [" " * 9]


unit = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(
    lambda row: hypot(*row) > 0.1
)


@given(st.lists(st.tuples(unit, st.integers(1, 999)), min_size=1, max_size=5))
def test_a_merged_row_is_as_long_as_its_pieces_are(
    pieces: list[tuple[list[float], int]],
) -> None:
    rows = [[number / hypot(*row) for number in row] for row, _ in pieces]
    weights = [weight for _, weight in pieces]
    assert hypot(*merge(rows, weights)) == pytest.approx(1)
    tripled = [[3 * number for number in row] for row in rows]
    assert hypot(*merge(tripled, weights)) == pytest.approx(3)


def test_a_merged_row_points_where_the_weight_is() -> None:
    merged = merge([[1.0, 0.0], [0.0, 1.0]], [3, 1])
    assert merged[0] / merged[1] == pytest.approx(3)
    assert merge([[3.0, 4.0]] * 3, [1, 5, 2]) == pytest.approx([3.0, 4.0])


def test_rows_that_cancel_out_make_no_zero_vector() -> None:
    assert merge([[1.0, 0.0], [-1.0, 0.0]], [1, 1]) == [1.0, 0.0]
    assert merge([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], [2, 2, 5]) == [0.0, 0.0]


def test_numbers_whose_squares_overflow_are_merged_all_the_same() -> None:
    merged = merge([[1e200, 0.0], [0.0, 1e200]], [1, 1])
    assert merged == pytest.approx([2**-0.5 * 1e200] * 2)


def test_a_known_model_brings_its_context_and_an_estimate() -> None:
    known = limit_for(BGE, "error")
    assert known.tokens == 512
    known.plan([PROSE * 6])
    with pytest.raises(InputError):
        known.plan([PROSE * 30])


def test_an_unknown_model_needs_its_context_said() -> None:
    with pytest.raises(ConfigurationError, match="'me/mine' is not known"):
        limit_for("me/mine", "split")
    assert limit_for("me/mine", "split", tokens=100, count=by_words).tokens == 100


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'cut'"):
        limit_for(BGE, "cut")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="0 tokens"):
        limit_for(BGE, "split", tokens=0)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   \n", 0),
        ("a", 1),
        ("abc", 1),
        ("abcd", 1),
        ("harbour", 2),
        ("a b c d", 4),
        ("it is", 2),
        ("2026-11", 7),
        ("a,b", 3),
        ("海", 2),
        ("海海海 海", 6),
        ("été", 4),
    ],
)
def test_the_estimate_counts_letters_by_thirds_and_the_rest_by_character(
    text: str, tokens: int
) -> None:
    assert estimate(text) == ADDED + tokens


def test_the_estimate_of_prose_is_above_its_words_and_below_its_letters() -> None:
    words, letters = len(PROSE.split()), len(PROSE)
    assert 1.3 * words < estimate(PROSE) < letters / 2


def test_where_a_tokenizer_falls_back_to_bytes_these_are_counted() -> None:
    assert estimate("海", bytewise=True) == ADDED + 3 + 1
    assert estimator("Alibaba-NLP/gte-modernbert-base")("海") == ADDED + 4
    assert estimator("nobody/knows")("海") == ADDED + 4
    assert estimator(BGE)("海") == ADDED + 2
