"""The forms in which vectors are handed out: lists of floats, or one float32 array.

A form turns the embeddings of an answer into a block of rows, and blocks into a result.
Either refuses what is not right in the numbers themselves: an empty row, two widths,
what is no base64 of float32, what is not finite.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol, Union

from together_embed.engine.collector import spare
from together_embed.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = list[float]
"""One embedding: `width` Python floats."""
Embedding = Union[Row, bytes, "NDArray[np.float64]"]
"""One embedding as an answer holds it: numbers, or the little-endian float32 of base64;
numbers for an array may be doubles, where simdjson is installed.
"""


class InvalidReply(Exception):  # noqa: N818 - it names an answer
    """A 200 that is no answer to the request; the message says why."""


class ErrorReply(InvalidReply):
    """A 200 that holds an error; the message is the server's own, not yet scrubbed."""


class OtherWidth(InvalidReply):
    """All rows are of one width, which is another than it should be.

    Attributes:
        wider: They are wider; a row that lost some of its numbers is not.
    """

    def __init__(self, words: str, *, wider: bool) -> None:
        super().__init__(words)
        self.wider = wider


class Form(Protocol):
    """How rows are kept.

    Attributes:
        takes_doubles: Whether an embedding need not have been Python floats.
    """

    takes_doubles: bool

    def read(self, embeddings: Sequence[Embedding], width: int | None) -> Any:
        """Return the block of an answer's embeddings, each `width` wide if known.

        Raises:
            InvalidReply: A row is not right.
        """

    def unpack(self, code: str, rows: Sequence[bytes]) -> Any:
        """Return a block of rows of one width, kept as little-endian "f" or "d".

        Raises:
            InvalidReply: As `read` would raise of such a row.
        """

    def empty(self, count: int, width: int) -> Any:
        """Return what `count` rows will be put into."""

    def spread(self, rows: Any, places: Sequence[int]) -> Any:
        """Return the row of each place; places that are the same share no memory."""


class Lists:
    """Rows are lists of Python floats, as vector stores want them."""

    takes_doubles = False

    def read(self, embeddings: Sequence[Embedding], width: int | None) -> list[Row]:
        """Return a list for each embedding."""
        block = []
        for number, embedding in enumerate(embeddings):
            plain = embedding if isinstance(embedding, list) else None
            found = _width(embedding, number) if plain is None else len(plain)
            width = width or found
            if not found or found != width:
                raise _mismatch(embeddings, number, width)
            block.append(plain or _floats(embedding, number))
        spare(block)
        return block

    def unpack(self, code: str, rows: Sequence[bytes]) -> list[Row]:
        """Return the bytes as lists."""
        block = [_numbers(code, row) for row in rows]
        spare(block)
        return block

    def empty(self, count: int, width: int) -> list[Row]:  # noqa: ARG002 - any width
        """Return a list of rows to come."""
        return [[]] * count

    def spread(self, rows: list[Row], places: Sequence[int]) -> list[Row]:
        """Return a list of its own for each place."""
        used: set[int] = set()
        spread = []
        for place in places:
            spread.append(rows[place].copy() if place in used else rows[place])
            used.add(place)
        spare(spread)
        return spread


LISTS = Lists()


class Arrays:
    """Rows are those of one float32 array; base64 gets there without a Python float."""

    takes_doubles = True

    def __init__(self) -> None:
        try:
            import numpy
        except ModuleNotFoundError:
            raise ConfigurationError(
                'arrays need numpy: pip install "together-embed[arrays]"'
            ) from None
        self._np = numpy

    def read(
        self, embeddings: Sequence[Embedding], width: int | None
    ) -> NDArray[np.float32]:
        """Return an array of shape (len(embeddings), width)."""
        numpy = self._np
        width = width or _width(embeddings[0], 0)
        if not width:
            raise _mismatch(embeddings, 0, width)
        block = self.empty(len(embeddings), width)
        packer, flat = Struct(f"={width}f"), block.data.cast("B")
        for number, embedding in enumerate(embeddings):
            if _width(embedding, number) != width:
                raise _mismatch(embeddings, number, width)
            if isinstance(embedding, bytes):
                block[number] = numpy.frombuffer(embedding, "<f4")
                continue
            if isinstance(embedding, numpy.ndarray):
                with numpy.errstate(over="ignore"):  # it is infinite then
                    block[number] = embedding
                continue
            try:  # packing takes half as long as numpy's reading of a list
                packer.pack_into(flat, number * packer.size, *embedding)
            except OverflowError:
                raise _infinite(number) from None
        self._refuse_infinite(block)
        return block

    def unpack(self, code: str, rows: Sequence[bytes]) -> NDArray[np.float32]:
        """Return the bytes as one array."""
        numpy = self._np
        joined = numpy.frombuffer(b"".join(rows), f"<{code}").reshape(len(rows), -1)
        with numpy.errstate(over="ignore"):  # it is infinite then
            block: NDArray[np.float32] = joined.astype(numpy.float32, copy=False)
        if code == "d":
            self._refuse_infinite(block)
        return block

    def empty(self, count: int, width: int) -> NDArray[np.float32]:
        """Return an array whose rows are to come."""
        rows: NDArray[np.float32] = self._np.empty((count, width), self._np.float32)
        return rows

    def spread(
        self, rows: NDArray[np.float32], places: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return a copy with a row for each place."""
        spread: NDArray[np.float32] = rows[list(places)]
        return spread

    def _refuse_infinite(self, block: NDArray[np.float32]) -> None:
        finite = self._np.isfinite(block)
        if not finite.all():
            raise _infinite(int(finite.all(axis=1).argmin()))


def _width(embedding: Embedding, number: int) -> int:
    """Return how many numbers an embedding holds."""
    if not isinstance(embedding, bytes):
        return len(embedding)
    if len(embedding) % 4:
        raise InvalidReply(f"row {number} is no base64 of float32 numbers")
    return len(embedding) // 4


def _mismatch(embeddings: Sequence[Embedding], number: int, width: int) -> InvalidReply:
    """Say that a row is not as wide as it should be, and whether that goes for all."""
    found = _width(embeddings[number], number)
    words = f"row {number} is {found} wide, not {width or 'wider'}"
    if found and len({*map(len, embeddings)}) == 1:
        return OtherWidth(words, wider=found > width)
    return InvalidReply(words)


def _infinite(number: int) -> InvalidReply:
    return InvalidReply(f"row {number} holds a number that is no finite float32")


def _floats(embedding: Embedding, number: int) -> Row:
    if not isinstance(embedding, bytes):
        return [*map(float, embedding)]
    row = _numbers("f", embedding)
    # The sum of finite float32 cannot overflow a double: it speaks for each number.
    if not math.isfinite(sum(row)):
        raise _infinite(number)
    return row


def _numbers(code: str, data: bytes) -> Row:
    numbers: array[float] = array(code, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    row: Row = numbers.tolist()
    return row
