"""What a client with a cache asks for, and what it never asks for again."""

from __future__ import annotations

import pickle
import sqlite3
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import (
    ConfigurationError,
    LongInputWarning,
    ModelDriftError,
    ModelDriftWarning,
)
from together_embed.local import LocalEndpoint
from together_embed.store import Store, StoreWarning, identities


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-0123456789")


TEXTS = [f"text number {number}" for number in range(250)]


def single(row: list[float]) -> list[float]:
    return list(struct.unpack("8f", struct.pack("8f", *row)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_what_is_known_is_not_asked_for_again(
    colour, path: Path, encoding: str
) -> None:
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        for texts in (TEXTS[:100], TEXTS[50:200] + TEXTS[:60], TEXTS[::-1]):
            client = EmbeddingsClient(
                "m", base_url=endpoint.base_url, cache=path, encoding_format=encoding
            )
            rows = colour.embed(client, texts)
            assert rows == [endpoint.embed(text) for text in texts]
            client.close()
        assert set(endpoint.seen.values()) == {1}
        assert client.stats.recalled == 200


def test_a_call_that_sends_nothing_needs_no_key(
    colour, path: Path, monkeypatch
) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        monkeypatch.setattr("together_embed.address.BASE_URL", endpoint.base_url)
        there = EmbeddingsClient("m", cache=path)
        colour.embed(there, TEXTS)
        there.close()
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.setattr("together_embed.settings.is_together", lambda host: True)
    keyless = EmbeddingsClient("m", cache=path)
    assert len(colour.embed(keyless, TEXTS)) == len(TEXTS)
    for on_error in ("raise", "return"):
        with pytest.raises(ConfigurationError, match="no API key"):
            colour.embed(keyless, [*TEXTS, "a new one"], on_error=on_error)


def test_what_failed_half_way_is_kept(colour, path: Path) -> None:
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        settings = {"base_url": endpoint.base_url, "cache": path, "max_concurrency": 1}
        endpoint.script([None, None, 401])
        partial = colour.embed(
            EmbeddingsClient("m", **settings), TEXTS, on_error="return"
        )
        assert len(partial.results) == 200
        rows = colour.embed(EmbeddingsClient("m", **settings), TEXTS)
        assert rows == [endpoint.embed(text) for text in TEXTS]
        assert set(endpoint.seen.values()) == {1}


@pytest.mark.parametrize("hook", ["on_progress", "on_batch"])
def test_where_a_function_that_is_told_raises_all_that_came_is_kept(
    colour, path: Path, hook: str
) -> None:
    """What `on_batch` raises is a warning, which is an error here."""
    with LocalEndpoint(dimension=8) as endpoint:

        def raises(_: object) -> None:
            time.sleep(0.3)  # more answers come meanwhile
            raise ValueError("no more")

        endpoint.slow(0.1)
        settings = {"base_url": endpoint.base_url, "cache": path, "batch_size": 1}
        told = {"on_batch": raises} if hook == "on_batch" else {}
        client = EmbeddingsClient("m", **settings, **told)
        asked = {} if told else {"on_progress": raises}
        with pytest.raises((ValueError, RuntimeWarning)):
            colour.embed(client, TEXTS[:30], **asked)
        colour.close(client)
        again = EmbeddingsClient("m", **settings)
        again.embed(TEXTS[:30])
        assert again.stats.recalled == client.last_stats.texts
        again.close()


def test_another_model_width_field_or_server_shares_nothing(path: Path) -> None:
    with (
        LocalEndpoint(dimension=8, dimensions="honour") as one,
        LocalEndpoint(dimension=8) as two,
    ):
        for settings in (
            {"model": "m", "base_url": one.base_url},
            {"model": "n", "base_url": one.base_url},
            {"model": "m", "base_url": one.base_url, "dimensions": 4},
            {"model": "m", "base_url": one.base_url, "extra_body": {"user": "u"}},
            {"model": "m", "base_url": one.base_url, "query": {"deployment": "d"}},
            {"model": "m", "base_url": two.base_url},
        ):
            client = EmbeddingsClient(**settings, cache=path)
            (row,) = client.embed(["a text"])
            assert len(row) == settings.get("dimensions", 8)
            assert client.stats.requests == 1


def test_key_batch_size_and_encoding_are_no_part_of_what_a_vector_is(
    path: Path,
) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        for settings in (
            {"api_key": "one", "batch_size": 10, "encoding_format": "float"},
            {"api_key": "two", "batch_size": 20, "encoding_format": "base64"},
            {"query": {"api-key": "three"}, "headers": {"X-Title": "four"}},
        ):
            client = EmbeddingsClient(
                "m", base_url=endpoint.base_url, cache=path, **settings
            )
            client.embed(TEXTS)
        assert client.stats.requests == 0


def test_arrays_and_lists_share_what_is_kept_bit_for_bit(path: Path) -> None:
    with LocalEndpoint(
        dimension=8, embedder=lambda text, width: [len(text) / 3] * width
    ) as endpoint:
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, cache=path, encoding_format="float"
        )
        array = client.embed_array(TEXTS)
        assert client.embed(TEXTS) == [endpoint.embed(text) for text in TEXTS]
        assert array.tolist() == client.embed_array(TEXTS).tolist()
        assert client.stats.requests == 3


def test_a_number_that_is_too_large_for_an_array_is_none_in_a_cache_either(
    colour, path: Path
) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        huge = [1e39, *[1.0] * 7]
        with Store(path) as store:
            store.put(
                [(identities(endpoint.base_url, "m", None, b"{}", ["a"])[0], huge)]
            )
        client = EmbeddingsClient("m", base_url=endpoint.base_url, cache=path)
        assert colour.embed(client, ["a"]) == [huge]
        (row,) = client.embed_array(["a"]).tolist()
        assert row == endpoint.embed("a")


def test_a_pickled_client_keeps_its_cache(path: Path) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, cache=path)
        client.embed(TEXTS)
        copy = pickle.loads(pickle.dumps(client))
        copy.embed(TEXTS)
        assert copy.stats.requests == 0


