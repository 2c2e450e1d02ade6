"""Mutated answers, errors, settings, texts: no wrong vector, no foreign exception."""

from __future__ import annotations

import inspect
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from langchain_together_embed import TogetherEmbeddings
from together_embed import errors
from together_embed.engine import wire
from together_embed.engine.outcome import Outcome, Reply

from .judge import check, judge, packed, read
from .mutations import Mutator
from .raw import body_for, right
from .sizes import sized
from .ways import KEY, WAYS, Way

URL = "http://127.0.0.1:9"
ANSWERS = sized(40_000, 1_000_000)
ERRORS = sized(10_000, 200_000)
SETTINGS = sized(6_000, 100_000)
TEXTS = sized(6_000, 100_000)


# Answers


def test_of_many_mutated_answers_none_gives_a_wrong_vector() -> None:
    mutator = Mutator(seed=ANSWERS)
    accepted = sum(check(*mutator.next()) for _ in range(ANSWERS))
    # Some of what is mutated is still right: a reader that refuses all shows nothing.
    assert ANSWERS * 0.1 < accepted < ANSWERS * 0.5
    print(f"{ANSWERS:,} mutated answers, {accepted:,} of them right, none misread")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["data", "index", "embedding", "x"]), inner)
    ),
    max_leaves=12,
)
embeddings = st.one_of(
    st.lists(st.floats(width=32) | st.integers(-9, 9), max_size=4),
    st.lists(st.floats(width=32), max_size=4).map(packed),
    st.lists(json_values, max_size=3),
    st.text(max_size=16),
    json_values,
)
items = st.fixed_dictionaries(
    {}, optional={"index": st.integers(-1, 4) | json_values, "embedding": embeddings}
)


@settings(max_examples=sized(400, 20_000))
@given(data=st.lists(items | json_values, max_size=4), count=st.integers(1, 4))
@example(data=[{"index": 0, "embedding": "AAAA" * 4 + "\n"}], count=1)
@example(data=[{"index": 0, "embedding": "AAA=AAAAAAA="}], count=1)
@example(data=[{"index": 0, "embedding": "AACAPw====="}], count=1)
@example(data=[{"index": 0, "embedding": "=AACAPw=="}], count=1)
@example(data=[{"index": 0.0, "embedding": [1.0]}], count=1)
def test_no_answer_gives_a_wrong_vector(data: list[object], count: int) -> None:
    body = json.dumps({"data": data}).encode()
    rows = read(body, count)
    assert rows is None or rows == judge(body, count)


@settings(max_examples=sized(200, 20_000))
@given(body=st.binary(max_size=60), count=st.integers(0, 3))
@example(body=b"[" * 100_000, count=1)
@example(body=b'{"data":' + b"[" * 2000 + b"]" * 2000 + b"}", count=1)
@example(body=b'{"x":' + b"[" * 2000 + b"]" * 2000 + b',"data":[]}', count=1)
@example(body=b"\xff\xfe{", count=1)
@example(body=b'{"\xff":1,"data":[]}', count=1)
def test_no_bytes_raise_anything_but_a_refusal(body: bytes, count: int) -> None:
    rows = read(body, count)
    assert rows is None or len(rows) == count


# Errors


@settings(max_examples=sized(200, 20_000))
@given(
    body=st.binary(max_size=80) | json_values.map(lambda v: json.dumps(v).encode()),
    status=st.integers(201, 599),
)
def test_no_body_keeps_an_error_from_being_made(body: bytes, status: int) -> None:
    error = wire.read_error(Reply(status, {}, body), str)
    assert error.status == status
    assert len(str(error)) < 1200
    assert str(error).isprintable()


def test_of_many_mutated_errors_each_becomes_one_without_the_key() -> None:
    dice = random.Random(ERRORS)
    mutator = Mutator(seed=ERRORS)
    scrub = WAYS[0].make(URL).settings.scrub
    kinds = set()
    for _ in range(ERRORS):
        said = dice.choice((f"no key like {KEY}", f"\x1b[31m{KEY}", KEY, [KEY], {}))
        fields = {"message": said, "type": dice.choice((None, KEY, 5)), "code": KEY}
        shape = dice.choice(({"error": fields}, {"detail": said}, fields, [fields]))
        body = mutator.change(json.dumps(shape).encode())
        headers = {"x-request-id": f"r-{KEY}", "location": f"http://h/{KEY}?{KEY}"}
        reply = Reply(
            dice.randint(201, 599), headers if dice.random() < 0.1 else {}, body
        )
        error = wire.read_error(reply, scrub)
        kinds.add(type(error))
        assert KEY not in f"{error}{error!r}{vars(error)}", body
        assert str(error).isprintable()
    assert len(kinds) > 10


