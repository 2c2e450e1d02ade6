"""Texts that are longer than the model reads, as a user of the client meets them."""

from __future__ import annotations

import asyncio
import pickle
import warnings
from functools import partial
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import KEY
from together_embed.errors import (
    AuthenticationError,
    ConfigurationError,
    InputError,
    LongInputWarning,
)
from together_embed.local import LocalEndpoint

LONG = " ".join(f"word{number}" for number in range(25))


def by_words(text: str) -> int:
    return len(text.split())


SPLIT: dict[str, Any] = {
    "on_long_input": "split",
    "max_input_tokens": 10,
    "count_tokens": by_words,
}


def sent_by(endpoint: LocalEndpoint) -> set[str]:
    return set(endpoint.seen)


def mean(rows: list[list[float]], weights: list[int]) -> list[float]:
    summed = [
        sum(w * x for w, x in zip(weights, numbers, strict=True))
        for numbers in zip(*rows, strict=True)
    ]
    length = hypot(*summed)
    return [number / length for number in summed]


PIECES = [" ".join(f"word{n}" for n in span) for span in
          (range(10), range(10, 20), range(20, 25))]  # fmt: skip


def test_a_long_text_is_split_and_its_row_is_the_mean_of_its_pieces(
    colour, make_client, endpoint, right
) -> None:
    client = make_client(**SPLIT)
    with pytest.warns(LongInputWarning, match="split: input 1$") as told:
        rows = colour.embed(client, ["short", LONG, "short too"])
    assert len(told) == 1
    assert [rows[0], rows[2]] == right(["short", "short too"])
    assert rows[1] == pytest.approx(mean(right(PIECES), [10, 10, 5]))
    assert hypot(*rows[1]) == pytest.approx(1)
    assert sent_by(endpoint) == {"short", "short too", *PIECES}
    assert (client.stats.long, client.stats.texts) == (1, 3)


def test_a_row_is_as_long_as_those_of_its_pieces(colour, monkeypatch) -> None:
    with LocalEndpoint(
        embedder=lambda text, width: [3.0, 0.0] if "word1 " in text else [0.0, 3.0]
    ) as endpoint:
        client = make(endpoint, **SPLIT)
        with pytest.warns(LongInputWarning):
            (row,) = colour.embed(client, [LONG])
        assert hypot(*row) == pytest.approx(3)
        assert row[1] / row[0] == pytest.approx(1.5)


def make(endpoint: LocalEndpoint, **settings: Any) -> Any:
    from together_embed import EmbeddingsClient

    return EmbeddingsClient("m", api_key="k", base_url=endpoint.base_url, **settings)


def test_a_long_text_is_cut_to_its_beginning(
    colour, make_client, endpoint, right
) -> None:
    client = make_client(**{**SPLIT, "on_long_input": "truncate"})
    with pytest.warns(LongInputWarning, match="cut to their beginning: inputs 0, 2$"):
        rows = colour.embed(client, [LONG, "short", LONG])
    assert rows == right([PIECES[0], "short", PIECES[0]])
    assert sent_by(endpoint) == {PIECES[0], "short"}
    assert (client.stats.long, client.stats.duplicates) == (2, 1)


def test_a_long_text_is_an_error_before_anything_is_sent(
    colour, make_client, endpoint
) -> None:
    client = make_client(**{**SPLIT, "on_long_input": "error"})
    with pytest.raises(InputError, match="over the 10 tokens") as raised:
        colour.embed(client, ["short", LONG])
    assert raised.value.indices == (1,)
    assert raised.value.remaining == (0,)
    with pytest.raises(InputError):
        client.check([LONG])
    assert endpoint.requests == 0


