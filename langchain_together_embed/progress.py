"""The bar of `show_progress_bar`: a call in steps, and otherwise as without a bar.

Texts are checked before the first step, equal ones go out once, and an error names its
texts by their place in the list, as `EmbeddingsClient.embed` does all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from together_embed.client import EmbeddingsClient
from together_embed.engine import batching
from together_embed.errors import ConfigurationError, EmbeddingsError, InputError

Vectors = list[list[float]]


def embed(client: EmbeddingsClient, texts: Sequence[str]) -> Vectors:
    """Do what `client.embed` does, and show how many texts are done."""
    call = _Call(client, texts)
    with call.shown():
        for rows in client.embed_batches(call.batches):
            call.take(rows)
    return call.result()


async def aembed(client: EmbeddingsClient, texts: Sequence[str]) -> Vectors:
    """Do what `client.aembed` does, and show how many texts are done."""
    call = _Call(client, texts)
    with call.shown():
        steps: Any = client.aembed_batches(call.batches)
        async with aclosing(steps):
            async for rows in steps:
                call.take(rows)
    return call.result()


def needs_tqdm() -> None:
    """Say what to install where there is nothing to draw a bar with.

    Raises:
        ConfigurationError: tqdm is not installed.
    """
    if find_spec("tqdm") is None:
        raise ConfigurationError("show_progress_bar=True needs tqdm: pip install tqdm")


class _Call:
    """The texts of one call, the different ones in batches, and their vectors."""

    def __init__(self, client: EmbeddingsClient, texts: Sequence[str]) -> None:
        _check(texts)
        self._texts = texts
        self._places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            self._places.setdefault(text, []).append(place)
        unique = list(self._places)
        size = client.settings.batch_size
        self.batches = [unique[i : i + size] for i in range(0, len(unique), size)]
        self._sizes = [sum(map(self._count, batch)) for batch in self.batches]
        self._rows: Vectors = []
        self._taken = 0

    def _count(self, text: str) -> int:
        return len(self._places[text])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar for the time of the block; number a failure's texts anew."""
        tqdm = import_module("tqdm.auto").tqdm  # for those who want to see a bar
        with tqdm(total=len(self._texts), unit="text", desc="Embedding") as self._bar:
            try:
                yield
            except EmbeddingsError as error:
                unique = list(self._places.values())
                places = [at for index in error.indices for at in unique[index]]
                error.indices = tuple(sorted(places))
                raise

    def take(self, rows: Vectors) -> None:
        """Take the vectors of the next batch."""
        self._rows.extend(rows)
        self._bar.update(self._sizes[self._taken])
        self._taken += 1

    def result(self) -> Vectors:
        """Return a vector for each text; equal texts get lists of their own."""
        results: Vectors = [[]] * len(self._texts)
        for row, places in zip(self._rows, self._places.values(), strict=True):
            for place in places:
                results[place] = list(row)
        return results


def _check(texts: Sequence[str]) -> None:
    """Refuse the whole call for one bad text: the client would meet it half-way."""
    batching.check(texts)
    index = -1
    try:
        for index, text in enumerate(texts):  # noqa: B007
            text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a lone surrogate at character {error.start} cannot be sent",
            indices=(index,),
        ) from None
