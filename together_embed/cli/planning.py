"""The work of `together-embed plan`: what embedding a file would take; nothing is sent.

Of each text a digest of 8 bytes and two numbers are held, and no more: a million texts
take 20 MB. Two different texts share a digest about once in 10^7 files of that size.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from together_embed.cli.chunks import Chunk
from together_embed.cli.exits import DONE, SOME_FAILED
from together_embed.cli.source import Source
from together_embed.cli.words import clock_words, many
from together_embed.client import EmbeddingsClient
from together_embed.engine import wire
from together_embed.engine.roles import preset
from together_embed.engine.tokens import estimator
from together_embed.memory import Memory
from together_embed.store import Store

SHOWN = 10
"""Texts that are too long, and rows that cannot be sent, are named up to so many."""
CHUNK = 500
UNNAMED = "unnamed"
"""Stands for the model where none is named: then nothing is looked up under it."""


@dataclass(frozen=True)
class Wish:
    """What the user says of the job.

    Attributes:
        model: The model, if it is named.
        context: How many tokens it reads, for a model that is not known.
        cache: The file that an earlier run kept its vectors in, if there was one.
        settings: Further settings of the client.
    """

    model: str | None
    context: int | None
    cache: Path | None
    settings: Mapping[str, Any]


@dataclass
class Forecast:
    """What embedding a file would take.

    Attributes:
        source: The file.
        texts: Rows with a text that can be sent.
        bad: Rows that cannot be sent.
        bad_rows: The first of them, by number, with the reason.
        duplicates: Texts that are equal to an earlier one.
        known: Different texts that the cache has; None where that is not known.
        to_send: Texts that would be sent.
        requests: Requests that would take, about.
        tokens: Tokens of the texts to send, estimated rather too high than too low.
        context: Tokens that the model reads; None where not known.
        too_long: Texts that may be longer, by the same estimate; None likewise.
        too_long_rows: Numbers of the first of them.
        speed: Texts a second that the server carried when a job with this cache was
            last at work; None where that is not known.
        limit: The limit that was named, in requests a second.
        seconds: The least time, at the limit that was named; without one, about what
            it takes at that speed; None where neither is known.
        unit: What rows are numbered by.
    """

    source: str
    unit: str
    texts: int = 0
    bad: int = 0
    bad_rows: dict[int, str] = field(default_factory=dict)
    duplicates: int = 0
    known: int | None = None
    to_send: int = 0
    requests: int = 0
    tokens: int = 0
    context: int | None = None
    too_long: int | None = None
    too_long_rows: list[int] = field(default_factory=list)
    speed: float | None = None
    limit: float | None = None
    seconds: float | None = None

    @property
    def code(self) -> int:
        """The exit code: that of `embed`, were every text accepted."""
        return SOME_FAILED if self.bad else DONE

    def fail(self, number: int, _name: object, reason: str) -> None:
        """Take notice of a row that cannot be sent."""
        self.bad += 1
        if len(self.bad_rows) < SHOWN:
            self.bad_rows[number] = reason

    def lines(self) -> list[str]:
        """Return it in words."""
        known = "unknown: name --model and OUT, or --cache"
        long = "unknown: name a known --model, or pass --max-input-tokens"
        if self.known is not None:
            known = many(self.known, "text")
        if self.too_long is not None:
            long = (
                f"{self.too_long or 'none'} over {self.context:,} tokens{self._where()}"
            )
        requests = many(self.requests, "request")
        said = [
            f"texts        {self.texts:,}",
            f"duplicates   {self.duplicates:,}",
            f"in the cache {known}",
            f"to send      {many(self.to_send, 'text')} in about {requests}",
            f"tokens       about {self.tokens:,}",
            f"too long     {long}",
            f"time         {self._time()}",
        ]
        if self.bad:
            said.append(f"cannot send  {many(self.bad, 'row')}")
            said += [
                f"             {self.unit} {number}: {why}"
                for number, why in self.bad_rows.items()
            ]
        return said

    def _time(self) -> str:
        if self.seconds is None:
            return "unknown: name a limit with --requests-per-second"
        if self.speed is None or self.limit is not None:
            return f"{clock_words(self.seconds)} or more, at that limit"
        return (
            f"about {clock_words(self.seconds)}, at the {self.speed:,.0f} texts a "
            "second of the last run"
        )

    def _where(self) -> str:
        if not self.too_long_rows:
            return ""
        more = ", …" if len(self.too_long_rows) < (self.too_long or 0) else ""
        numbers = ", ".join(map(str, self.too_long_rows))
        unit = self.unit if self.too_long == 1 else f"{self.unit}s"
        return f" ({unit} {numbers}{more})"


def survey(source: Source, wish: Wish) -> Forecast:
    """Read a source, and say what embedding it would take.

    Raises:
        ConfigurationError: A setting cannot work.
        OSError: A file cannot be read.
    """
    client = EmbeddingsClient(wish.model or UNNAMED, **wish.settings)
    memory = None
    if wish.model and wish.cache:
        memory = Memory(Store(wish.cache), client.settings)
    tally = _Tally(client, memory, wish)
    forecast = Forecast(source.name, source.unit)
    forecast.speed = memory.speed if memory else None
    try:
        for chunk in source.chunks(CHUNK, forecast.fail):
            tally.add(chunk)
    finally:
        if memory:
            memory.close()
    tally.fill(forecast)
    return forecast


class _Tally:
    """What is held of each text, in columns."""

    def __init__(
        self, client: EmbeddingsClient, memory: Memory | None, wish: Wish
    ) -> None:
        known = preset(wish.model) if wish.model else None
        self._context = wish.context or (known.context if known else None)
        self._count = estimator(wish.model or UNNAMED)
        self._settings = client.settings
        self._prefix = client.settings.roles.prefix("document")
        self._memory = memory
        self._digests = array("Q")
        self._sizes = array("Q")
        self._tokens = array("L")
        self._found = bytearray()
        self._long: list[int] = []
        self._longer = 0

    def add(self, chunk: Chunk) -> None:
        """Take notice of a chunk's texts."""
        sent = [self._prefix + text for text in chunk.texts]
        for number, text in zip(chunk.numbers, sent, strict=True):
            tokens = self._count(text)
            self._digests.append(_digest(text))
            self._sizes.append(wire.size(text))
            self._tokens.append(tokens)
            if self._context and tokens > self._context:
                self._longer += 1
                if len(self._long) < SHOWN:
                    self._long.append(number)
        self._found += self._look_up(sent)

    def _look_up(self, sent: Sequence[str]) -> bytes:
        if self._memory is None:
            return bytes(len(sent))
        return bytes(row is not None for row in self._memory.recall(sent))

    def fill(self, forecast: Forecast) -> None:
        """Work out what was asked for."""
        digests = np.frombuffer(self._digests, np.uint64)
        _, first = np.unique(digests, return_index=True)
        found = np.frombuffer(self._found, np.bool_)
        new = np.sort(first[~found[first]])
        forecast.texts = len(digests)
        forecast.duplicates = len(digests) - len(first)
        if self._memory is not None:
            forecast.known = len(first) - len(new)
        forecast.to_send = len(new)
        forecast.requests = self._requests(new)
        tokens = np.frombuffer(self._tokens, np.dtype("L"))
        forecast.tokens = int(tokens[new].sum())
        forecast.context = self._context
        if self._context:
            forecast.too_long = self._longer
            forecast.too_long_rows = self._long
        forecast.limit = rate = self._settings.requests_per_second
        if rate:
            forecast.seconds = forecast.requests / rate
        elif forecast.speed:
            forecast.seconds = forecast.to_send / forecast.speed

    def _requests(self, new: Any) -> int:
        """Count requests: what is new in each batch, cut by bytes where it must be."""
        if not len(new):
            return 0
        sizes = np.frombuffer(self._sizes, np.uint64)[new].astype(float)
        batches = np.bincount(new // self._settings.batch_size, weights=sizes)
        room = float(self._settings.max_batch_bytes)
        return int(np.ceil(batches[batches > 0] / room).sum())


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