def test_a_stream_that_goes_on_yields_the_error_in_its_place(
    make_client, tmp_path: Path
) -> None:
    client = make_client(
        **{**SPLIT, "on_long_input": "error"}, batch_size=4, cache=tmp_path / "v.db"
    )
    texts = ["a", LONG, "b", LONG, LONG, "c", "a"]
    for _ in range(2):
        found = dict(client.stream_arrays(texts, on_error="return"))
        errors = [n for n, what in found.items() if isinstance(what, InputError)]
        assert errors == [1, 3, 4]
        assert [found[n].indices for n in errors] == [(1, 3), (1, 3), (4,)]
        assert [len(found[n]) for n in (0, 2, 5)] == [1, 1, 2]
    assert client.stats.recalled == 4


def test_unless_it_is_asked_for_long_texts_are_left_to_the_server(
    colour, make_client, right
) -> None:
    assert colour.embed(make_client(), [LONG * 9]) == right([LONG * 9])


def test_a_prefix_goes_before_each_piece_and_counts(
    colour, make_client, endpoint
) -> None:
    client = make_client(**SPLIT, query_prefix="to be found: ")
    with pytest.warns(LongInputWarning):
        colour.embed(client, [LONG], role="query")
    assert all(text.startswith("to be found: word") for text in sent_by(endpoint))
    assert {by_words(text) for text in sent_by(endpoint)} == {10, 7}


def test_arrays_streams_and_batches_split_as_lists_do(make_client) -> None:
    client = make_client(**SPLIT, batch_size=2)
    texts = ["a", LONG, "b", "c", LONG]

    async def all_async() -> list[Any]:
        rows = [(n, row) async for n, row in client.astream(texts)]
        array = await client.aembed_array(texts)
        parts = [part async for _, part in client.astream_arrays(texts)]
        return [[row for _, row in rows], array.tolist(), np.vstack(parts).tolist()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongInputWarning)
        rows = client.embed(texts)
        others = [
            client.embed_array(texts).tolist(),
            [row for _, row in client.stream(texts)],
            [r for part in client.embed_batches([texts[:2], texts[2:]]) for r in part],
            np.vstack([part for _, part in client.stream_arrays(texts)]).tolist(),
            *asyncio.run(all_async()),
        ]
    for other in others:
        for row, its in zip(rows, other, strict=True):
            assert its == pytest.approx(row, rel=1e-6, abs=1e-7)