@pytest.mark.parametrize("change", [{"answer_model": "other"}, {"dimension": 16}])
def test_a_model_that_answers_otherwise_is_told_of_and_not_kept(
    path: Path, change: dict[str, object]
) -> None:
    port = 0
    with LocalEndpoint(dimension=8) as endpoint:
        url = endpoint.base_url
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        EmbeddingsClient("m", base_url=url, cache=path).embed(TEXTS[:10])
    with LocalEndpoint(**{"dimension": 8, "port": port, **change}):
        for _ in range(2):  # since it is not kept, it is asked for and told of again
            client = EmbeddingsClient("m", base_url=url, cache=path)
            with pytest.warns(ModelDriftWarning, match="when the cache was filled"):
                client.embed(TEXTS[10:20])
        strict = EmbeddingsClient("m", base_url=url, cache=path, on_drift="error")
        with pytest.raises(ModelDriftError):
            strict.embed(TEXTS[10:20])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(client.embed(TEXTS[:10])[0]) == 8  # known, and right as it was


def test_answers_that_came_before_a_fatal_one_are_kept(colour, path: Path) -> None:
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        settings = {"base_url": endpoint.base_url, "cache": path, "batch_size": 10}
        endpoint.script([None] * 12 + [401])
        client = EmbeddingsClient("m", **settings, max_concurrency=8)
        partial = colour.embed(client, TEXTS, on_error="return")
        assert len(partial.results) >= 120 - 10 * 8  # but those still on their way
        before = len(partial.results)
        again = EmbeddingsClient("m", **settings)
        colour.embed(again, TEXTS)
        assert again.stats.recalled == before


