"""What a server says of a request's texts is shown without the texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.virtual import World, bad
from together_embed.engine import scrub
from together_embed.engine.scrub import hide_texts


@pytest.mark.parametrize(
    ("said", "text", "shown"),
    [
        ("cannot read 'a'", "a", "cannot read '<it>'"),
        ('got ["the", "cat"]', "the", 'got ["<it>", "cat"]'),
        ("the input is too long", "the", "the input is too long"),
        ("input: no", "input", "input: no"),
        ("no vector for John Doe, sorry", "John Doe", "no vector for <it>, sorry"),
        ("PIN 48213 refused", "48213", "PIN <it> refused"),
        ("PIN 148213 refused", "48213", "PIN 148213 refused"),
        ("Ärzte?", "Ärzte", "<it>?"),
        ("at most 512 tokens", "512", "at most 512 tokens"),
        ("model_not_available", "model_not_available", "model_not_available"),
        ("'one\\ntwo'", "one\ntwo", "'<it>'"),
        ("got \\x1b[0m red", "\x1b[0m red", "got <it>"),
        ("cannot read 000\\\\ today", "000\\", "cannot read <it> today"),
        ("got '' today", "", "got '' today"),
        ("before" + "x" * 21 + "after", "x" * 21, "before<it>after"),
    ],
)
def test_a_text_is_hidden_and_the_message_can_still_be_read(
    said: str, text: str, shown: str
) -> None:
    assert hide_texts(said, [text], lambda at: "<it>") == shown


@given(st.text(min_size=4).filter(lambda text: not text.islower()), st.booleans())
def test_no_text_that_says_something_is_left_between_other_words(
    text: str, as_json: bool
) -> None:
    spelled = json.dumps(text) if as_json else f"{text}"
    shown = hide_texts(f"cannot embed {spelled} here", [text], str)
    assert shown in ("cannot embed 0 here", 'cannot embed "0" here')


def test_texts_that_cannot_be_in_the_words_are_not_spelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spelled: list[str] = []
    monkeypatch.setattr(scrub.json, "dumps", lambda text: spelled.append(text) or text)
    texts = ["too long for it", "Kalb", "Jo é", '"x"']
    assert hide_texts("no: Jo é", texts, "<{}>".format) == "no: <2>"
    assert spelled == ["Jo é", '"x"']  # a letter, or quote, may be escaped


def test_a_text_within_another_is_hidden_with_it() -> None:
    texts = ["Smith", "Jane Smith", ""]
    assert hide_texts("no: Jane Smith", texts, "<{}>".format) == "no: <1>"


def test_an_error_names_texts_by_their_number() -> None:
    world = World(lambda ask: bad(401, f"no vector for {ask.texts[1]!r} today"))
    error = world.failure(["a", "Jo"])
    assert error.message == "no vector for '<text 1>' today"