# Settings


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**70, 0.0, 0.5, -0.5, 1e300, 5e-324),
    *(float("nan"), float("inf"), "", " ", "x", "auto", "base64", "float", "warn"),
    *("error", "\ud800", "\x00", "a\r\nb", "é", KEY, f"Bearer {KEY}", f"{KEY}\n{KEY}"),
    *((), (1,), (1, 2), (None, None), (None, 5.0), (0, 0), ("1", "2"), [], [KEY], [1]),
    *({}, {"a": "b"}, {"a": 1}, {1: "a"}, {"X-Key": KEY}, {"X-Key": f"{KEY}\r\nA: b"}),
    *({"input": []}, {"model": "n"}, {"encoding_format": "hex"}, {"a": object()}),
    *({"a": float("nan")}, {"a": {"b": [KEY]}}, {"": ""}, {"Authorization": KEY}),
    *("http://127.0.0.1:9", f"http://u:{KEY}@h/v1", f"https://h/?k={KEY}", "http://["),
    *("https://api.together.ai", "ftp://h", "http://h:99999", "//h", "http://[::1]:9"),
    *(b"", b"bytes", object(), lambda: KEY, lambda: 5, int, ..., {1}, frozenset(), 1j),
)
"""What a user may write by mistake, or a program pass on unchecked."""
HIDDEN = {
    *("api_key", "together_api_key", "base_url", "api_base", "together_api_base"),
    *("headers", "default_headers", "query", "default_query"),
    *("extra_body", "additional_kwargs", "model_kwargs"),
}
"""Settings that may hold a secret."""
SOME = (1, 1, 2, 3)


def parameters(way: Way) -> list[str]:
    """Name what a user can set, in the words of the class."""
    if way.made is TogetherEmbeddings:
        return list(TogetherEmbeddings.model_fields)
    names = inspect.signature(way.made).parameters
    # The callback manager is LlamaIndex's own field, and shown by its code.
    return [name for name in names if name not in ("others", "callback_manager")]


@pytest.mark.parametrize("way", WAYS[::2], ids=lambda way: way.name)
@pytest.mark.filterwarnings("ignore:.*is not default parameter:UserWarning")
def test_of_many_mutated_settings_each_works_or_is_refused_without_the_key(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dice = random.Random(SETTINGS)
    names = parameters(way)
    usual = {"model": "m", "api_key": KEY, "base_url": URL}
    made = refused = 0
    for _ in range(SETTINGS):
        odd = {name: dice.choice(ODD) for name in dice.sample(names, dice.choice(SOME))}
        given = {way.words.get(k, k): v for k, v in usual.items()}
        try:
            model = way.made(**{k: v for k, v in given.items() if k not in odd}, **odd)
        except (errors.ConfigurationError, ValidationError, TypeError) as error:
            shown = f"{error}{error!r}{error.__cause__}"
            refused += 1
        else:
            shown = f"{model!r}{model}"
            made += 1
        assert KEY not in shown or written_openly(odd), odd
    assert made > SETTINGS * 0.02
    assert refused > SETTINGS * 0.2
    print(f"{way.name}: {made:,} settings that work, {refused:,} that are refused")


def written_openly(odd: dict[str, Any]) -> bool:
    """Tell whether the key was given as what is no secret, such as the model's name."""
    return any(
        isinstance(value, str) and KEY in value and name not in HIDDEN
        for name, value in odd.items()
    )


# Texts


class Mirror:
    """Stands in for a transport: answers what a body asks for, and right."""

    def send(self, body: bytes, seconds: float | None) -> Outcome:
        return Reply(200, {}, body_for(json.loads(body)["input"]))


PIECES: tuple[Any, ...] = (
    *("a", "text", " ", "", "\n", "\x00", "\x7f", "\ud800", "\udfff", "\U0001f600"),
    *("漢", "e\u0301", "\u2028", '"', "\\", "</", "\ufeff", "\u202e", "x" * 300, "'"),
)
NO_TEXTS: tuple[Any, ...] = (None, 1, 1.5, b"x", ["a"], ("a",), {"a": 1}, object(), ...)


def test_of_many_mutated_lists_of_texts_each_is_embedded_right_or_refused() -> None:
    dice = random.Random(TEXTS)
    client = WAYS[0].make(URL, batch_size=3, max_batch_bytes=400, max_retries=0)
    client._calls.here().by_requests = Mirror()
    embedded = refused = 0
    for _ in range(TEXTS):
        texts: Any = [
            "".join(dice.choices(PIECES, k=dice.choice((1, 1, 2, 4))))
            if dice.random() < 0.97
            else dice.choice(NO_TEXTS)
            for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 8)))
        ]
        texts = dice.choice(
            (texts, texts, texts, tuple(texts), dict.fromkeys(map(str, texts)))
        )
        good = all(isinstance(text, str) and is_sendable(text) for text in texts)
        try:
            rows = client.embed(texts)
        except (errors.InputError, TypeError):
            assert not good, texts
            refused += 1
        else:
            assert good, texts
            assert rows == right(texts)
            embedded += 1
    assert min(embedded, refused) > TEXTS * 0.2
    print(f"{embedded:,} lists of texts embedded, {refused:,} refused")


def is_sendable(text: str) -> bool:
    """Tell whether a text can go out: it is not blank, and can be written as UTF-8."""
    try:
        return bool(text.encode().strip() and text.strip())
    except UnicodeEncodeError:
        return False
