"""The identity of a vector: what is part of it, and what is not."""

from itertools import product

from together_embed.store import canonical, identities, identity, subject

PLAIN = ("https://api.together.ai/v1", "a/model", None, b"", "a text")


def test_the_same_request_has_the_same_identity_everywhere() -> None:
    # Computed once: a store outlives the version that wrote it.
    assert (
        identity(*PLAIN).hex()
        == "e41f15cb7f2f059a14cb64dabc6df90a20bcaec48d478397027774c28fbba081"
    )


def test_each_part_of_a_request_counts() -> None:
    variants = {
        identity(endpoint, model, dimensions, extra, sent)
        for endpoint, model, dimensions, extra, sent in product(
            ("https://a/v1", "https://b/v1"),
            ("one", "other"),
            (None, 0, 256),
            (b"", canonical({"task": "query"})),
            ("a text", "query: a text", "a text "),
        )
    }
    assert len(variants) == 2 * 2 * 3 * 2 * 3


def test_what_moves_from_one_field_to_the_next_changes_the_identity() -> None:
    shifted = {
        identity("ab", "c", None, b"", "d"),
        identity("a", "bc", None, b"", "d"),
        identity("a", "b", None, b"c", "d"),
        identity("a", "b", None, b"", "cd"),
        identity("ab", "c", 1, b"", "d"),
        identity("ab", "c", None, b"1", "d"),
        identity("", "abc", None, b"", "d"),
    }
    assert len(shifted) == 7


def test_many_texts_have_the_identities_that_they_have_alone() -> None:
    texts = ["", "a", "b", "a", "été", "\ud800", "x" * 100_000]
    assert identities("e", "m", 8, b"x", texts) == [
        identity("e", "m", 8, b"x", text) for text in texts
    ]


def test_further_fields_are_the_same_in_any_order() -> None:
    one = canonical({"b": [1, {"y": 2, "x": "é"}], "a": None})
    other = canonical({"a": None, "b": [1, {"x": "é", "y": 2}]})
    assert one == other != canonical({"a": None})


def test_a_note_and_a_vector_never_share_a_name() -> None:
    assert subject("e", "m", None, b"") != identity("e", "m", None, b"", "")
    assert subject("e", "m", None, b"") != subject("e", "m", 8, b"")
