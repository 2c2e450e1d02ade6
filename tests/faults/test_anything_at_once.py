"""Whatever is asked at once, of any server, by any settings: it is right or an error.

Dice choose a server's manners and faults, the settings of one or two clients, and what
threads and event loops do with them side by side: lists, arrays, streams that are left
half way, calls that are cancelled. Each vector that comes out is compared with the
right one, and in the end nothing is left: no task, no permit, no text that is waited
for.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from together_embed import EmbeddingsClient
from together_embed.engine.roles import Role
from together_embed.errors import (
    BadRequestError,
    InputError,
    PayloadTooLargeError,
    UnprocessableError,
)
from together_embed.local import LocalEndpoint
from together_embed.local.hashing import embed
from together_embed.local.limits import Limits

from .sizes import sized

PATIENCE = 60.0
LAWFUL = (BadRequestError, InputError, PayloadTooLargeError, UnprocessableError)
"""What may befall a call: the server, or a setting, refuses a text."""
ROLES: tuple[Role | None, ...] = (None, "query", "document")


def make_server(dice: random.Random) -> dict[str, Any]:
    return {
        "dimension": dice.choice([4, 33]),
        "base64": dice.choice(["honour", "honour", "ignore", "refuse"]),
        "dimensions": dice.choice(["honour", "refuse"]),
        "gzip": True,
        "max_texts": dice.choice([None, None, 1, 7]),
        "max_bytes": dice.choice([None, None, 1500]),
        "max_chars": dice.choice([None, None, 60]),
        "limits": dice.choice([None, None, Limits(max_in_flight=2)]),
        "slots": dice.choice([None, None, 1]),
        "delay": dice.choice([0.0, 0.0, 0.005]),
    }


def make_settings(
    dice: random.Random, server: dict[str, Any], cache: Path
) -> dict[str, Any]:
    asked = [None, 3] if server["dimensions"] == "honour" else [None]
    settings = {
        "batch_size": dice.choice([1, 5, 40]),
        "max_retries": 60,
        "dimensions": dice.choice(asked),
        "cut_to": dice.choice([None, None, 2]),
        "normalize": dice.choice([False, False, True]),
        "encoding_format": dice.choice(["auto", "auto", "float"]),
        "query_prefix": dice.choice([None, "query: "]),
        "document_prefix": dice.choice([None, "passage: "]),
        "hedge": dice.choice([None, None, 0.2]),
        "compression": dice.choice([None, "gzip"]),
        "max_concurrency": dice.choice([None, None, 1]),
        "max_batch_bytes": dice.choice([2_000_000, 3000]),
    }
    if dice.random() < 0.5:
        bound = dice.choice([None, 1_000_000])
        settings |= {"cache": cache, "canary": True, "max_cache_bytes": bound}
    return settings


def make_texts(dice: random.Random) -> list[str]:
    pool = dice.choice([10, 1000])
    ends = ["", "", "é\u2028", "long " * 15]
    return [
        f"text {dice.randrange(pool)} {dice.choice(ends)}"
        for _ in range(dice.choice([0, 1, 1, 5, 60, 150]))
    ]


class Caller:
    """Uses one client as dice say, and knows what is right."""

    def __init__(
        self, client: EmbeddingsClient, settings: dict[str, Any], width: int, seed: int
    ) -> None:
        self._client, self._settings = client, settings
        self._width = settings["dimensions"] or width
        self._dice = random.Random(seed)

    def call(self) -> None:
        texts, role = make_texts(self._dice), self._dice.choice(ROLES)
        client, what = self._client, self._dice.randrange(4)
        try:
            if what == 0:
                self._check(client.embed(texts, role=role), texts, role)
            elif what == 1:
                self._check(client.embed_array(texts, role=role), texts, role)
            elif what == 2:
                partial = client.embed(texts, role=role, on_error="return")
                self._check_partial(partial, texts, role)
            else:
                rows = client.stream(iter(texts), role=role, ordered=False)
                self._check_stream(self._some(rows), texts, role)
        except LAWFUL as error:
            self._check_partial(error.partial, texts, role, whole=what != 3)

    async def acall(self) -> None:
        texts, role = make_texts(self._dice), self._dice.choice(ROLES)
        client, what = self._client, self._dice.randrange(5)
        patience = self._dice.random() * 0.03
        try:
            if what == 0:
                self._check(await client.aembed(texts, role=role), texts, role)
            elif what == 1:
                self._check(await client.aembed_array(texts, role=role), texts, role)
            elif what == 2:
                partial = await client.aembed(texts, role=role, on_error="return")
                self._check_partial(partial, texts, role)
            elif what == 3:
                rows = client.astream(texts, role=role, ordered=False)
                found = [row async for row in self._asome(rows)]
                self._check_stream(iter(found), texts, role)
            else:
                call = client.aembed(texts, role=role)
                rows = await asyncio.wait_for(call, patience)
                self._check(rows, texts, role)
        except asyncio.TimeoutError:
            pass
        except LAWFUL as error:
            self._check_partial(error.partial, texts, role, whole=what != 3)

    def _some(self, rows: Iterator[Any]) -> Iterator[Any]:
        """Leave one stream in four half way."""
        leaves = self._dice.random() < 0.25
        for row in rows:
            yield row
            if leaves and self._dice.random() < 0.1:
                rows.close()  # type: ignore[attr-defined]
                return

    async def _asome(self, rows: AsyncIterator[Any]) -> AsyncIterator[Any]:
        leaves = self._dice.random() < 0.25
        async for row in rows:
            yield row
            if leaves and self._dice.random() < 0.1:
                await rows.aclose()  # type: ignore[attr-defined]
                return

    def _check(self, rows: Any, texts: Sequence[str], role: Role | None) -> None:
        assert len(rows) == len(texts)
        for text, row in zip(texts, rows, strict=True):
            assert list(row) == self._right(text, role)

    def _check_stream(
        self, rows: Iterator[Any], texts: Sequence[str], role: Role | None
    ) -> None:
        seen = set()
        for number, row in rows:
            assert list(row) == self._right(texts[number], role)
            assert number not in seen
            seen.add(number)

    def _check_partial(
        self,
        partial: Any,
        texts: Sequence[str],
        role: Role | None,
        *,
        whole: bool = True,
    ) -> None:
        parts = [*partial.results, *partial.failures, *partial.remaining]
        if whole:  # and no stream, of which rows were taken and texts were not
            assert sorted(parts) == list(range(len(texts)))
        assert len(parts) == len({*parts})
        assert all(isinstance(error, LAWFUL) for error in partial.failures.values())
        for number, row in partial.results.items():
            assert list(row) == self._right(texts[number], role)

    def _right(self, text: str, role: Role | None) -> Any:
        prefix = role and self._settings[f"{role}_prefix"]
        row = embed((prefix or "") + text, self._width)[: self._settings["cut_to"]]
        if not (self._settings["cut_to"] or self._settings["normalize"]):
            return row
        length = math.hypot(*row) or 1.0
        return pytest.approx([number / length for number in row], abs=1e-6)


class Crowd:
    """Callers on threads, some of them with an event loop."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def add(self, callers: list[Caller], *, loop: bool) -> None:
        target = self._run_loop if loop else self._run
        thread = threading.Thread(target=target, args=(callers,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self) -> None:
        ends_at = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
            assert not thread.is_alive(), "a call does not end"
        for error in self.errors:
            raise error

    def _run(self, callers: list[Caller]) -> None:
        try:
            for caller in callers:
                caller.call()
        except BaseException as error:
            self.errors.append(error)

    def _run_loop(self, callers: list[Caller]) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(*(caller.acall() for caller in callers))
            await callers[0].acall()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        try:
            asyncio.run(all_at_once())
        except BaseException as error:
            self.errors.append(error)


@pytest.mark.filterwarnings("ignore::together_embed.errors.RoleDriftWarning")
@pytest.mark.parametrize("seed", range(sized(25, 500)))
def test_whatever_is_asked_at_once_is_right_or_an_error_and_leaves_nothing(
    brief_waits: None, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    server = make_server(dice)
    crowd = Crowd()
    clients: list[tuple[EmbeddingsClient, dict[str, Any]]] = []
    with LocalEndpoint(**server) as endpoint:
        endpoint.storm(dice.choice([0.0, 0.1, 0.3]), seed=seed)
        for _ in range(dice.choice([1, 2])):
            settings = make_settings(dice, server, tmp_path / "vectors.db")
            given = {"api_key": "any", "base_url": endpoint.base_url, **settings}
            clients.append((EmbeddingsClient("m", **given), settings))
        for _ in range(dice.choice([1, 2, 5])):
            how = [dice.choice(clients) for _ in range(dice.choice([1, 4]))]
            callers = [
                Caller(*one, server["dimension"], dice.randrange(10**6)) for one in how
            ]
            crowd.add(callers, loop=dice.random() < 0.5)
        crowd.wait()
        for client, _ in clients:
            left_alone(client)
            client.close()


def left_alone(client: EmbeddingsClient) -> None:
    """See to it that nothing is left once the last request is over."""
    here = client._calls.here()
    ends_at = time.monotonic() + PATIENCE
    while here.flow.in_flight or here._sharing.known:
        assert time.monotonic() < ends_at, "something is left"
        time.sleep(0.001)
