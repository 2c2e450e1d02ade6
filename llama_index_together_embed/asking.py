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
)
from contextlib import contextmanager

from llama_index.core.base.embeddings.base import Embedding

from together_embed.errors import EmbeddingsError

Rows = list[Embedding]
Batches = Iterable[list[str]]
AsyncBatches = AsyncGenerator[list[str], None]
Ask = Callable[[Batches], Generator[Rows, None, None]]
AsyncAsk = Callable[[AsyncBatches], AsyncGenerator[Rows, None]]


def one_by_one(embed: Callable[[str], Embedding]) -> Ask:
    """Ask for each text by itself."""

    def ask(batches: Batches) -> Generator[Rows, None, None]:
        for batch in batches:
            yield [embed(text) for text in batch]

    return ask


def aone_by_one(embed: Callable[[str], Awaitable[Embedding]]) -> AsyncAsk:
    """Ask for each text by itself."""

    async def ask(batches: AsyncBatches) -> AsyncGenerator[Rows, None]:
        async for batch in batches:
            yield [await embed(text) for text in batch]

    return ask


def in_turn(embed: Callable[[list[str]], Rows]) -> Ask:
    """Ask for one batch after another."""

    def ask(batches: Batches) -> Generator[Rows, None, None]:
        done = 0
        for batch in batches:
            with _numbered_from(done):
                rows = embed(batch)
            yield rows
            done += len(batch)

    return ask


def ain_turn(embed: Callable[[list[str]], Awaitable[Rows]]) -> AsyncAsk:
    """Ask for one batch after another."""

    async def ask(batches: AsyncBatches) -> AsyncGenerator[Rows, None]:
        done = 0
        async for batch in batches:
            with _numbered_from(done):
                rows = await embed(batch)
            yield rows
            done += len(batch)

    return ask


async def achain(
    first: list[str], rest: AsyncGenerator[list[str], None]
) -> AsyncGenerator[list[str], None]:
    """Put the first batch in front of the others again."""
    yield first
    async for batch in rest:
        yield batch


@contextmanager
def _numbered_from(start: int) -> Iterator[None]:
    """Let an error name its texts by their place among all that was asked."""
    try:
        yield
    except EmbeddingsError as error:
        error.indices = tuple(index + start for index in error.indices)
        raise
