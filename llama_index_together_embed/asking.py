"""Ways to ask an adapter's own methods for batches, where the client is not asked.

Each takes a method and gives a function from batches of texts to batches of vectors, as
`EmbeddingsClient.embed_batches` is one. LlamaIndex lets subclasses redefine the methods
that embed, and what they do to a text has to happen on every way.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager

from llama_index.core.base.embeddings.base import Embedding

from together_embed.errors import EmbeddingsError

Rows = list[Embedding]
Told = Sequence[Embedding | EmbeddingsError]
"""The same, with an error in the place of the vector of a text that was refused."""
Batches = Iterable[list[str]]
AsyncBatches = AsyncGenerator[list[str], None]
Ask = Callable[[Batches], Generator[Told, None, None]]
AsyncAsk = Callable[[AsyncBatches], AsyncGenerator[Told, None]]


def one_by_one(embed: Callable[[str], Embedding]) -> Ask:
    """Ask for each text by itself."""

    def ask(batches: Batches) -> Generator[Told, None, None]:
        for batch in batches:
            yield [embed(text) for text in batch]

    return ask


def aone_by_one(embed: Callable[[str], Awaitable[Embedding]]) -> AsyncAsk:
    """Ask for each text by itself."""

    async def ask(batches: AsyncBatches) -> AsyncGenerator[Told, None]:
        async for batch in batches:
            yield [await embed(text) for text in batch]

    return ask


def in_turn(embed: Callable[[list[str]], Rows]) -> Ask:
    """Ask for one batch after another."""

    def ask(batches: Batches) -> Generator[Told, None, None]:
        done = 0
        for batch in batches:
            with _numbered_from(done, len(batch)):
                rows = embed(batch)
            yield rows
            done += len(batch)

    return ask


def ain_turn(embed: Callable[[list[str]], Awaitable[Rows]]) -> AsyncAsk:
    """Ask for one batch after another."""

    async def ask(batches: AsyncBatches) -> AsyncGenerator[Told, None]:
        done = 0
        async for batch in batches:
            with _numbered_from(done, len(batch)):
                rows = await embed(batch)
            yield rows
            done += len(batch)

    return ask


@contextmanager
def _numbered_from(start: int, count: int) -> Iterator[None]:
    """Let an error name its texts by their place among all that was asked."""
    try:
        yield
    except EmbeddingsError as error:
        numbers = range(start, start + count)
        if error.partial is None:
            error.indices = tuple(numbers[at] for at in error.indices)
        else:
            error.partial = error.partial.renumbered(numbers)
        raise