def test_known_texts_in_any_pattern_among_unknown_ones_keep_their_places(
    colour, path: Path
) -> None:
    """More of them than are looked up at once; one in three twice, some in pieces."""
    words = [f"{'one two three four ' * (n % 4)}text {n}" for n in range(500)]
    texts = [*words, *words[::3]]
    settings = {"on_long_input": "split", "max_input_tokens": 8, "cache": path}
    settings |= {"count_tokens": lambda text: len(text.split())}
    with (
        LocalEndpoint(dimension=8, remember_texts=True) as endpoint,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", LongInputWarning)
        settings["base_url"] = endpoint.base_url
        plain = EmbeddingsClient("m", **{**settings, "cache": None}).embed(texts)
        filling = EmbeddingsClient("m", **settings)
        filling.embed([*words[:40], *words[150:420:7], *words[450:]])
        client = EmbeddingsClient("m", **settings)
        assert colour.embed(client, texts) == plain
        assert colour.embed(client, texts[::-1]) == plain[::-1]
        array = EmbeddingsClient("m", **settings).embed_array(texts)
        assert array.tolist() == [single(row) for row in plain]
        assert set(endpoint.seen.values()) == {2}  # once without the cache, once with


@pytest.mark.parametrize("form", ["embed", "embed_array"])
def test_kept_rows_of_another_width_are_never_mixed_with_the_others(
    path: Path, form: str
) -> None:
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        url = endpoint.base_url
        client = EmbeddingsClient("m", base_url=url, cache=path, max_retries=0)
        right = [endpoint.embed(text) for text in TEXTS]
        client.embed(TEXTS)
        keys = identities(url, "m", None, b"{}", TEXTS)
        with Store(path) as store:  # what no client of ours does
            store.put((key, [1.0] * 4) for key in keys[1::3])
            store.put((key, [1.0] * 16) for key in keys[2::3])
        rows = getattr(client, form)(TEXTS)
        assert [[*map(float, row)] for row in rows] == right
        with Store(path) as store:
            store.put((key, [1.0] * 4) for key in keys[:1])
            store.forget(keys[-1:])
        with pytest.raises(
            ModelDriftError, match="not 4 like the vectors in the cache"
        ):
            getattr(client, form)(TEXTS)


@pytest.mark.parametrize("form", ["embed", "embed_array"])
def test_a_text_of_which_pieces_are_kept_is_made_of_one_width_and_leaves_nothing(
    path: Path, form: str
) -> None:
    split = {"on_long_input": "split", "max_input_tokens": 2}
    how = {**split, "count_tokens": lambda text: len(text.split()), "cache": path}
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        client = EmbeddingsClient("m", base_url=endpoint.base_url, **how)
        client.embed(["a b", "e f"])
        with pytest.warns(LongInputWarning):
            assert len(getattr(client, form)(["a b c d"])) == 1
        assert endpoint.seen == {"a b": 1, "c d": 1, "e f": 1}
        assert client._calls.here()._sharing.known == {}
    with LocalEndpoint(dimension=4, port=endpoint.port) as endpoint:
        with pytest.warns(LongInputWarning), pytest.raises(ModelDriftError):
            getattr(client, form)(["e f g h"])
        assert client._calls.here()._sharing.known == {}


def test_a_bounded_cache_stays_below_its_bound_and_keeps_what_is_of_use(
    colour, path: Path
) -> None:
    bound = 1_000_000
    with LocalEndpoint(dimension=512, remember_texts=True) as endpoint:
        client = EmbeddingsClient(
            "m", base_url=endpoint.base_url, cache=path, max_cache_bytes=bound
        )
        for start in range(0, 1200, 100):  # 2.5 MB
            new = [f"text {number}" for number in range(start, start + 100)]
            texts = [*TEXTS[:20], *new]
            assert colour.embed(client, texts) == [endpoint.embed(t) for t in texts]
        client.close()
        assert path.stat().st_size <= bound
        assert {endpoint.seen[text] for text in TEXTS[:20]} == {1}
        colour.embed(client, ["text 0", "text 1199"])
        assert (endpoint.seen["text 0"], endpoint.seen["text 1199"]) == (2, 1)
        client.close()


@pytest.mark.parametrize("bound", [0, -1, True, 999_999, "9000000", 2e6])
def test_a_bound_that_is_none_or_without_a_cache_is_refused(bound, path: Path) -> None:
    with pytest.raises(ConfigurationError):
        EmbeddingsClient("m", cache=path, max_cache_bytes=bound)
    with pytest.raises(ConfigurationError, match="no effect without a cache"):
        EmbeddingsClient("m", max_cache_bytes=2_000_000)


def of_a_newer_version(path: Path, url: str) -> None:
    EmbeddingsClient("m", base_url=url, cache=path).embed(TEXTS[:1])
    link = sqlite3.connect(path)
    link.execute("PRAGMA user_version = 99")
    link.close()


def damaged(path: Path, url: str) -> None:
    with EmbeddingsClient("m", base_url=url, cache=path) as client:
        client.embed(TEXTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, _: path.mkdir(),
        lambda path, _: path.write_text("somebody's notes"),
        of_a_newer_version,
        damaged,
    ],
    ids=["a-folder", "another-file", "newer", "damaged"],
)
def test_a_cache_that_cannot_be_used_costs_a_warning_and_no_vector(
    colour, path: Path, spoil: Callable[[Path, str], object]
) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        spoil(path, endpoint.base_url)
        before = path.is_file() and path.read_bytes()
        client = EmbeddingsClient("m", base_url=endpoint.base_url, cache=path)
        right = [endpoint.embed(text) for text in TEXTS]
        with pytest.warns(StoreWarning):
            assert colour.embed(client, TEXTS) == right
        assert colour.embed(client, TEXTS) == right  # told of once
        client.close()
        assert before == (path.is_file() and path.read_bytes())
