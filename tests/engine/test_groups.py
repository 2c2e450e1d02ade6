"""Groups: what is known of their texts, what is refused, what is handed out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np
import pytest

from together_embed.engine.batching import (
    Batch,
    check,
    cut,
    join,
    listed,
    part,
    split,
)
from together_embed.engine.group import AT_ONCE, Group, Groups
from together_embed.engine.joints import merge
from together_embed.engine.lengths import Limit
from together_embed.engine.rows import LISTS, Arrays
from together_embed.engine.shape import Shape
from together_embed.errors import Attempt, InputError


class Kind(str, Enum):
    B = "b"


def row_of(text: str) -> list[float]:
    return [float(ord(text[0])), float(len(text))]


def kept(*numbers: float, code: str = "f") -> tuple[str, bytes]:
    return code, struct.pack(f"<{len(numbers)}{code}", *numbers)


def look_up(group: Group, known: dict[str, tuple[str, bytes]]) -> list[int]:
    """Recall what is known, and return how many were asked for at once."""
    asked = []
    for start, texts in group.lookups():
        asked.append(len(texts))
        group.recall(start, [known.get(text) for text in texts])
    return asked


def bring(group: Group) -> None:
    """Bring the rows of all that is missing."""
    texts = group.unique[: group.missing]
    group.put(0, [row_of(text) for text in texts], 2)


def error_of(indices: tuple[int, ...]) -> InputError:
    return InputError("no", indices=indices)


@pytest.mark.parametrize(
    ("texts", "words"), [("a b", "a bare str"), (b"a", "a bare bytes"), (5, "a int")]
)
def test_what_holds_no_texts_is_refused_by_what_it_is(texts: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"^texts is {words}; hand over a list"):
        listed(texts)


# What a store knows


def test_what_a_store_knows_is_not_missing_and_the_rest_comes_first() -> None:
    group = Group(["a", "b", "a", "c", "d"], 10, LISTS)
    assert look_up(group, {"a": kept(97, 1), "d": kept(100, 1)}) == [4]
    assert (group.recalled, group.width, group.missing) == (3, 2, 2)
    assert group.unique == ["b", "c", "a", "d"]
    assert list(group.missing_indices()) == [11, 13]
    assert [group.place_of(text) for text in "abcd"] == [2, 0, 1, 3]
    assert [group.is_known(place) for place in range(4)] == [False, False, True, True]
    bring(group)
    assert group.expand() == [row_of(text) for text in "abacd"]


def test_many_texts_are_looked_up_some_hundreds_at_a_time() -> None:
    assert AT_ONCE == 200
    texts = [f"{chr(97 + n % 20)}{'x' * n}" for n in range(450)]
    known = {text: kept(*row_of(text)) for text in texts[3::7]}
    group = Group(texts, 0, LISTS)
    assert look_up(group, known) == [200, 200, 50]
    assert group.recalled == len(known) == len(texts) - group.missing
    bring(group)
    assert group.expand() == [row_of(text) for text in texts]


def test_a_kept_row_of_another_width_is_not_known() -> None:
    group = Group(["a", "b", "c", "d"], 0, LISTS)
    known = {"a": kept(97, 1), "b": kept(1, 2, 3), "d": kept(100, 1, code="d")}
    look_up(group, known)
    assert (group.recalled, group.width) == (2, 2)
    assert group.unique == ["b", "c", "a", "d"]
    bring(group)
    assert group.expand() == [row_of(text) for text in "abcd"]


def test_where_all_is_known_or_nothing_is_the_texts_stay_where_they_are() -> None:
    for known, missing in (({"a": kept(97, 1), "b": kept(98, 1)}, 0), ({}, 2)):
        group = Group(["a", "b"], 0, LISTS)
        look_up(group, known)
        assert (group.missing, group.unique) == (missing, ["a", "b"])


def test_a_hidden_text_goes_out_along_with_others_and_is_handed_to_nobody() -> None:
    group = Group(["a", "b", "a"], 3, LISTS, hidden="canary")
    assert group.unique == ["canary", "a", "b"]
    assert group.count == 3
    look_up(group, {"a": kept(97, 1)})
    assert group.unique == ["canary", "b", "a"]
    assert (group.recalled, group.missing) == (2, 2)
    assert group.put(0, [[9.0, 9.0], row_of("b")], 2) == (1, 0)
    assert list(group.pieces()) == [(3, [row_of(text) for text in "aba"])]
    refused = Group(["a"], 0, LISTS, hidden="canary")
    refused.refuse(0, error_of(()))
    assert not refused.has_failures


def test_a_hidden_text_does_not_go_out_alone_unless_it_was_asked_for() -> None:
    known = {"a": kept(97, 1), "b": kept(98, 1)}
    alone = Group(["a", "b"], 0, LISTS, hidden="canary")
    look_up(alone, known)
    assert alone.put(0, [row_of("c")], 2) == (0, 0)  # another call brought it
    assert alone.missing == 0
    assert alone.expand() == [row_of("a"), row_of("b")]
    wanted = Group(["a", "canary", "b"], 0, LISTS, hidden="canary")
    look_up(wanted, known)
    assert wanted.missing == 1
    assert wanted.unique[0] == "canary"


# What is refused


def test_texts_that_are_left_out_are_told_of_at_each_of_their_places() -> None:
    group = Group(["a", "long", "b", "long", "longer"], 5, LISTS)
    group.leave_out([6, 8, 9], error_of)
    assert group.unique == ["a", "b", "long", "longer"]
    assert (group.missing, group.has_failures) == (2, True)
    assert {at: error.indices for at, error in group.failures.items()} == {
        6: (6, 8),
        8: (6, 8),
        9: (9,),
    }
    bring(group)
    ((start, rows),) = group.pieces()
    told = [row if isinstance(row, list) else type(row) for row in rows]
    assert start == 5
    assert told == [row_of("a"), InputError, row_of("b"), InputError, InputError]
    assert dict(group.results()) == {5: row_of("a"), 7: row_of("b")}


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ([12], [(10, "ab"), (12, None), (13, "de")]),
        ([10, 13], [(10, None), (11, "bc"), (13, None), (14, "e")]),
        ([11, 12, 14], [(10, "a"), (11, None), (12, None), (13, "d"), (14, None)]),
    ],
)
def test_arrays_go_out_in_pieces_around_what_is_left_out(
    left_out: list[int], told: list[tuple[int, str | None]]
) -> None:
    group = Group([*"abcde"], 10, Arrays())
    group.leave_out(left_out, error_of)
    texts = group.unique[: group.missing]
    group.put(0, np.array([row_of(text) for text in texts], "f"), 2)
    pieces = [
        (at, None if isinstance(piece, InputError) else piece.tolist())
        for at, piece in group.pieces()
    ]
    assert pieces == [
        (at, letters and [row_of(letter) for letter in letters]) for at, letters in told
    ]
    errors = [piece for _, piece in group.pieces() if isinstance(piece, InputError)]
    assert [error.indices for error in errors] == [(at,) for at in left_out]


def test_texts_of_a_group_without_duplicates_are_left_out_too() -> None:
    group = Group(["long", "a"], 5, LISTS)
    group.leave_out([5], error_of)
    assert group.unique == ["a", "long"]
    assert list(group.failures) == [5]
    assert list(group.missing_indices()) == [6]


def test_what_another_call_brought_is_not_refused_any_more() -> None:
    group = Group(["a", "b"], 0, LISTS)
    group.put(0, [row_of("a")], 2)
    group.refuse(0, error_of((0,)))
    assert not group.has_failures
    assert group.missing == 1


def test_rows_that_another_call_brought_stay_and_are_counted_once() -> None:
    group = Group(["a", "b", "c", "b", "c"], 0, LISTS)
    assert group.put(1, [row_of("b")], 2) == (2, 1)
    late = [row_of("a"), [0.0, 0.0], row_of("c")]
    assert group.put(0, late, 2) == (3, 1)
    assert group.put(0, late, 2) == (0, 0)
    assert group.missing == 0
    assert group.expand() == [row_of(text) for text in "abcbc"]


def test_pieces_that_change_places_are_merged_all_the_same() -> None:
    weights = [(1, 1), (1, 1), (1,)]
    group = Group([*"abcda"], 0, LISTS, weights=weights)  # ab, cd, a
    group.put(0, [[2.0, 0.0]], 2)
    group.put(2, [[0.0, 4.0]], 2)
    group.reorder([2, 0, 1, 3])
    assert group.unique == ["c", "a", "b", "d"]
    group.put(2, [[2.0, 0.0], [0.0, 4.0]], 2)
    assert group.expand() == [[2.0, 0.0], [0.0, 4.0], [2.0, 0.0]]


def test_texts_of_other_kinds_of_strings_are_sent_as_plain_ones() -> None:
    group = Group([np.str_("a"), Kind.B, "c"], 0, LISTS)
    assert group.unique == ["a", "b", "c"]
    assert {type(text) for text in group.unique} == {str}


# What is handed out


def groups_of(*texts: str, **how: bool) -> tuple[Groups, list[Group]]:
    groups = Groups(**{"ordered": True, "lenient": False, **how})
    made = []
    for start, text in enumerate(texts):
        made.append(Group([text], start, LISTS))
        groups.add(made[-1])
    return groups, made


def test_in_order_a_group_waits_for_its_predecessors() -> None:
    groups, (a, b, c) = groups_of("a", "b", "c")
    bring(b)
    assert (groups.take(), groups.is_first_whole, groups.is_missing_any) == (
        [],
        False,
        True,
    )
    bring(a)
    assert groups.is_first_whole
    assert groups.take() == [a, b]
    assert (len(groups), groups.missing_indices()) == (1, (2,))
    bring(c)
    assert not groups.is_missing_any
    assert groups.take() == [c]
    assert not groups.is_first_whole


def test_out_of_order_each_comes_once_as_soon_as_it_can() -> None:
    groups, (a, b, c) = groups_of("a", "b", "c", ordered=False)
    bring(b)
    assert groups.take() == [b]
    assert groups.take() == []
    bring(c)
    bring(a)
    assert groups.take() == [a, c]


@pytest.mark.parametrize("lenient", [False, True])
def test_a_group_with_an_error_is_whole_where_that_is_allowed(lenient: bool) -> None:
    groups, (a, b) = groups_of("a", "b", lenient=lenient)
    a.refuse(0, error_of((0,)))
    assert groups.take() == ([a] if lenient else [])
    bring(b)
    results, failures = groups.partial()
    assert results == {1: row_of("b")}
    assert [*failures] == ([] if lenient else [0])


# What is done to rows

SHAPES = [
    (Shape(), [3.0, 4.0, 12.0]),
    (Shape(cut_to=2), [0.6, 0.8]),
    (Shape(cut_to=9), [3 / 13, 4 / 13, 12 / 13]),
    (Shape(unit=True), [3 / 13, 4 / 13, 12 / 13]),
    (Shape(cut_to=1, unit=True), [1.0]),
]


@pytest.mark.parametrize(("shape", "row"), SHAPES)
def test_rows_are_cut_and_scaled_and_zeros_stay(shape: Shape, row: list[float]) -> None:
    rows = [[3.0, 4.0, 12.0], [0.0, 0.0, 0.0]]
    expected = [row, [0.0] * len(row)]
    assert shape.width(3) == len(row)
    for found in (shape.block(rows), [shape.row(one) for one in rows]):
        assert [pytest.approx(one) for one in expected] == found
    block = np.array(rows)
    assert np.allclose(shape.block(block), expected)
    assert np.allclose([shape.row(one) for one in block], expected)


def test_a_group_hands_out_shaped_rows_of_texts_in_pieces_too() -> None:
    group = Group(["a", "b", "c"], 0, Arrays(), Shape(cut_to=2), weights=[(1, 1), (1,)])
    block = np.array([[2.0, 0.0, 7.0], [0.0, 2.0, 7.0], [3.0, 4.0, 7.0]])
    assert group.put(0, block, 3) == (2, 0)
    rows = group.expand()
    assert np.allclose(rows, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]])


def test_the_mean_of_pieces_is_by_weight_and_as_long_as_they_are() -> None:
    assert merge([[2.0, 0.0], [0.0, 4.0]], [1, 3]) == pytest.approx(
        [2.0 * 0.25 * 3.5 / 9.25**0.5, 4.0 * 0.75 * 3.5 / 9.25**0.5]
    )


# Batches


def batch_of(texts: list[str], **more: object) -> Batch:
    group = Group(texts, 0, LISTS)
    (batch,) = cut(group, 100, 10_000)
    for name, value in more.items():
        setattr(batch, name, value)
    return batch


def test_texts_are_numbered_from_zero_where_nothing_came_before() -> None:
    with pytest.raises(InputError) as raised:
        check(["a", " "])
    assert raised.value.indices == (1,)


def test_blank_texts_are_all_named_by_their_numbers_in_the_call() -> None:
    with pytest.raises(InputError, match=r"inputs 11, 13, 14\)"):
        check(["a", " ", "b", "", "\n"], 10)


def test_a_batch_is_as_large_as_its_texts_are() -> None:
    assert batch_of(["a", "bb", "ccc"]).size == 4 + 5 + 6
    sizes = [one.size for one in cut(Group(["a", "bb", "c", "d"], 0, LISTS), 2, 99)]
    assert sizes == [9, 8]
    by_bytes = [one.texts for one in cut(Group([*"abcde"], 0, LISTS), 99, 8)]
    assert by_bytes == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(
    ("texts", "size", "most", "head"),
    [
        (9, 999, 0, "abcd"),
        (3, 999, 0, "abc"),
        (4, 16, 0, "abcd"),
        (4, 15, 0, "abc"),
        (4, 1, 0, "a"),
        (9, 999, 2, "ab"),
        (1, 999, 3, "a"),
    ],
)
def test_a_batch_is_split_where_it_is_over_so_many_texts_or_bytes(
    texts: int, size: int, most: int, head: str
) -> None:
    first, rest = split(batch_of([*"abcd"], most=most), texts, size)
    assert first.texts == [*head]
    assert first.size == 4 * len(head)
    if head == "abcd":
        assert rest is None
    else:
        assert rest is not None
        assert (rest.texts, rest.size) == ([*"abcd"[len(head) :]], 16 - first.size)


def test_a_text_that_alone_is_too_large_is_not_split() -> None:
    assert split(batch_of(["a"]), 9, 1)[1] is None


def test_the_parts_of_a_batch_go_on_with_histories_of_their_own() -> None:
    batch = batch_of([*"abcd"], tries=[Attempt(500, "x", 1.0)])
    batch.course.attempts, batch.course.sent = 3, 100
    head, rest = split(batch, 2, 999)
    middle = part(batch, 1, 3)
    assert part(batch, 0, 4) is batch
    assert (middle.texts, middle.size) == (["b", "c"], 8)
    assert rest is not None
    for one in (rest, middle):
        assert one.retries == 1
        assert (one.course.attempts, one.course.sent) == (3, 0)
        one.tries.append(Attempt(500, "x", 1.0))
        one.course.attempts += 1
    assert (head.retries, head.course.attempts, head.course.sent) == (1, 3, 100)


def parts() -> Iterator[tuple[Batch, Batch]]:
    """Yield what was left of a batch, and the next one."""
    while True:
        first, second = cut(Group([*"abcde"], 0, LISTS), 3, 999)
        _, rest = split(first, 1, 999)
        assert rest is not None
        yield rest, second


def test_what_was_left_of_a_batch_goes_along_with_the_next() -> None:
    rest, following = next(parts())
    assert join(rest, following)
    assert (following.texts, following.size) == ([*"bcde"], 16)


def test_what_was_left_stays_alone_where_either_was_tried_or_is_to_be_small() -> None:
    for at in (0, 1):
        for name, value in (("most", 1), ("tries", [Attempt(500, "x", 1.0)])):
            both = next(parts())
            setattr(both[at], name, value)
            assert not join(*both)
    rest, _ = next(parts())
    _, other = next(parts())
    assert not join(rest, other)
    last, first = next(parts())
    assert not join(first, last)


# Long texts, to the letter


def by_letters(text: str) -> int:
    return len(text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("12345678", ["12345678"]),
        ("123456789", ["12345678", "9"]),
        ("1234567 9", ["1234567", "9"]),
        ("12345678 0", ["12345678", "0"]),
        ("12345 789", ["12345", "789"]),  # a space in the second half
        ("1234 6789", ["1234 678", "9"]),  # the space is in the first
        ("  12345678  ", ["12345678"]),
        ("1 3 5 7 9 1", ["1 3 5 7", "9 1"]),
    ],
)
def test_pieces_end_behind_a_word_of_the_second_half(
    text: str, pieces: list[str]
) -> None:
    assert Limit(8, by_letters, "split").fit([text]).sent == pieces


def test_pieces_weigh_what_they_count_without_their_prefix() -> None:
    fit = Limit(8, by_letters, "split").fit(["1234567", "1"], "q: ")
    assert fit.sent == ["q: 12345", "q: 67", "q: 1"]
    assert fit.weights == [(5, 2), (1,)]
