"""Long texts: what is sent of them, and what their rows become."""

from dataclasses import replace
from math import hypot

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.virtual import World, vector
from together_embed.engine.group import Group
from together_embed.engine.joints import merge
from together_embed.engine.lengths import Limit, OnLong, limit_for
from together_embed.engine.rows import LISTS
from together_embed.engine.tokens import ADDED, estimate, estimator
from together_embed.errors import ConfigurationError, InputError, LongInputWarning

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
    fit = limit(5, on_long).fit(["one two three", " a  b ", "x"], "q:")
    assert fit.sent == ["q:one two three", "q: a  b ", "q:x"]
    assert fit.long == ()
    assert fit.weights is None


def test_an_error_names_every_text_that_is_too_long() -> None:
    strict = limit(5, "error")
    fit = strict.fit(["a", "a b c d", "b", "a b c d e"], start=10)
    error = strict.error(fit.long)
    assert error.indices == (11, 13)
    assert "over the 5 tokens" in str(error)


def test_truncating_keeps_the_start_and_says_which_texts() -> None:
    fit = limit(5, "truncate").fit(["a", " one  two three four five"])
    assert fit.sent == ["a", "one  two three"]
    assert fit.long == (1,)
    assert fit.weights is None


def test_splitting_sends_all_of_it_in_pieces_that_fit() -> None:
    fit = limit(5, "split").fit(["x", "one two three four  five six seven", "y"])
    assert fit.sent == ["x", "one two three", "four  five six", "seven", "y"]
    assert fit.weights == [(1,), (3, 3, 1), (1,)]
    assert fit.long == (1,)


def test_the_warning_names_texts_in_few_words() -> None:
    some = limit(5, "truncate").warning((3,))
    assert some == (
        "1 text is over the 5 tokens that the model reads, and will be cut to its "
        "beginning: input 3"
    )
    many = limit(5, "split").warning(tuple(range(1000)))
    assert many.startswith("1000 texts are")
    some = limit(5, "truncate").warning((3, 4))
    assert some.endswith("will be cut to their beginning: inputs 3, 4")
    assert many.endswith("will be split: inputs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …")


def test_a_prefix_goes_before_each_piece_and_takes_its_room() -> None:
    fit = limit(5, "split").fit(["one two three"], "to find: ")
    assert fit.sent == ["to find: one", "to find: two", "to find: three"]
    assert fit.weights == [(1, 1, 1)]


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
        fit = bound.fit([text], prefix)
        pieces = [piece.removeprefix(prefix) for piece in fit.sent]
        assert all(count(piece) <= bound.tokens for piece in fit.sent)
        assert all(piece.strip() for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())
        start = limit(bound.tokens, "truncate", count).fit([text], prefix)
        assert start.sent == fit.sent[:1]


def test_a_cut_falls_between_words_where_there_are_any() -> None:
    fit = limit(42, "split", by_letters).fit([PROSE])
    assert " ".join(fit.sent) == PROSE
    unbroken = limit(42, "split", by_letters).fit(["x" * 100])
    assert [len(piece) for piece in unbroken.sent] == [40, 40, 20]


def test_a_limit_below_one_character_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(InputError, match="not even one character") as raised:
        limit(4, "split", by_letters).fit(["a", "b"], "long prefix: ")
    assert raised.value.indices == (0,)
    with pytest.raises(InputError) as raised:
        limit(4, "split", by_letters).fit([" ", "a"], "long prefix: ", start=7)
    assert raised.value.indices == (8,)


def test_the_work_grows_with_the_text_and_not_with_its_square() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return estimate(text)

    limit(100, "split", count).fit([PROSE * 100])
    once, counted = counted, 0
    limit(100, "split", count).fit([PROSE * 1000])
    assert counted < 12 * once


@pytest.mark.parametrize("on_long", ["truncate", "split"])
def test_a_blank_text_is_handed_on_for_others_to_refuse(on_long: OnLong) -> None:
    assert limit(4, on_long, by_letters).fit([" " * 9]).sent == [" " * 9]


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


def test_pieces_that_texts_share_go_out_once_and_count_for_each() -> None:
    sent = ["a", "b", "a", "c", "a", "a", "b"]
    weights = [(1, 1), (1, 3), (1,), (1, 1)]  # ab, ac, a, ab
    group = Group(sent, 0, LISTS, weights=weights)
    assert group.unique == ["a", "b", "c"]
    assert group.put(0, [[1.0, 0.0]], 2) == (1, 0)
    assert group.indices(1, 2) == (0, 3)
    assert group.put(1, [[0.0, 1.0]], 2) == (2, 1)
    assert list(group.missing_indices()) == [1]
    assert group.put(2, [[0.0, 2.0]], 2) == (1, 0)
    ab, ac, a, again = group.expand()
    assert a == [1.0, 0.0]
    assert ab == again == pytest.approx([0.5**0.5] * 2)
    assert ac[1] / ac[0] == pytest.approx(6)
    assert group.missing == 0


def test_a_piece_that_is_refused_takes_its_text_along() -> None:
    group = Group(["a", "b", "c"], 5, LISTS, weights=[(1, 1), (1,)])
    error = InputError("no")
    group.refuse(1, error)
    group.put(2, [[1.0]], 1)
    group.put(0, [[1.0]], 1)
    assert group.failures == {5: error}
    assert dict(group.results()) == {6: [1.0]}
    assert list(group.pieces()) == [(5, [error, [1.0]])]


def test_numbers_whose_squares_overflow_are_merged_all_the_same() -> None:
    merged = merge([[1e200, 0.0], [0.0, 1e200]], [1, 1])
    assert merged == pytest.approx([2**-0.5 * 1e200] * 2)


def test_a_known_model_brings_its_context_and_an_estimate() -> None:
    known = limit_for(BGE, "error")
    assert known.tokens == 512
    assert known.fit([PROSE * 6]).long == ()
    assert known.fit([PROSE * 30]).long == (0,)


def test_an_unknown_model_needs_its_context_said() -> None:
    with pytest.raises(ConfigurationError, match="'me/mine' is not known"):
        limit_for("me/mine", "split")
    assert limit_for("me/mine", "split", tokens=100, count=by_words).tokens == 100


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'cut'"):
        limit_for(BGE, "cut")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is 0: no text"):
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


def test_half_a_character_is_estimated_like_a_whole_one() -> None:
    assert estimate("\ud800") == estimate("海")


def test_where_a_tokenizer_falls_back_to_bytes_these_are_counted() -> None:
    assert estimate("海", bytewise=True) == ADDED + 3 + 1
    assert estimator("Alibaba-NLP/gte-modernbert-base")("海") == ADDED + 4
    assert estimator("nobody/knows")("海") == ADDED + 4
    assert estimator(BGE)("海") == ADDED + 2


def test_a_job_puts_together_what_it_split_and_names_the_text_by_its_number() -> None:
    world = World(batch_size=9)
    world.plan = replace(world.plan, limit=Limit(3, len, "split"))
    with pytest.warns(LongInputWarning, match=r"input 17$"):
        short, long = world.embed(["ab", "abcdefg"], numbers=[12, 17])
    assert short == vector("ab")
    pieces = [vector("abc"), vector("def"), vector("g")]
    assert long == pytest.approx(merge(pieces, [3, 3, 1]))
    assert sum(len(ask.texts) for ask in world.asks) == 4
