"""Packed answers: asked for where the user wants them, and unpacked within bounds."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from tests.conftest import client_of
from together_embed import errors
from together_embed.engine.outcome import Cause, Lost, Reply
from together_embed.local import Fault, LocalEndpoint
from together_embed.transports import packed
from together_embed.transports.packed import GZIP, RAW, ZLIB, whole

pytestmark = pytest.mark.usefixtures("no_leaks")
TEXTS = [f"text {number}" for number in range(40)]


@pytest.fixture
def packing() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=256, gzip=True, base64="ignore") as endpoint:
        yield endpoint


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_packed_answers_are_asked_for_only_where_the_user_wants_them(
    packing: LocalEndpoint, colour: Any, compression: Any
) -> None:
    client = client_of(packing, compression=compression)
    rows = colour.embed(client, TEXTS)
    colour.close(client)
    assert rows == [packing.embed(text) for text in TEXTS]
    asked = dict(packing.log[0].headers)["accept-encoding"]
    assert asked == (compression or "identity")


def test_bytes_are_counted_as_the_network_carried_them(
    packing: LocalEndpoint, colour: Any
) -> None:
    received = []
    for compression in (None, "gzip"):
        client = client_of(packing, compression=compression)
        colour.embed(client, TEXTS)
        colour.close(client)
        received.append(client.stats.received_bytes)
    assert received[1] < 0.7 * received[0]


def test_an_error_that_comes_packed_is_read(
    packing: LocalEndpoint, colour: Any
) -> None:
    client = client_of(packing, compression="gzip", max_retries=0)
    packing.fail(Fault("status", 401, message="this key is too old"))
    with pytest.raises(errors.AuthenticationError, match="too old"):
        colour.embed(client, TEXTS)
    colour.close(client)


def test_a_bomb_is_dropped_at_the_bound(
    endpoint: LocalEndpoint, colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MAX_REPLY", 1_000_000)
    endpoint.fail(Fault("bomb", size=50_000_000))
    client = client_of(endpoint, compression="gzip", max_retries=0)
    with pytest.raises(errors.InvalidResponseError, match="larger"):
        colour.embed(client, ["a"])
    colour.close(client)


def pack(body: bytes, kind: int) -> bytes:
    packer = zlib.compressobj(wbits=kind)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", pack(b"words", GZIP)),
        ("x-gzip", pack(b"words", GZIP)),
        ("GZip", pack(b"wo", GZIP) + pack(b"rds", GZIP)),
        ("deflate", pack(b"words", ZLIB)),
        ("deflate", pack(b"words", RAW)),
        ("identity", b"words"),
        ("", b"words"),
    ],
)
def test_a_body_is_unpacked_by_its_coding(coding: str, body: bytes) -> None:
    headers = {"content-encoding": coding}
    answer = whole(200, headers, [body[:3], body[3:]])
    assert answer == Reply(200, headers, b"words", len(body))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", pack(b"words", GZIP)[:-4]),
        ("gzip", pack(b"words", GZIP)[:-4] + b"1234"),
        ("gzip", b"words"),
        ("deflate", b"words"),
        ("br", b"words"),
        ("gzip, gzip", pack(b"words", GZIP)),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_a_broken_answer(
    coding: str, body: bytes
) -> None:
    lost = whole(200, {"content-encoding": coding}, [body])
    assert isinstance(lost, Lost)
    assert lost.cause is Cause.CONNECTION
    error = whole(503, {"content-encoding": coding}, [body])
    assert isinstance(error, Reply)
    assert (error.status, error.body) == (503, b"")


def test_unpacking_costs_no_more_than_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = 0

    class Counting:
        def __init__(self, kind: int) -> None:
            self._unpacker = real(kind)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._unpacker, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal given
            given += len(data)
            return bytes(self._unpacker.decompress(data, most))

    real = zlib.decompressobj
    monkeypatch.setattr(packed.zlib, "decompressobj", Counting)
    dense = random.Random(7).randbytes(20 * packed.STEP)  # it cannot be packed
    body = pack(dense, GZIP)
    answer = whole(200, {"content-encoding": "gzip"}, [body])
    assert answer == Reply(200, {"content-encoding": "gzip"}, dense, len(body))
    assert given < 1.1 * len(body)  # zlib hands back, and takes again, what is left


def test_a_body_of_many_packed_parts_is_read_up_to_a_bound() -> None:
    headers, part = {"content-encoding": "gzip"}, pack(b"word ", GZIP)
    assert whole(200, headers, [part * 5_000]) == Reply(
        200, headers, b"word " * 5_000, 5_000 * len(part)
    )
    # Each part costs as much as a thousand bytes: here nothing would come of them.
    lost = whole(200, headers, [pack(b"", GZIP) * (packed.MEMBERS + 1)])
    assert isinstance(lost, Lost)
    assert lost.cause is Cause.CONNECTION


def test_a_coding_that_is_not_known_is_refused_at_once(endpoint: LocalEndpoint) -> None:
    with pytest.raises(errors.ConfigurationError, match="compression"):
        client_of(endpoint, compression="br")


def test_both_adapters_pass_compression_on(endpoint: LocalEndpoint) -> None:
    url = endpoint.base_url
    chain: Any = TogetherEmbeddings(model="m", base_url=url, compression="gzip")
    index: Any = TogetherEmbedding("m", api_base=url, compression="gzip")
    for model in (chain, index):
        assert model.client.settings.compression == "gzip"
