"""Servers that keep no order between a connection's answers.

HTTP numbers no answers: one that nobody asked for would be taken for the answer to the
next request on its connection, with a status of 200 and the vectors of other texts.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from together_embed import EmbeddingsClient, errors

from .raw import Act, Exchange, RawServer, answer, body_for, http, right
from .ways import WAYS, Way

pytestmark = pytest.mark.usefixtures("no_leaks")
PATIENCE = 30.0
RECORD = 9_000
"""Bytes that are more than the sync path buffers, and fit into one record of TLS."""


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


def stranger(texts: list[str]) -> bytes:
    """Write a right answer to a question that was not asked."""
    return http(body_for(texts, lambda text: [0.5] * 8))


def one_answer_too_many(exchange: Exchange) -> None:
    exchange.send(exchange.answer + stranger(exchange.texts))


def a_body_longer_than_it_says(exchange: Exchange) -> None:
    exchange.send(exchange.answer + b" " * 100)


def an_answer_before_the_question(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 102 Wait\r\n\r\n" + exchange.answer)


@pytest.mark.parametrize(
    "act",
    [
        one_answer_too_many,
        a_body_longer_than_it_says,
        an_answer_before_the_question,
    ],
    ids=lambda act: act.__name__,
)
async def test_an_answer_that_nobody_asked_for_is_never_taken_for_another(
    transport: Way, brief_waits: None, server: RawServer, act: Act
) -> None:
    server.act = act
    client = transport.make(server.url, batch_size=1, max_concurrency=2)
    for number in range(10):
        texts = [f"text {number} {n}" for n in range(3)]
        with suppress(errors.RequestError):
            rows = getattr(client, transport.method)(texts)
            rows = rows if isinstance(rows, list) else await rows
            assert rows == right(texts)
    await client.aclose()


def sync_calls(client: EmbeddingsClient, texts: list[str], between: Any) -> Any:
    """Embed the texts one after the other, with a wait between."""
    rows = client.embed(texts[:1])
    between()
    return rows + client.embed(texts[1:])


def async_calls(client: EmbeddingsClient, texts: list[str], between: Any) -> Any:
    """Do the same on a loop that goes on meanwhile."""

    async def calls() -> Any:
        rows = await client.aembed(texts[:1])
        await asyncio.to_thread(between)
        await asyncio.sleep(0.01)
        rows += await client.aembed(texts[1:])
        await client.aclose()
        return rows

    return asyncio.run(calls())


def calls_of_a_loop_that_rests(
    client: EmbeddingsClient, texts: list[str], between: Any
) -> Any:
    """Do the same on a loop that does not run between the calls."""
    loop = asyncio.new_event_loop()
    rows = loop.run_until_complete(client.aembed(texts[:1]))
    between()
    rows += loop.run_until_complete(client.aembed(texts[1:]))
    loop.run_until_complete(client.aclose())
    loop.close()
    return rows


@pytest.mark.parametrize("calls", [sync_calls, async_calls, calls_of_a_loop_that_rests])
def test_an_answer_that_comes_while_nothing_is_asked_is_not_taken_for_the_next(
    server: RawServer, make: Any, calls: Callable[..., Any]
) -> None:
    home, there = threading.Event(), threading.Event()

    def late(exchange: Exchange) -> None:
        server.act = answer
        exchange.send(exchange.answer)
        home.wait(PATIENCE)
        exchange.send(stranger(exchange.texts))
        there.set()

    def between() -> None:
        home.set()
        assert there.wait(PATIENCE)

    server.act = late
    texts = ["one text", "another"]
    client = make(WAYS[0], server.url)
    assert calls(client, texts, between) == right(texts)
    assert server.connections == 2


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n",
        b"HTTP/1.1 199 None\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_what_is_no_answer_yet_is_read_past(
    way: Way, make: Any, server: RawServer, interim: bytes
) -> None:
    def act(exchange: Exchange) -> None:
        exchange.send(interim)
        exchange.pause(0.01)  # the answer comes when the interim one is read
        exchange.send(exchange.answer)

    server.act = act
    texts = [f"text {n}" for n in range(4)]
    model = make(way, server.url, batch_size=1, max_concurrency=1, max_retries=0)
    assert way.embed(model, texts) == right(texts)
    assert server.requests == len(texts)
    assert server.connections == 1


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_an_answer_too_many_in_one_record_of_tls_is_not_taken_for_the_next(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.maximum_version = ssl.TLSVersion[version]
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def act(exchange: Exchange) -> None:
        long = body_for(exchange.texts) + b" " * RECORD
        exchange.send(http(long) + stranger(exchange.texts))

    with RawServer(act, tls=context) as server:
        client = make(WAYS[0], server.url, max_retries=0)  # asyncio reads all there is
        for text in ("one text", "another", "a third"):
            assert client.embed([text]) == right([text])
