"""What a client with a cache asks for, and what it never asks for again."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import ConfigurationError, ModelDriftError, ModelDriftWarning
from together_embed.local import LocalEndpoint


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-0123456789")


TEXTS = [f"text number {number}" for number in range(250)]


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
            with pytest.warns(ModelDriftWarning, match="do not belong in one index"):
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
