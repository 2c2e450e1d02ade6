"""A sink in Parquet: the source's columns, and the vectors as fixed-size lists.

The model, the server and the width stand in the schema's notes, beside those that the
source had.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from together_embed.cli.chunks import Chunk
from together_embed.cli.partfile import PartFile
from together_embed.cli.sinks import Layout, Sink
from together_embed.cli.source import Source

if TYPE_CHECKING:
    from together_embed.cli.sinks import Vectors

GROUP_BYTES = 16_000_000
"""Bytes of vectors in a row group, about: 4,000 rows of width 1024."""


class ParquetSink(Sink):
    """A Parquet file in the making; a row group is held, and no more."""

    def __init__(self, path: Path, source: Source, layout: Layout) -> None:
        self._layout = layout
        self._has_id = source.id is not None
        fields = source.schema()
        if not layout.texts:
            fields = fields.remove(fields.get_field_index(source.text))
        self._fields = fields
        self._part = PartFile(path)
        self._writer: parquet.ParquetWriter | None = None
        self._held: list[tuple[pa.Table, Vectors]] = []
        self._bytes = 0

    def write(self, chunk: Chunk, vectors: Vectors) -> None:
        """Add rows."""
        table = chunk.rows.arrow(self._fields)
        if not self._has_id:
            table = table.add_column(0, "id", pa.array(chunk.numbers, pa.int64()))
        self._held.append((table, vectors))
        self._bytes += vectors.nbytes
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def publish(self) -> None:
        """Put the file in its place."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
        self._part.publish()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            # It cannot be let go without its last words, wanted or not.
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
        self._part.discard()

    def _flush(self) -> None:
        """Write what is held as a row group."""
        if not self._held:
            return
        tables, blocks = zip(*self._held, strict=True)
        vectors = np.concatenate(blocks)
        width = vectors.shape[1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        table = pa.concat_tables(tables)
        field = pa.field(self._layout.vectors, column.type, nullable=False)
        table = table.append_column(field, column)
        if self._writer is None:
            self._writer = self._begun(table.schema, width)
        self._writer.write_table(table, row_group_size=len(table))
        self._held, self._bytes = [], 0

    def _begun(self, schema: pa.Schema, width: int) -> parquet.ParquetWriter:
        notes = dict(self._fields.metadata or {})
        for name, value in {**self._layout.about, "dimensions": str(width)}.items():
            notes[f"together_embed.{name}".encode()] = value.encode()
        # No two numbers of a vector are the same: a dictionary of them is a waste.
        others = [name for name in schema.names if name != self._layout.vectors]
        # Not written out: type checkers take these for the bools of their defaults.
        options: dict[str, Any] = {"use_dictionary": others, "write_statistics": others}
        return parquet.ParquetWriter(
            self._part.file,
            schema.with_metadata(notes),
            **options,
        )
