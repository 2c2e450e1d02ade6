"""Servers that mean harm, or are broken beyond HTTP: an error of the tree, or patience.

Each act is met by a client that does not retry: it raises an error of this library, has
read no more than it must, and embeds as if nothing had been once the server is well.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from together_embed import errors
from together_embed.transports.route import MAX_ERROR, MAX_REPLY

from .raw import Act, Exchange, RawServer, answer, body_for, http, right
from .ways import KEY, WAYS, Way

pytestmark = pytest.mark.usefixtures("no_leaks")
TEXTS = ["one text", "another"]
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PATIENCE = 30.0
BUFFERED = 48 * MIB
"""Bytes that may be under way between the two ends of a connection on loopback."""


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


# Servers that are slow


def dripping_headers(exchange: Exchange) -> None:
    for byte in http(b"", *(f"X-{n}: {n}" for n in range(99))):
        exchange.send(bytes([byte]))
        exchange.pause(0.02)


def dripping_body(exchange: Exchange) -> None:
    head, _, body = exchange.answer.partition(b"\r\n\r\n")
    exchange.send(head + b"\r\n\r\n")
    for byte in body:
        exchange.send(bytes([byte]))
        exchange.pause(0.02)


def dripping_chunks(exchange: Exchange) -> None:
    exchange.send(http(b"", "Transfer-Encoding: chunked"))
    while True:
        exchange.send(b"1\r\n \r\n")
        exchange.pause(0.02)


def dripping_interim_answers(exchange: Exchange) -> None:
    while True:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.pause(0.02)


def dripping_error(exchange: Exchange) -> None:
    exchange.send(http(b"", "Content-Length: 5000", status="503 Busy"))
    while True:
        exchange.send(b"x")
        exchange.pause(0.02)


def never_answering(exchange: Exchange) -> None:
    exchange.pause()


def stopping_in_the_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
    exchange.pause()


def stopping_in_the_body(exchange: Exchange) -> None:
    exchange.send(exchange.answer[:-9])
    exchange.pause()


SLOW = (
    dripping_headers,
    dripping_body,
    dripping_chunks,
    dripping_interim_answers,
    dripping_error,
    never_answering,
    stopping_in_the_headers,
    stopping_in_the_body,
)


@pytest.mark.parametrize("act", SLOW, ids=lambda act: act.__name__)
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "among-others"])
def test_a_slow_server_holds_a_request_no_longer_than_its_time(
    way: Way, make: Any, server: RawServer, act: Act, count: int
) -> None:
    server.act = act
    model = make(way, server.url, timeout=0.3, max_retries=0, batch_size=1)
    with pytest.raises(errors.RequestTimeoutError):
        way.embed(model, TEXTS[:count])
    # At a piece every 20 ms, 0.3 s are some 15 pieces for each; whoever waits for each
    # of them by itself would have read on to the end.
    assert server.sent < count * 600
    server.act = answer
    assert way.embed(make(way, server.url), TEXTS) == right(TEXTS)


def test_a_deadline_ends_a_call_and_its_requests(
    way: Way, make: Any, server: RawServer
) -> None:
    ended = threading.Semaphore(0)

    def waiting_for_the_end(exchange: Exchange) -> None:
        exchange.connection.settimeout(PATIENCE)
        exchange.connection.recv(1)
        ended.release()

    server.act = waiting_for_the_end
    model = make(way, server.url, deadline=0.3, batch_size=1, max_concurrency=2)
    with pytest.raises(errors.DeadlineExceededError):
        way.embed(model, [f"text {number}" for number in range(9)])
    # Each connection ends by the client's hand, and none takes its place.
    for _ in range(server.requests):
        assert ended.acquire(timeout=PATIENCE)
    assert server.requests <= 2
    assert server.connections <= 2


@pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.name)
async def test_a_cancelled_call_leaves_no_task_and_closes_what_it_had_open(
    way: Way, brief_waits: None, server: RawServer
) -> None:
    met, ended = threading.Semaphore(0), threading.Semaphore(0)

    def waiting_for_the_end(exchange: Exchange) -> None:
        met.release()
        exchange.connection.settimeout(PATIENCE)
        exchange.connection.recv(1)
        ended.release()

    server.act = waiting_for_the_end
    model = way.make(server.url, batch_size=1, max_concurrency=3)
    texts = [f"text {number}" for number in range(9)]
    call = asyncio.create_task(getattr(model, way.method)(texts))
    for _ in range(3):
        assert await asyncio.to_thread(met.acquire, timeout=PATIENCE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for _ in range(3):  # each of its connections ends by the client's hand
        assert await asyncio.to_thread(ended.acquire, timeout=PATIENCE)
    server.act = answer
    assert await getattr(model, way.method)(TEXTS) == right(TEXTS)
    assert server.requests == 3 + len(TEXTS)
    await way.client(model).aclose()


# Servers that send too much


def blanks(exchange: Exchange, size: int) -> None:
    piece = b" " * MIB
    for _ in range(size // MIB):
        exchange.send(piece)


def ten_gigabytes_announced(exchange: Exchange) -> None:
    exchange.send(http(b"", f"Content-Length: {10 * GIB}"))
    blanks(exchange, 10 * GIB)


def ten_gigabytes_in_chunks(exchange: Exchange) -> None:
    exchange.send(http(b"", "Transfer-Encoding: chunked"))
    piece = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
    for _ in range(10 * KIB):
        exchange.send(piece)


def ten_gigabytes_until_the_end(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    blanks(exchange, 10 * GIB)


@pytest.mark.parametrize(
    ("act", "most"),
    [
        (ten_gigabytes_announced, 0),  # what is announced need not be read
        (ten_gigabytes_in_chunks, MAX_REPLY),
        (ten_gigabytes_until_the_end, MAX_REPLY),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_of_ten_gigabytes_no_more_is_read_than_a_right_answer_could_be(
    way: Way, make: Any, server: RawServer, act: Act, most: int
) -> None:
    server.act = act
    model = make(way, server.url, max_retries=0)
    with pytest.raises(errors.InvalidResponseError, match="larger"):
        way.embed(model, TEXTS)
    assert server.requests == 1
    assert server.sent <= most + BUFFERED


@pytest.mark.parametrize("act", [ten_gigabytes_announced, ten_gigabytes_in_chunks])
def test_of_an_error_of_ten_gigabytes_an_excerpt_is_read(
    way: Way, make: Any, server: RawServer, act: Act
) -> None:
    def erring(exchange: Exchange) -> None:
        send, exchange.send = (
            exchange.send,
            lambda said: send(  # type: ignore[method-assign]
                said.replace(b"200 OK", b"500 Broken", 1)
            ),
        )
        act(exchange)

    server.act = erring
    with pytest.raises(errors.InternalServerError):
        way.embed(make(way, server.url, max_retries=0), TEXTS)
    assert server.sent <= MAX_ERROR + BUFFERED


@cache
def bomb(coding: str) -> bytes:
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[coding])
    pieces = [packer.compress(b" " * MIB) for _ in range(2 * MAX_REPLY // MIB)]
    return b"".join(pieces) + packer.flush()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_unpacked_no_further_than_a_right_answer_could_be(
    transport: Way, make: Any, server: RawServer, coding: str
) -> None:
    packed = bomb(coding)
    assert len(packed) < 2 * MIB
    server.act = lambda e: e.send(http(packed, f"Content-Encoding: {coding}"))
    model = make(transport, server.url, max_retries=0)
    tracemalloc.start()
    with pytest.raises(errors.InvalidResponseError, match="larger"):
        transport.embed(model, TEXTS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * MAX_REPLY  # the whole of it would be twice
    server.act = lambda e: e.send(
        http(packed, f"Content-Encoding: {coding}", status="503 No")
    )
    with pytest.raises(errors.OverloadedError):
        transport.embed(model, TEXTS)


def a_header_of_a_megabyte(exchange: Exchange) -> None:
    exchange.send(http(body_for(exchange.texts), f"X-Long: {'x' * MIB}"))


def a_megabyte_of_headers(exchange: Exchange) -> None:
    many = (f"X-{n}: {'x' * 100}" for n in range(10_000))
    exchange.send(http(body_for(exchange.texts), *many))


def headers_without_end(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X-More: %s\r\n" % (b"x" * 1000) * 1000)


def a_status_line_without_end(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 ")
    while True:
        exchange.send(b"O" * MIB)


TOO_MUCH_HEAD = (
    a_header_of_a_megabyte,
    a_megabyte_of_headers,
    headers_without_end,
    a_status_line_without_end,
)


@pytest.mark.parametrize("act", TOO_MUCH_HEAD, ids=lambda act: act.__name__)
def test_a_head_without_measure_breaks_the_connection(
    way: Way, make: Any, server: RawServer, act: Act
) -> None:
    server.act = act
    model = make(way, server.url, max_retries=0, timeout=5.0)
    with pytest.raises(errors.ConnectionFailedError):
        way.embed(model, TEXTS)
    assert server.requests == 1
    assert server.sent <= BUFFERED
    server.act = answer
    assert way.embed(model, TEXTS) == right(TEXTS)


# Servers whose words do not fit together


def saying(said: bytes) -> Act:
    def act(exchange: Exchange) -> None:
        exchange.send(said)
        exchange.hang_up()

    return act


def with_headers(*headers: str, body: bytes | None = None) -> Act:
    def act(exchange: Exchange) -> None:
        exchange.send(http(body or body_for(exchange.texts), *headers))
        exchange.hang_up()

    return act


WORDS: dict[str, Act] = {
    "no-http": saying(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "binary": saying(bytes(range(256)) * 20),
    "tls": saying(b"\x15\x03\x01\x00\x02\x02\x46"),
    "http-0.9": saying(b'{"data": []}'),
    "http-3": saying(b"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "status-of-words": saying(b"HTTP/1.1 fine OK\r\n\r\n"),
    "status-1000": saying(b"HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n"),
    "status-0": saying(b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
    "status-negative": saying(b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n"),
    "status-204": saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "switching-protocols": saying(b"HTTP/1.1 101 Up\r\nUpgrade: websocket\r\n\r\n"),
    "headers-cut": saying(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "header-without-colon": saying(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n{}"),
    "header-folded": saying(b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n{}"),
    "header-with-nul": saying(b"HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n{}"),
    "header-with-escape": saying(b"HTTP/1.1 500 \x1b[31m\r\nX: \x1b[2J\r\n\r\n\x1b[2J"),
    "location-odd": saying(b"HTTP/1.1 307 T\r\nLocation: //[::1\r\n\r\n"),
    "length-too-long": with_headers("Content-Length: 100000"),
    "length-too-short": with_headers("Content-Length: 10"),
    "length-zero": with_headers("Content-Length: 0"),
    "length-negative": with_headers("Content-Length: -1"),
    "length-of-words": with_headers("Content-Length: many"),
    "length-with-sign": with_headers("Content-Length: +5"),
    "length-of-other-digits": with_headers("Content-Length: \u00b2"),
    "length-huge": with_headers(f"Content-Length: {2**70}"),
    "length-without-end": with_headers(f"Content-Length: {'9' * 5000}"),
    "lengths-two": with_headers("Content-Length: 5", "Content-Length: 7"),
    "lengths-in-one": with_headers("Content-Length: 5, 7"),
    "chunks-of-words": with_headers("Transfer-Encoding: chunked"),
    "chunks-cut": with_headers("Transfer-Encoding: chunked", body=b"ff\r\n{"),
    "chunk-negative": with_headers("Transfer-Encoding: chunked", body=b"-1\r\n{}"),
    "chunk-huge": with_headers("Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\n{"),
    "chunk-line-long": with_headers("Transfer-Encoding: chunked", body=b"0" * 9 * MIB),
    "coding-unknown": with_headers("Transfer-Encoding: rot13", "Content-Length: 9"),
    "gzip-that-is-none": with_headers("Content-Encoding: gzip"),
    "gzip-cut": with_headers(
        "Content-Encoding: gzip", body=gzip.compress(b" " * 9999)[:-9]
    ),
    "deflate-that-is-none": with_headers("Content-Encoding: deflate"),
    "br-that-is-none": with_headers("Content-Encoding: br"),
    "zstd-that-is-none": with_headers("Content-Encoding: zstd"),
    "codings-many": with_headers("Content-Encoding: " + ", ".join(["gzip"] * 50)),
    "nested-arrays": with_headers(body=b"[" * 10 * MIB),
    "nested-objects": with_headers(body=b'{"data":' * MIB),
    "nested-in-an-answer": with_headers(
        body=b'{"data":[{"index":0,"embedding":' + b"[" * 100_000 + b"]" * 100_000
    ),
    "nested-beside-an-answer": with_headers(
        body=b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"data":[]}'
    ),
    "nested-in-an-error": saying(
        http(b'{"error":' + b"[" * 30_000 + b"]" * 30_000 + b"}", status="500 E")
    ),
    "digits-without-end": with_headers(
        body=b'{"data":[{"index":' + b"9" * MIB + b',"embedding":[1]}]}'
    ),
    "utf-16": with_headers(body='{"data": []}'.encode("utf-16")),
    "surrogates-in-an-error": saying(
        http(json.dumps({"error": {"message": "\ud800" * 9}}).encode(), status="500 E")
    ),
}


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
    ("way", "count"),
    [(way, count) for way in WAYS for count in ((1, 2) if way in WAYS[:2] else (2,))],
    ids=lambda given: getattr(given, "name", None),
)
def test_words_that_do_not_fit_are_an_error_of_the_tree_or_a_right_answer(
    way: Way, make: Any, server: RawServer, words: str, count: int
) -> None:
    server.act = WORDS[words]
    model = make(way, server.url, max_retries=0, batch_size=1, timeout=10.0)
    said = ""
    try:
        # Some of it a library reads past, and finds the answer all the same.
        assert way.embed(model, TEXTS[:count]) == right(TEXTS[:count])
    except errors.RequestError as error:
        said = str(error)
    assert len(said) < 1000
    assert said.isprintable()
    server.act = answer
    assert way.embed(make(way, server.url), TEXTS) == right(TEXTS)


def test_an_error_with_a_status_of_200_is_told_without_key_and_text(
    way: Way, make: Any, server: RawServer
) -> None:
    said = json.dumps({"error": {"message": f"no room for '{TEXTS[0]}' of {KEY}"}})
    server.act = lambda exchange: exchange.send(http(said.encode()))
    with pytest.raises(errors.InvalidResponseError) as caught:
        way.embed(make(way, server.url, max_retries=0), TEXTS)
    told = "an error with a status of 200: no room for '<text 0>' of [hidden]"
    assert caught.value.message == told


# Servers that close


def closing_after_each(exchange: Exchange) -> None:
    exchange.send(exchange.answer)
    exchange.hang_up()


def closing_with_a_reset(exchange: Exchange) -> None:
    exchange.send(exchange.answer)
    exchange.pause(0.002)
    linger = struct.pack("ii", 1, 0)
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    exchange.connection.close()
    exchange.hang_up()


@pytest.mark.parametrize("act", [closing_after_each, closing_with_a_reset])
def test_a_server_that_closes_after_each_answer_costs_no_text_and_few_requests(
    way: Way, make: Any, server: RawServer, act: Act
) -> None:
    server.act = act
    texts = [f"text {n}" for n in range(200)]
    model = make(way, server.url, batch_size=2)
    assert way.embed(model, texts) == right(texts)
    # A request that met a closed connection did not arrive: those that did, count.
    assert 100 <= server.requests <= 100 + 20
