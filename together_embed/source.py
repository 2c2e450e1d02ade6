"""Where texts come from: iterables of either colour, brought into batches."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import TypeVar

Item = TypeVar("Item")


def batched(texts: Iterable[str], size: int) -> Iterator[Sequence[str]]:
    """Yield lists of `size` texts, the last one shorter; so it is where `texts` fails.

    Raises:
        TypeError: `texts` is a bare string, whose characters nobody wants embedded.
    """
    _refuse_bare(texts)
    batch: list[str] = []
    try:
        for text in texts:
            batch.append(text)
            if len(batch) == size:
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


async def abatched(
    texts: Iterable[str] | AsyncIterable[str], size: int
) -> AsyncIterator[Sequence[str]]:
    """Do what `batched` does, from either iterable."""
    _refuse_bare(texts)
    batch: list[str] = []
    try:
        async for text in each(texts):
            batch.append(text)
            if len(batch) == size:
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


async def each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Yield the items of either iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _refuse_bare(texts: object) -> None:
    if isinstance(texts, (str, bytes)):
        raise TypeError(
            f"texts is a bare {type(texts).__name__}; hand over an iterable of strings"
        )
