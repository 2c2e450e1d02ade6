"""A source: a file of rows, read in chunks that can be sent; the rest is reported.

Contract: each row of the file comes out once, in a chunk or as a failure. No source
holds more than a chunk. A source can be read any number of times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from together_embed.cli.chunks import Chunk
from together_embed.engine.batching import check
from together_embed.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Failed = Callable[[int, object, str], object]
"""Is told of a row that cannot be sent: its number, its id or None, the reason."""


class Source(ABC):
    """A file of rows.

    Attributes:
        name: What to call it to people.
        unit: What its rows are numbered by, "line" or "row".
        text: The column of the texts.
        id: The column of the ids; None where rows are called by their numbers.
    """

    name: str
    unit: Literal["line", "row"]
    text: str
    id: str | None

    @abstractmethod
    def count(self) -> int:
        """Return how many rows there are; empty lines may be counted as rows."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the columns with types that hold every row's values."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Return the names of the columns, or of those of the first row."""

    @abstractmethod
    def chunks(self, size: int, failed: Failed) -> Iterator[Chunk]:
        """Yield chunks of at most `size` rows that can be sent, in the file's order."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def trouble(text: object) -> str | None:
    """Return why a text cannot be sent, None where it can."""
    try:
        check([text])  # type: ignore[list-item]  # what it is, is the question
    except TypeError:
        return f"the text is of type {type(text).__name__}, not a string"
    except InputError as error:
        return error.message
    return None
