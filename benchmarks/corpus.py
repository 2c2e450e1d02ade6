"""Say which texts are embedded, and which vectors a right answer to them holds.

The vector of a text is one of `ROWS` rows, picked by the text's CRC-32, so that the
server answers from a table and whoever holds the texts can check what came back. The
rows are made of raw bits of PCG64, a stream that numpy promises never to change: two
processes with two versions of numpy make the same table.

numpy is imported where it is used: a client's peak memory is read before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

ROWS = 4096
SEED = 20_261
_SENTENCE = (
    "a measure of how well the harbour wall kept out a winter storm while the boats "
    "within it were lifted and let down by what was left of the waves"
)
_WORDS = _SENTENCE.split()


def make_texts(count: int, first: int = 0) -> list[str]:
    """Return `count` different texts of about 200 characters, numbered from `first`."""
    return [_make_text(number) for number in range(first, first + count)]


def _make_text(number: int) -> str:
    turn = number % len(_WORDS)
    words = _WORDS[turn:] + _WORDS[:turn] + _WORDS[:10]
    return f"Note {number}: {' '.join(words)}."


def row_of(text: str) -> int:
    """Return the number of the row that is the vector of `text`."""
    return crc32(text.encode()) % ROWS


def make_table(width: int) -> NDArray[np.float32]:
    """Return the table, of shape `(ROWS, width)`: values within 2**-5 of zero."""
    import numpy as np

    bits = np.random.PCG64(SEED).random_raw(ROWS * width)
    # 24 bits fill the mantissa of a float32; a power of two keeps them exact.
    steps: NDArray[np.float32] = (bits >> np.uint64(40)).astype(np.float32)
    table: NDArray[np.float32] = steps / np.float32(2**28) - np.float32(2**-5)
    return table.reshape(ROWS, width)


def count_right(texts: Sequence[str], vectors: Any, width: int) -> int:
    """Return how many of `vectors` are, as float32, bit for bit those of `texts`."""
    import numpy as np

    table = make_table(width)
    right = 0
    for text, vector in zip(texts, vectors, strict=False):
        row = np.asarray(vector, dtype=np.float32)
        right += bool(np.array_equal(row, table[row_of(text)]))
    return right
