"""Ctrl-C at any moment of a call: nothing paid for is lost, and nothing stays held.

Python hears a signal where a function begins and where a call into C has ended. Here
Ctrl-C comes at each such moment of this library's code in the thread that calls, one
after the other, and the same client goes on with all that it has learned and held.

An async program hears the first Ctrl-C as a cancel from Python 3.11 on, and each other
as a `KeyboardInterrupt` in whatever runs. In asyncio's own code that can lose the wake
of a task, which then sleeps for ever: no library can help there, and no test is made.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import together_embed
from together_embed import EmbeddingsClient
from together_embed.engine.outcome import Outcome
from together_embed.local import LocalEndpoint
from together_embed.transports import timed
from together_embed.transports.async_aiohttp import AiohttpTransport
from together_embed.transports.sync_requests import RequestsTransport

from .raw import right
from .sizes import sized
from .ways import WAYS, Way

# A connection that is dropped amid its work is closed by the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("no_leaks"),
]
OURS = str(Path(together_embed.__file__).parent)
PATIENCE = 30.0


def ctrl_c() -> None:
    raise KeyboardInterrupt


def interrupted(
    work: Callable[[], object],
    moment: int,
    then: int = 0,
    blow: Callable[[], None] = ctrl_c,
) -> bool:
    """Do the work, and break it off at the so-manieth moment of ours.

    Where `then` is given, Ctrl-C comes once more so many moments later.
    """
    left, coming = moment, [then] if then else []

    def hear(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        code = frame.f_code
        # What http.client calls it also calls in finalizers, which swallow all.
        ours = code.co_filename.startswith(OURS) and timed.__file__ != code.co_filename
        # Nothing is heard where a generator ends, nor where a coroutine goes on to what
        # it awaits: either looks like a beginning here.
        again = event == "call" and code.co_flags & inspect.CO_COROUTINE
        deaf = again or code.co_name == "<genexpr>"
        if ours and event in ("call", "c_return") and not deaf:
            left -= 1
            if left == 0:
                left = coming.pop() if coming else -1
                blow()

    before = sys.getprofile()
    gc.disable()  # nor is a finalizer of other tests' objects to be broken off
    sys.setprofile(hear)
    try:
        work()
    except (KeyboardInterrupt, asyncio.CancelledError):
        return True
    finally:
        sys.setprofile(before)
        gc.enable()
    return False


def wait_until(holds: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends_at, what
        time.sleep(0.001)


def threads_of_calls() -> int:
    return sum(t.name == "together-embed" for t in threading.enumerate())


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lists the threads in which a request came home."""
    home: list[int] = []
    send, asend = RequestsTransport.send, AiohttpTransport.send

    def noted(self: RequestsTransport, body: bytes, seconds: float | None) -> Outcome:
        outcome = send(self, body, seconds)
        home.append(threading.get_ident())
        return outcome

    async def anoted(
        self: AiohttpTransport, body: bytes, seconds: float | None
    ) -> Outcome:
        outcome = await asend(self, body, seconds)
        home.append(threading.get_ident())
        return outcome

    monkeypatch.setattr(RequestsTransport, "send", noted)
    monkeypatch.setattr(AiohttpTransport, "send", anoted)
    return home


class Blow:
    """What Ctrl-C does to a call, and what the call had in hand when it came first.

    Args:
        home: The threads in which a request came home.
        cancels: It cancels the main task of an event loop, as Python 3.11 lets it.
    """

    def __init__(self, home: list[int], *, cancels: bool) -> None:
        self._home = home
        self._cancels = cancels
        self._main: asyncio.Task[Any] | None = None
        self.in_hand: int | None = None

    def __call__(self) -> None:
        if self.in_hand is None:
            self.in_hand = sum(here == threading.get_ident() for here in self._home)
        if not self._cancels:
            raise KeyboardInterrupt
        if self._main is not None:
            self._main.cancel()

    def aembed(self, client: EmbeddingsClient, texts: list[str]) -> None:
        asyncio.run(self._aembed(client, texts))

    async def _aembed(self, client: EmbeddingsClient, texts: list[str]) -> None:
        self._main = asyncio.current_task()
        await client.aembed(texts)


@pytest.mark.parametrize(
    ("way", "blows"),
    [*product(WAYS[:2], ["once", "twice"]), (WAYS[1], "cancelled")],
    ids=lambda value: getattr(value, "name", value),
)
@pytest.mark.parametrize(("batches", "stride"), [(1, sized(3, 1)), (4, sized(31, 1))])
def test_ctrl_c_at_any_moment_loses_nothing_paid_for_and_leaves_nothing_held(
    make: Any,
    tmp_path: Path,
    answered: list[int],
    batches: int,
    stride: int,
    way: Way,
    blows: str,
) -> None:
    told: list[int] = []
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        client: EmbeddingsClient = make(
            WAYS[0],
            endpoint.base_url,
            batch_size=2,
            max_concurrency=2,
            cache=tmp_path / "vectors.db",
            on_batch=lambda batch: told.append(batch.texts * (batch.error is None)),
        )
        moment, goes_on = 0, True
        while goes_on:
            moment += stride
            texts = [f"{moment}: {number}" for number in range(2 * batches)]
            answered.clear()
            told.clear()
            then = 1 + moment % 97 if blows == "twice" else 0
            blow = Blow(answered, cancels=blows == "cancelled")
            embed = client.embed if way is WAYS[0] else partial(blow.aembed, client)
            goes_on = interrupted(partial(embed, texts), moment, then, blow)
            kept = max(2 * (blow.in_hand or 0), sum(told))
            if way is WAYS[1] and blows == "twice":  # the second one ends the writing
                kept = 0
            wait_until(lambda: not threads_of_calls(), "a thread stayed")
            wait_until(lambda: not client.stats.in_flight, "a permit was lost")
            assert not client._calls.here()._sharing.known
            paid = {text: endpoint.seen.get(text, 0) for text in texts}
            assert client.embed(texts) == right(texts)
            again = sum(endpoint.seen[text] > paid[text] for text in texts)
            assert again <= len(texts) - kept, "what was paid for was lost"
        assert moment > 100  # it did walk through a call
        print(moment, "moments")


@pytest.mark.parametrize("limit", [1, 3])
def test_ctrl_c_at_any_moment_holds_up_no_other_call_for_the_same_texts(
    make: Any, limit: int
) -> None:
    moment, goes_on = 0, True
    with LocalEndpoint(dimension=8) as endpoint, ThreadPoolExecutor(1) as pool:
        client: EmbeddingsClient = make(
            WAYS[0], endpoint.base_url, batch_size=2, max_concurrency=limit
        )
        while goes_on:
            moment += sized(23, 1)
            texts = [f"{moment}: {number}" for number in range(8)]
            other = pool.submit(client.embed, texts[::-1])
            goes_on = interrupted(partial(client.embed, texts), moment)
            assert other.result(PATIENCE)[::-1] == right(texts)
            wait_until(lambda: not client.stats.in_flight, "a permit was lost")
            assert not client._calls.here()._sharing.known
        assert moment > 100
        print(moment, "moments")
