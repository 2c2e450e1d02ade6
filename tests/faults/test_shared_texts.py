"""Texts that several calls want at once, met by failures: none is lost or paid twice.

Nothing is answered before all calls have said what they want: so each of them waits for
requests of others, and what is paid twice was paid for nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from math import hypot
from pathlib import Path
from typing import Any

import pytest

from together_embed import errors
from together_embed.engine.group import Group
from together_embed.engine.guest import Guest
from together_embed.local import LocalEndpoint
from together_embed.local.faults import EVERY_WAY
from together_embed.watch import CANARY

from .raw import Exchange, RawServer, body_for, http, right, vector
from .sizes import sized
from .ways import WAYS, Way

CORE = WAYS[0]
WORDS = 10
TEXTS = [
    " ".join(f"w{number}x{at}" for at in range(25 if number % 4 == 0 else 3))
    for number in range(sized(40, 400))
]
"""Every fourth is longer than `WORDS` words."""
RETRIES = 8
PATIENCE = 30.0
Rows = list[list[float]]


class Door:
    """Lets nothing out of a server before so many calls have said what they want."""

    def __init__(self) -> None:
        self.entered: list[Group] = []
        self.open = threading.Event()

    def answer(self, text: str, width: int) -> list[float]:
        """Be an embedder; the server's only thread waits here."""
        self.open.wait(PATIENCE)
        return vector(text)

    def wait_for(self, calls: int, *futures: Future[Any]) -> None:
        ends_at = time.monotonic() + PATIENCE
        while len(self.entered) < calls and not any(f.done() for f in futures):
            assert time.monotonic() < ends_at, "some never said what they want"
            time.sleep(0.001)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door, enter = Door(), Guest.enter

    def counted(self: Guest, group: Group) -> None:
        enter(self, group)
        door.entered.append(group)

    monkeypatch.setattr(Guest, "enter", counted)
    yield door
    door.open.set()


def both_at_once(client: Any) -> tuple[Rows, Rows]:
    """Make two calls on a loop of this thread's own."""

    async def calls() -> Any:
        return await asyncio.gather(
            client.aembed(TEXTS), client.aembed(TEXTS[::-1]), return_exceptions=True
        )

    one, two = asyncio.run(calls())
    return one, two[::-1]


def all_at_once(client: Any, door: Door) -> list[Rows]:
    """Ask for the same texts on two threads and two loops, six calls in all."""
    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(both_at_once, client) for _ in range(2)]
        threads = [
            pool.submit(client.embed, TEXTS),
            pool.submit(lambda: client.embed(TEXTS[::-1])[::-1]),
        ]
        try:
            door.wait_for(6, *loops, *threads)
        finally:
            door.open.set()
        return [*(f.result() for f in threads), *(r for f in loops for r in f.result())]


# What a long text becomes


def as_it_is(text: str) -> list[str]:
    return [text]


def beginning(text: str) -> list[str]:
    return [" ".join(text.split()[:WORDS])]


def pieces(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[at : at + WORDS]) for at in range(0, len(words), WORDS)]


def joined(parts: list[str]) -> Any:
    """Return the mean of the pieces by their words, as long as one vector of theirs."""
    if len(parts) == 1:
        return vector(parts[0])
    weights = [len(part.split()) for part in parts]
    rows = right(parts)
    length = sum(w * hypot(*row) for w, row in zip(weights, rows, strict=True))
    weighted = [[w * x for x in row] for w, row in zip(weights, rows, strict=True)]
    summed = [sum(numbers) for numbers in zip(*weighted, strict=True)]
    mean = [x / hypot(*summed) * length / sum(weights) for x in summed]
    return pytest.approx(mean, rel=1e-12)


SHORTENED: dict[str, Callable[[str], list[str]]] = {
    "as-it-is": as_it_is,
    "truncate": beginning,
    "split": pieces,
}


@pytest.mark.filterwarnings("ignore::together_embed.errors.LongInputWarning")
@pytest.mark.parametrize("long", SHORTENED)
@pytest.mark.parametrize("kept", [False, True], ids=["no-store", "store-and-canary"])
@pytest.mark.parametrize("seed", range(sized(1, 20)))
def test_a_storm_over_texts_that_six_calls_want_pays_each_once(
    make: Any, door: Door, tmp_path: Path, long: str, kept: bool, seed: int
) -> None:
    settings: dict[str, Any] = {"batch_size": 5, "max_retries": RETRIES}
    if long != "as-it-is":
        count = lambda text: len(text.split())  # noqa: E731
        measured = {"max_input_tokens": WORDS, "count_tokens": count}
        settings |= {"on_long_input": long, **measured}
    if kept:
        settings |= {"cache": tmp_path / "vectors.db", "canary": True}
    meant = [SHORTENED[long](text) for text in TEXTS]
    sent = {part for parts in meant for part in parts}
    with LocalEndpoint(
        dimension=8, remember_texts=True, embedder=door.answer
    ) as endpoint:
        endpoint.storm(0.3, seed=seed, faults=EVERY_WAY)
        client = make(CORE, endpoint.base_url, **settings)
        for rows in all_at_once(client, door):
            assert rows == [joined(parts) for parts in meant]
        paid = dict(endpoint.seen)
        assert paid.pop(CANARY, None) == (1 if kept else None)
        assert paid == dict.fromkeys(sent, 1)
        assert endpoint.requests <= endpoint.failed + len(sent) + kept
        assert client.stats.shared >= len(sent)
        if kept:
            asked = endpoint.requests
            again = make(CORE, endpoint.base_url, **settings)
            assert again.embed(TEXTS) == rows
            assert endpoint.requests == asked


