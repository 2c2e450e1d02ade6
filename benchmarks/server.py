"""Serve canned embeddings on loopback, fast enough not to be what is measured.

`POST /v1/embeddings` is answered from rows that were encoded beforehand, after
`--base-delay` seconds and `--per-text` seconds a text, counted from the arrival of the
request. `GET /counts` tells what came in since the last `POST /reset`. The first line
on stdout is `{"port": …}`; the server ends when its stdin does. With `--cap` or
`--rate` it refuses what is too much, and its counts say what share of the ideal it was.

Only as much of HTTP/1.1 is understood as clients of an embeddings API send: a body
needs a `Content-Length`. Nothing is validated that a benchmark would not get wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from canned import Rows, error_body
from limits import Limits, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


@dataclass
class Counts:
    """What came in since the last reset."""

    requests: int = 0
    texts: int = 0
    base64_answers: int = 0
    refused: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    connections: int = 0
    bytes_out: int = 0
    served: float = 0.0  # seconds from a request's arrival to its answer, summed up
    cpu_start: float = field(default_factory=time.process_time)
    timeline: Timeline = field(default_factory=Timeline)


@dataclass(frozen=True)
class Manner:
    """How the server answers: its delays in seconds, and what base64 gets."""

    base_delay: float
    per_text: float
    base64: str
    limits: Limits

    def seconds(self, texts: int) -> float:
        """Return how long a request of so many texts takes."""
        return self.base_delay + self.per_text * texts


class Connection(asyncio.Protocol):
    """One connection: a request at a time, each answered when it is due."""

    def __init__(self, rows: Rows, manner: Manner, counts: list[Counts]) -> None:
        self._rows = rows
        self._manner = manner
        self._counts = counts  # of one element, so that a reset reaches everybody
        self._buffer = bytearray()
        self._busy = False
        self._counted: Counts | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the request up as soon as it is whole."""
        self._buffer += data
        if not self._busy:
            self._take_next()

    def _take_next(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        length = content_length(head)
        whole = end + 4 + length
        if len(self._buffer) < whole:
            return
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        self._busy = True
        self._dispatch(head[: head.find(b" HTTP/")], body)

    def _dispatch(self, target: bytes, body: bytes) -> None:
        if target == b"POST /v1/embeddings":
            self._embed(body)
        elif target == b"GET /counts":
            self._send(200, orjson.dumps(tell(self._counts[0], self._manner)))
        elif target == b"POST /reset":
            self._counts[0] = Counts()
            self._send(200, b"{}")
        else:
            self._send(404, error_body(f"Not found: {target.decode()}"))

    def _embed(self, body: bytes) -> None:
        arrived = self._loop.time()
        request = orjson.loads(body)
        texts = request["input"]
        texts = [texts] if isinstance(texts, str) else texts
        counts = self._counts[0]
        if not self._manner.limits.admits(counts.in_flight, arrived):
            counts.requests += 1
            counts.refused += 1
            counts.timeline.add(arrived, arrived, True)
            self._send(429, error_body("Too many requests"))
            return
        self._count_in(counts, len(texts))
        status, reply = self._reply(request, texts, counts)
        due = arrived + self._manner.seconds(len(texts))

        def answer() -> None:
            counts.in_flight -= 1
            counts.bytes_out += len(reply)
            left = self._loop.time()
            counts.served += left - arrived
            if self._manner.limits != Limits():
                counts.timeline.add(arrived, left, False)
            self._send(status, reply)

        if due > self._loop.time():
            self._loop.call_at(due, answer)
        else:
            answer()

    def _count_in(self, counts: Counts, texts: int) -> None:
        counts.requests += 1
        counts.texts += texts
        counts.in_flight += 1
        counts.max_in_flight = max(counts.max_in_flight, counts.in_flight)
        if self._counted is not counts:
            self._counted = counts
            counts.connections += 1

    def _reply(
        self, request: dict[str, Any], texts: list[str], counts: Counts
    ) -> tuple[int, bytes]:
        asked = request.get("encoding_format") == "base64"
        if asked and self._manner.base64 == "refuse":
            counts.refused += 1
            message = "Unrecognized request arguments supplied: encoding_format"
            return 400, error_body(message, "encoding_format")
        as_base64 = asked and self._manner.base64 == "honour"
        counts.base64_answers += as_base64
        model = request["model"]
        return 200, self._rows.answer(texts, model, as_base64=as_base64)

    def _send(self, status: int, body: bytes) -> None:
        self._busy = False
        if self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        if self._buffer:
            self._take_next()


def tell(counts: Counts, manner: Manner) -> dict[str, float]:
    """Return the counts as numbers, with the share of the ideal where it is known."""
    told = {
        name: value
        for name, value in vars(counts).items()
        if name not in ("timeline", "cpu_start")
    }
    told["cpu_seconds"] = time.process_time() - counts.cpu_start
    served = counts.requests - counts.refused
    ideal = manner.limits.ideal(manner.seconds(counts.texts // max(served, 1)))
    if ideal and counts.timeline.came:
        told["share"], told["refused_share"] = counts.timeline.share(ideal)
    return told


def content_length(head: bytes) -> int:
    """Return the length of the body that `head` announces, 0 if it does not."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(make_connection: Callable[[], asyncio.Protocol]) -> None:
    """Listen on a free port of loopback, tell it, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(make_connection, "127.0.0.1", 0, backlog=1024)
    port = listener.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    listener.close()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="A canned embeddings server.")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--base-delay", type=float, default=0.030)
    parser.add_argument("--per-text", type=float, default=0.0005)
    parser.add_argument(
        "--base64", choices=("honour", "ignore", "refuse"), default="honour"
    )
    parser.add_argument("--cap", type=int, help="requests in flight")
    parser.add_argument("--rate", type=float, help="requests a second")
    parser.add_argument("--burst", type=float, default=1.0, help="requests at once")
    parser.add_argument("--cpu", type=int, help="the core to stay on")
    options = parser.parse_args()
    if options.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.cpu})
    rows = Rows(options.width)
    limits = Limits(options.cap, options.rate, options.burst)
    manner = Manner(options.base_delay, options.per_text, options.base64, limits)
    counts = [Counts()]
    gc.collect()
    gc.freeze()  # the rows stay: no collection need look at them again
    asyncio.run(serve(lambda: Connection(rows, manner, counts)))


if __name__ == "__main__":
    main()
