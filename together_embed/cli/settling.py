"""Chunks in, chunks with their vectors out: the seam between files and the client."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from together_embed.cli.chunks import Chunk
from together_embed.client import EmbeddingsClient
from together_embed.errors import EmbeddingsError

if TYPE_CHECKING:
    from together_embed.cli.sinks import Vectors

Settled = tuple[Chunk, "Vectors", dict[int, EmbeddingsError]]
"""A chunk, the vectors of its rows but the failed ones, and those by their places."""


def embed_rows(
    client: EmbeddingsClient, chunks: Iterable[Chunk]
) -> Generator[Settled, None, None]:
    """Yield each chunk in order with what has become of its texts.

    Raises:
        EmbeddingsError: Something that no text is to blame for.
    """
    open_: deque[Chunk] = deque()

    def texts() -> Iterator[str]:
        for chunk in chunks:
            open_.append(chunk)
            yield from chunk.texts

    first = 0  # the number of the first chunk's first text
    settled = 0
    blocks: list[Vectors] = []
    failed: dict[int, EmbeddingsError] = {}
    stream = client.stream_arrays(texts(), role="document", on_error="return")
    for number, found in stream:
        if isinstance(found, EmbeddingsError):
            failed[number] = found
            settled = number + 1
        else:
            blocks.append(found)
            settled = number + len(found)
        while open_ and settled >= first + len(open_[0].texts):
            chunk = open_.popleft()
            last = first + len(chunk.texts)
            mine = {n - first: failed.pop(n) for n in sorted(failed) if n < last}
            vectors, blocks = _split(blocks, len(chunk.texts) - len(mine))
            yield chunk, vectors, mine
            first = last


def _split(blocks: list[Vectors], count: int) -> tuple[Vectors, list[Vectors]]:
    """Return the first rows of the blocks as one, and the blocks of the rest."""
    if not blocks:
        return np.empty((0, 0), np.float32), blocks
    whole = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    rest = whole[count:]
    return whole[:count], [rest] if len(rest) else []
