"""A source in Parquet: its columns keep their types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from together_embed.cli.chunks import Arrow, Chunk
from together_embed.cli.columns import find_id, find_text
from together_embed.cli.exits import USAGE, CommandError
from together_embed.cli.source import Failed, Source, trouble

if TYPE_CHECKING:
    import pyarrow as pa

PIECE = 1 << 20
"""Bytes that are read at once of each column."""


class ParquetSource(Source):
    """A Parquet file; its columns keep their types."""

    unit: Literal["line", "row"] = "row"

    def __init__(
        self, file: BinaryIO, name: str, text: str | None, id_: str | None
    ) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self.name = name
        try:
            self._parquet = parquet.ParquetFile(file, buffer_size=PIECE)
        except pa.ArrowInvalid as error:
            raise CommandError(f"{name} is no Parquet file: {error}") from None
        self._file = file
        columns = self.columns()
        self.text = find_text(columns, text, name)
        self.id = find_id(columns, id_, name)
        type_ = self.schema().field(self.text).type
        value = type_.value_type if pa.types.is_dictionary(type_) else type_
        if str(value) not in ("string", "large_string", "string_view"):
            raise CommandError(
                f"the column {self.text!r} of {name} is of type {type_}, not text; "
                "name another with --text",
                USAGE,
            )

    def count(self) -> int:
        """Return what the file says."""
        rows: int = self._parquet.metadata.num_rows
        return rows

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        names: list[str] = self.schema().names
        return names

    def schema(self) -> pa.Schema:
        """Return the file's own schema, its notes included."""
        return self._parquet.schema_arrow

    def chunks(self, size: int, failed: Failed) -> Iterator[Chunk]:
        """Yield chunks of rows, and tell of those without a text."""
        import pyarrow as pa

        first = 1
        for batch in self._parquet.iter_batches(batch_size=size):
            table = pa.Table.from_batches([batch])
            numbers = range(first, first + len(table))
            texts: list[Any] = table.column(self.text).to_pylist()
            ids = table.column(self.id).to_pylist() if self.id else numbers
            chunk = Chunk(numbers, ids, texts, Arrow(table))
            bad = {n: why for n, why in enumerate(map(trouble, texts)) if why}
            for place, why in bad.items():
                failed(numbers[place], ids[place] if self.id else None, why)
            if len(bad) < len(texts):
                yield chunk.without(bad)
            first += len(table)

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()
        self._file.close()