def test_a_call_warns_at_most_twice_and_names_texts_by_their_place(
    make_client,
) -> None:
    client = make_client(**SPLIT, batch_size=2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        client.embed([LONG, "a", "b", LONG, LONG])
        assert len(list(client.stream(["a", "b", "c", *[LONG] * 5]))) == 8
    whole, first, second = [str(warning.message) for warning in told]
    assert whole.endswith("inputs 0, 3, 4")
    assert first.endswith("input 3")
    assert "inputs 4, 5; later ones are counted" in second
    assert client.stats.long == 8


def test_pieces_are_kept_by_what_was_sent(
    colour, make_client, endpoint, tmp_path: Path
) -> None:
    settings = {**SPLIT, "cache": tmp_path / "vectors.db"}
    with pytest.warns(LongInputWarning):
        rows = colour.embed(make_client(**settings), [LONG])
    asked = endpoint.requests
    client = make_client(**settings)
    with pytest.warns(LongInputWarning):
        assert colour.embed(client, [PIECES[1], LONG, LONG])[1:] == rows * 2
    assert endpoint.requests == asked
    assert client.stats.recalled == 3


def test_where_a_piece_is_refused_its_text_fails_by_its_own_number(colour) -> None:
    texts = ["a", LONG, "b", " ".join(["bad" * 30] * 12), LONG]
    with LocalEndpoint(dimension=8, max_chars=600, remember_texts=True) as endpoint:
        client = make(endpoint, **SPLIT)
        with pytest.warns(LongInputWarning):
            partial = colour.embed(client, texts, on_error="return")
        assert list(partial.failures) == [3]
        assert sorted(partial.results) == [0, 1, 2, 4]
        assert partial.failures[3].indices == (3,)
        assert partial.failures[3].length == len(texts[3])
        assert partial.results[1] == partial.results[4]
        assert partial.remaining == ()


def test_a_split_text_is_resumed_as_a_whole(colour, make_client, endpoint) -> None:
    client = make_client(**SPLIT, batch_size=2, max_concurrency=1)
    texts = ["a", LONG, "b", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LongInputWarning)
        whole = colour.embed(make_client(**SPLIT), texts)
        endpoint.script([None, 401])
        with pytest.raises(AuthenticationError) as raised:
            colour.embed(client, texts)
        assert 1 in {*raised.value.failures, *raised.value.remaining}
        assert colour.resume(raised.value) == whole


def test_a_call_that_is_resumed_warns_of_texts_by_their_numbers_in_the_first(
    colour, make_client, endpoint
) -> None:
    client = make_client(**SPLIT, batch_size=2, max_concurrency=1)
    texts = ["a", "b", "c", LONG, "d", LONG]
    endpoint.script([None, 401, 401])
    warned = partial(pytest.warns, LongInputWarning, match="split: inputs 3, 5$")
    with warned(), pytest.raises(AuthenticationError) as raised:
        colour.embed(client, texts)
    with warned() as told, pytest.raises(AuthenticationError) as again:
        colour.resume(raised.value)
    assert len(told) == 1
    assert sorted(again.value.results) == [0, 1]
    with warned():
        assert len(colour.resume(again.value)) == 6


def test_a_known_model_is_measured_by_an_estimate(endpoint) -> None:
    from together_embed import EmbeddingsClient

    client = EmbeddingsClient(
        "BAAI/bge-base-en-v1.5",
        api_key="k",
        base_url=endpoint.base_url,
        on_long_input="split",
    )
    with pytest.warns(LongInputWarning, match="over the 512 tokens"):
        client.embed(["A sentence of some words. " * 200])
    assert len(sent_by(endpoint)) > 1


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """Make a file that counts words, and says to cut at four and to fill up to nine."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"word{number}": number for number in range(25)} | {"[UNK]": 25}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_truncation(4)
    made.enable_padding(length=9)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return str(path)


def test_a_tokenizers_file_counts(
    colour, make_client, endpoint, tokenizer: str, monkeypatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    client = make_client(
        on_long_input="split", max_input_tokens=10, tokenizer=tokenizer
    )
    with pytest.warns(LongInputWarning):
        colour.embed(pickle.loads(pickle.dumps(client)), [LONG])
    assert sent_by(endpoint) == set(PIECES)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on_long_input": "split"}, "'m' is not known: pass max_input_tokens"),
        ({"on_long_input": "cut", "max_input_tokens": 9}, "'error', 'truncate'"),
        ({"on_long_input": "error", "max_input_tokens": 0}, "no text fits"),
        ({"max_input_tokens": 9}, "has no effect"),
        ({"count_tokens": len}, "has no effect"),
        ({**SPLIT, "tokenizer": "t.json"}, "pass one"),
        ({"on_long_input": "error", "tokenizer": "none.json"}, "there is no file"),
        (
            {"on_long_input": "error", "max_input_tokens": 9, "tokenizer": __file__},
            "cannot be read",
        ),
    ],
)
def test_settings_that_cannot_work_say_what_to_pass(
    make_client, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_client(**settings).embed(["a"])


def test_what_is_done_to_long_texts_is_part_of_the_namespace(
    make_client, tmp_path: Path
) -> None:
    names = {
        make_client(**settings).namespace()
        for settings in (
            {},
            SPLIT,
            {**SPLIT, "max_input_tokens": 11},
            {**SPLIT, "on_long_input": "truncate"},
        )
    }
    assert len(names) == 4
    for words in ("one", "other"):  # no file says which it is by its name
        (tmp_path / words).mkdir()
        (tmp_path / words / "tokenizer.json").write_text(words)
        file = str(tmp_path / words / "tokenizer.json")
        split = {**SPLIT, "count_tokens": None, "tokenizer": file}
        names.add(make_client(**split).namespace())
    assert len(names) == 6
    strict = {**SPLIT, "on_long_input": "error"}
    assert make_client(**strict).namespace() == make_client().namespace()
