"""Sinks: rows and their vectors, written as they come, in a file that appears whole.

Contract: what `write` was given stands in the file after `publish`, in order; nothing
stands there before. A sink holds no more than what it writes at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from together_embed.cli.chunks import Chunk
from together_embed.cli.exits import USAGE, CommandError
from together_embed.cli.partfile import PartFile
from together_embed.cli.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(frozen=True)
class Layout:
    """What a file of vectors looks like.

    Attributes:
        vectors: The name of the column of the vectors.
        texts: Whether the column of the texts is kept.
        about: What is noted of the vectors, for a format that has a place for it.
    """

    vectors: str
    texts: bool
    about: Mapping[str, str]

    def check(self, source: Source) -> None:
        """Refuse a name that the rows use already.

        Raises:
            CommandError: They do.
        """
        if self.vectors in source.columns():
            raise CommandError(
                f"{source.name} has a column {self.vectors!r} already; "
                "name the vectors otherwise with --column",
                USAGE,
            )


class Sink(ABC):
    """A file of vectors in the making."""

    @abstractmethod
    def write(self, chunk: Chunk, vectors: Vectors) -> None:
        """Add rows; `vectors` has the shape (rows, width)."""

    @abstractmethod
    def publish(self) -> None:
        """Put the whole file in its place."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind. After `publish` it does nothing."""


class JsonSink(Sink):
    """A JSON object on each line: the row's fields, and its vector as numbers."""

    def __init__(self, path: Path, source: Source, layout: Layout) -> None:
        self._source, self._layout = source, layout
        self._part = PartFile(path)

    def write(self, chunk: Chunk, vectors: Vectors) -> None:
        """Add rows."""
        rows = zip(chunk.ids, chunk.rows.dicts(), vectors.tolist(), strict=True)
        self._part.file.writelines(
            _encode(self._object(name, row, vector)) + b"\n"
            for name, row, vector in rows
        )

    def publish(self) -> None:
        """Put the file in its place."""
        self._part.publish()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._part.discard()

    def _object(
        self, name: object, row: Mapping[str, Any], vector: list[float]
    ) -> dict[str, Any]:
        fields = dict(row) if self._source.id else {"id": name, **row}
        if not self._layout.texts:
            del fields[self._source.text]
        fields[self._layout.vectors] = vector
        return fields


class NumpySink(Sink):
    """A matrix of float32 in `.npy`, and the ids beside it, a JSON value on each line.

    The ids are put in place first: where the matrix is, its ids are.
    """

    def __init__(self, path: Path) -> None:
        self._part = PartFile(path)
        try:
            self._ids = PartFile(ids_beside(path))
        except BaseException:
            self._part.discard()
            raise
        self._shape = (0, 0)

    def write(self, chunk: Chunk, vectors: Vectors) -> None:
        """Add rows."""
        count, width = vectors.shape
        if self._shape == (0, 0):
            self._part.file.write(_npy_header(0, width))
        self._shape = self._shape[0] + count, width
        self._part.file.write(np.ascontiguousarray(vectors, "<f4").data)
        self._ids.file.writelines(_encode(name) + b"\n" for name in chunk.ids)

    def publish(self) -> None:
        """Put both files in their places."""
        self._part.file.seek(0)
        self._part.file.write(_npy_header(*self._shape))
        self._part.path.unlink(missing_ok=True)  # old vectors never meet new ids
        self._ids.publish()
        self._part.publish()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._part.discard()
        self._ids.discard()


def ids_beside(path: Path) -> Path:
    """Return the file of the ids that belong to the vectors of `path`."""
    return path.with_suffix(".ids.jsonl")


def _npy_header(count: int, width: int) -> bytes:
    """Return the head of a `.npy` file, version 1.0: 128 bytes, whatever the count."""
    words = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {width}), }}"
    start = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    return start + f"{words:117}\n".encode()