# The first who asks does not stay


class Held:
    """Holds requests back until the door is open, and counts what is answered then."""

    def __init__(self, door: Door, first: Callable[[Exchange], None]) -> None:
        self._door = door
        self._first = first
        self._lock = threading.Lock()
        self.met = 0
        self.paid: Counter[str] = Counter()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self.met += 1
            first = self.met == 1
        self._door.open.wait(PATIENCE)
        if first:
            self._first(exchange)
            return
        exchange.send(exchange.answer)
        with self._lock:
            self.paid.update(exchange.texts)


def refused(exchange: Exchange) -> None:
    exchange.send(http(b"{}", status="401 Unauthorized"))


def lost(exchange: Exchange) -> None:
    exchange.hang_up()


def wrong(exchange: Exchange) -> None:
    exchange.send(http(body_for(exchange.texts[:-1])))


FEW = TEXTS[:20]


@pytest.mark.parametrize("fails", [refused, lost, wrong], ids=lambda act: act.__name__)
def test_where_the_first_who_asks_fails_those_who_wait_get_their_vectors(
    make: Any, door: Door, fails: Callable[[Exchange], None]
) -> None:
    act = Held(door, fails)
    with RawServer(act) as server, ThreadPoolExecutor(4) as pool:
        client = make(CORE, server.url, batch_size=5, max_concurrency=2, max_retries=0)
        calls: list[Callable[[], Rows]] = [
            lambda: client.embed(FEW),
            lambda: asyncio.run(client.aembed(FEW)),
        ]
        futures = [pool.submit(calls[0])]
        door.wait_for(1, *futures)
        while not act.met:
            time.sleep(0.001)
        futures += [pool.submit(calls[at % 2]) for at in (1, 2, 3)]
        door.wait_for(4, *futures)
        door.open.set()
        with pytest.raises(errors.RequestError):
            futures[0].result(PATIENCE)
        assert [f.result(PATIENCE) for f in futures[1:]] == [right(FEW)] * 3
    # The server has stopped, and counted all. The first call's other request was under
    # way when the call ended; whether it was answered, or its connection closed before,
    # is left to the system.
    assert set(act.paid) == set(FEW)
    assert sum(act.paid.values()) <= len(FEW) + 5


async def test_where_the_first_who_asks_is_cancelled_those_who_wait_get_their_vectors(
    make: Any, door: Door
) -> None:
    act = Held(door, refused)
    with RawServer(act) as server:
        client = make(CORE, server.url, batch_size=5, max_concurrency=2)
        first = asyncio.create_task(client.aembed(FEW))
        while act.met < 2:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(client.aembed(FEW)) for _ in range(3)]
        while len(door.entered) < 4:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        door.open.set()
        assert await asyncio.gather(*others) == [right(FEW)] * 3
        await client.aclose()
    assert set(act.paid) == set(FEW)
    assert sum(act.paid.values()) <= len(FEW) + 5 * 2  # what the first had sent
    assert server.requests <= 4 + 2 * 2


@pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.name)
async def test_a_text_that_two_calls_want_at_once_goes_out_once(
    way: Way, door: Door
) -> None:
    """The frameworks' calls as well; LlamaIndex asks for one batch after the other."""
    with LocalEndpoint(
        dimension=8, remember_texts=True, embedder=door.answer
    ) as endpoint:
        model = way.make(endpoint.base_url, batch_size=10)
        ask = getattr(model, way.method)
        texts = TEXTS[:20]
        calls = [asyncio.create_task(ask(wanted)) for wanted in (texts, texts[::-1])]
        while len(door.entered) < (4 if way.name.startswith("llama") else 2):
            await asyncio.sleep(0.001)
        door.open.set()
        one, other = await asyncio.gather(*calls)
        assert (one, other) == (right(texts), right(texts)[::-1])
        assert set(endpoint.seen.values()) == {1}
        await way.client(model).aclose()
