"""Vectors of length 1, and vectors that are cut, as they are handed out."""

from __future__ import annotations

import pickle
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import ConfigurationError
from together_embed.local import LocalEndpoint

TEXTS = [f"text {number}" for number in range(30)] + ["text 3"]


def fourfold(text: str, width: int) -> list[float]:
    return [float(len(text)), 3.0, 0.0, float(len(text) % 7)] * (width // 4)


def scaled(row: list[float], width: int | None = None) -> list[float]:
    cut = row[:width]
    return [number / hypot(*cut) for number in cut]


def make(endpoint: LocalEndpoint, **settings: Any) -> EmbeddingsClient:
    return EmbeddingsClient("m", api_key="k", base_url=endpoint.base_url, **settings)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(
    ("settings", "width"),
    [({"normalize": True}, 8), ({"cut_to": 4}, 4), ({"cut_to": 8}, 8)],
)
def test_rows_are_cut_and_of_length_one(
    colour, settings: dict[str, Any], width: int, encoding: str
) -> None:
    with LocalEndpoint(dimension=8, embedder=fourfold) as endpoint:
        client = make(endpoint, **settings, encoding_format=encoding)
        rows = colour.embed(client, TEXTS)
        wanted = [scaled(fourfold(text, 8), width) for text in TEXTS]
        assert rows == [pytest.approx(row) for row in wanted]
        array = client.embed_array(TEXTS)
        assert array.shape == (31, width)
        assert np.linalg.norm(array, axis=1) == pytest.approx(1)
        assert array.tolist() == [pytest.approx(row, rel=1e-6) for row in rows]


def test_a_vector_of_zeros_stays_what_the_server_sent(colour) -> None:
    with LocalEndpoint(embedder=lambda text, width: [0.0, 0.0, 2.0]) as endpoint:
        assert colour.embed(make(endpoint, cut_to=2), ["a"]) == [[0.0, 0.0]]
        assert colour.embed(make(endpoint, normalize=True), ["a"]) == [[0.0, 0.0, 1.0]]
        assert make(endpoint, cut_to=2).embed_array(["a"]).tolist() == [[0.0, 0.0]]


def test_numbers_whose_squares_overflow_are_scaled_all_the_same(colour) -> None:
    with LocalEndpoint(embedder=lambda text, width: [3e30, 4e30]) as endpoint:
        client = make(endpoint, normalize=True)
        assert colour.embed(client, ["a"]) == [pytest.approx([0.6, 0.8])]
        assert client.embed_array(["a"])[0] == pytest.approx([0.6, 0.8])


def test_a_store_holds_whole_vectors_for_clients_of_any_shape(
    colour, tmp_path: Path
) -> None:
    shapes: tuple[dict[str, Any], ...] = ({"cut_to": 4}, {}, {"normalize": True})
    with LocalEndpoint(dimension=8, embedder=fourfold) as endpoint:
        for settings in shapes:
            client = make(endpoint, **settings, cache=tmp_path / "vectors.db")
            fresh = make(endpoint, **settings)
            assert colour.embed(client, TEXTS) == colour.embed(fresh, TEXTS)
            assert (client.embed_array(TEXTS) == fresh.embed_array(TEXTS)).all()
            client.close()
        assert client.stats.recalled == 2 * len(TEXTS)
        assert client.stats.requests == 0


def test_cutting_asks_nothing_of_the_server(colour) -> None:
    with LocalEndpoint(dimension=8, dimensions="refuse") as endpoint:
        (row,) = colour.embed(make(endpoint, cut_to=3), ["a"])
        assert row == pytest.approx(scaled(endpoint.embed("a"), 3))


def test_what_is_cut_may_have_been_asked_for_narrower(colour) -> None:
    with LocalEndpoint(dimension=8, dimensions="honour") as endpoint:
        rows = colour.embed(make(endpoint, dimensions=6, cut_to=3), ["a"])
        assert len(rows[0]) == 3


def test_vectors_narrower_than_the_cut_are_an_error(colour, tmp_path: Path) -> None:
    with LocalEndpoint(dimension=8) as endpoint:
        # The first has them from the server, the second from the file.
        for _ in range(2):
            client = make(endpoint, cut_to=9, cache=tmp_path / "vectors.db")
            with pytest.raises(ConfigurationError, match="the vectors are 8 wide"):
                colour.embed(client, ["a"])
            client.close()
        assert endpoint.requests == 1


@pytest.mark.parametrize(
    "settings", [{"cut_to": 0}, {"cut_to": 2.0}, {"cut_to": 9, "dimensions": 8}]
)
def test_a_cut_that_cannot_work_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="cut_to"):
        EmbeddingsClient("m", base_url="http://localhost:1", **settings)


def test_the_shape_is_part_of_the_namespace_and_survives_a_pickle() -> None:
    clients = [
        EmbeddingsClient("m", base_url="http://localhost:1", **settings)
        for settings in ({}, {"normalize": True}, {"cut_to": 4}, {"cut_to": 5})
    ]
    assert len({client.namespace() for client in clients}) == 4
    for client in clients:
        assert pickle.loads(pickle.dumps(client)).namespace() == client.namespace()
