"""Rows on their way from a source to a sink: some texts, and all that goes with them.

A row is a dictionary, or stays what it was in an Arrow table: no type of a Parquet
file is lost by the way. pyarrow is loaded only where Parquet is read or written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from together_embed.cli.exits import CommandError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
JSON_FIELD = {b"together_embed.encoding": b"json"}
"""Marks a column of Parquet whose values are JSON: its rows were not all of a type."""


class Rows(Protocol):
    """The rows of a chunk, in whichever form they were read."""

    def take(self, places: Sequence[int]) -> Rows:
        """Return the rows at these places."""
        ...

    def dicts(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows as dictionaries."""
        ...

    def arrow(self, schema: pa.Schema) -> pa.Table:
        """Return the rows as a table of this schema."""


@dataclass(frozen=True)
class Chunk:
    """Rows that can be sent.

    Attributes:
        numbers: Where each stands in its file, counted from 1.
        ids: What each is called.
        texts: What is to be embedded of each.
        rows: All fields of each.
    """

    numbers: Sequence[int]
    ids: Sequence[Any]
    texts: Sequence[str]
    rows: Rows

    def without(self, places: Collection[int]) -> Chunk:
        """Return the chunk less the rows at these places."""
        if not places:
            return self
        kept = [n for n in range(len(self.texts)) if n not in places]
        return replace(
            self,
            numbers=[self.numbers[n] for n in kept],
            ids=[self.ids[n] for n in kept],
            texts=[self.texts[n] for n in kept],
            rows=self.rows.take(kept),
        )


@dataclass(frozen=True)
class Dicts:
    """Rows that were read as dictionaries; a field may be missing from any."""

    rows: Sequence[Row]

    def take(self, places: Sequence[int]) -> Dicts:
        """Return the rows at these places."""
        return Dicts([self.rows[place] for place in places])

    def dicts(self) -> Sequence[Row]:
        """Return the rows themselves."""
        return self.rows

    def arrow(self, schema: pa.Schema) -> pa.Table:
        """Return the rows as a table; what is missing from one is null there."""
        import pyarrow as pa

        columns = [pa.array(self._column(field), field.type) for field in schema]
        return pa.table(columns, schema=schema)

    def _column(self, field: pa.Field) -> list[Any]:
        values = [row.get(field.name) for row in self.rows]
        if field.metadata != JSON_FIELD:
            return values
        return [v if v is None else msgspec.json.encode(v).decode() for v in values]


@dataclass(frozen=True)
class Arrow:
    """Rows of a Parquet file, in its own types."""

    table: pa.Table

    def take(self, places: Sequence[int]) -> Arrow:
        """Return the rows at these places."""
        return Arrow(self.table.take(places))

    def dicts(self) -> list[Row]:
        """Return the rows as dictionaries.

        Raises:
            CommandError: A value has no form in Python.
        """
        import pyarrow as pa

        names = self.table.schema.names
        spoken = [_in_python(column) for column in self.table.columns]
        try:
            rows: list[Row] = pa.table(spoken, names).to_pylist()
        except ValueError as error:
            raise CommandError(
                f"a value has no form in JSON; write Parquet instead ({error})"
            ) from None
        return rows

    def arrow(self, schema: pa.Schema) -> pa.Table:
        """Return the rows with the columns that the schema names."""
        return self.table.select(schema.names)


def _in_python(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without nanoseconds, which Python's times cannot hold.

    They become microseconds where that loses nothing, else text.
    """
    import pyarrow as pa
    from pyarrow import compute

    is_, type_ = pa.types, column.type
    if is_.is_timestamp(type_):
        shorter = pa.timestamp("us", type_.tz)
    elif is_.is_time(type_):
        shorter = pa.time64("us")
    elif is_.is_duration(type_):
        shorter = pa.duration("us")
    else:
        return column
    try:
        return column.cast(shorter)
    except pa.ArrowInvalid:
        words = column.cast(pa.string())
        replace = compute.replace_substring  # pyright: ignore[reportAttributeAccessIssue]
        return replace(words, " ", "T", max_replacements=1)
