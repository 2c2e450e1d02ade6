"""Sources made of lines: lines of text, JSON lines, tables with a line of headings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal

from together_embed.cli import lines
from together_embed.cli.chunks import Chunk, Dicts, Row
from together_embed.cli.columns import Kinds, find_id, find_text
from together_embed.cli.lines import Item, Unreadable
from together_embed.cli.source import Failed, Source, trouble

if TYPE_CHECKING:
    import pyarrow as pa

READERS: dict[str, Callable[[BinaryIO], Iterator[Item]]] = {
    "txt": lines.plain,
    "jsonl": lines.json,
    "csv": partial(lines.table, delimiter=","),
    "tsv": partial(lines.table, delimiter="\t"),
}
CHUNK_BYTES = 4_000_000
"""Characters of text in a chunk, about: a chunk of long texts has fewer rows."""
PIECE = 1 << 20


class LineSource(Source):
    """Lines of text, JSON lines, or a table with a line of headings."""

    unit: Literal["line", "row"] = "line"

    def __init__(
        self, file: BinaryIO, name: str, kind: str, text: str | None, id_: str | None
    ) -> None:
        self.name = name
        self._file = file
        self._kind = kind
        self._read = READERS[kind]
        columns = self.columns()
        self.text = find_text(columns, text, name) if columns else text or ""
        self.id = find_id(columns, id_, name) if columns else id_

    def count(self) -> int:
        """Return how many rows there are, without looking into lines."""
        if self._kind in ("csv", "tsv"):  # a cell may hold line breaks
            return sum(1 for _ in self._items())
        self._file.seek(0)
        last, count = b"\n", 0
        while piece := self._file.read(PIECE):
            count += piece.count(b"\n")
            last = piece[-1:]
        return count + (last != b"\n")

    def columns(self) -> list[str]:
        """Return the names of the first rows' fields."""
        return lines.headings(self._items())

    def schema(self) -> pa.Schema:
        """Return the columns; of JSON, all rows are read to find their types."""
        kinds = Kinds()
        if self._kind != "jsonl":
            kinds.see(dict.fromkeys(self.columns(), ""))
            return kinds.schema()
        for _, row in self._items():
            if not isinstance(row, Unreadable) and self._judge(row)[0] is None:
                kinds.see(row)
        return kinds.schema()

    def chunks(self, size: int, failed: Failed) -> Iterator[Chunk]:
        """Yield chunks of rows, and tell of lines that hold none."""
        numbers: list[int] = []
        rows: list[Row] = []
        taken = 0
        for number, row in self._items():
            reason, name = self._judge(row)
            if reason is not None or isinstance(row, Unreadable):
                failed(number, name, reason or "")
                continue
            numbers.append(number)
            rows.append(row)
            taken += len(row[self.text])
            if len(rows) == size or taken > CHUNK_BYTES:
                yield self._chunk(numbers, rows)
                numbers, rows, taken = [], [], 0
        if rows:
            yield self._chunk(numbers, rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _items(self) -> Iterator[Item]:
        self._file.seek(0)
        return self._read(self._file)

    def _judge(self, row: Row | Unreadable) -> tuple[str | None, object]:
        """Return why a row cannot be sent, or None; and its id, if it has one."""
        if isinstance(row, Unreadable):
            return str(row), None
        name = row.get(self.id) if self.id else None
        if self.text not in row:
            return f"there is no {self.text!r}", name
        return trouble(row[self.text]), name

    def _chunk(self, numbers: list[int], rows: list[Row]) -> Chunk:
        ids = [row[self.id] for row in rows] if self.id else numbers
        return Chunk(numbers, ids, [row[self.text] for row in rows], Dicts(rows))
