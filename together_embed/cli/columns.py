"""Which column holds the texts, which one the ids, and what types columns have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from together_embed.cli.chunks import JSON_FIELD, Row
from together_embed.cli.exits import USAGE, CommandError

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = (
    *("text", "content", "body", "document", "passage", "chunk", "sentence"),
    "page_content",
)
"""Names under which datasets and frameworks keep their texts, the likeliest first."""
IDS = ("id", "_id", "doc_id", "document_id", "uuid")
"""Names under which they keep what a row is called."""
LARGEST = 2**63
EXACT = 2**53
"""Beyond it a float64 no longer holds every integer."""


def find_text(columns: Sequence[str], asked: str | None, where: str) -> str:
    """Return the column of the texts.

    Raises:
        CommandError: There is none of that name, or none of the usual ones.
    """
    if asked is not None:
        return _asked(columns, asked, where, "--text")
    if len(columns) == 1:
        return columns[0]
    found = _first(columns, TEXTS)
    if found is None:
        raise CommandError(
            f"{where} has no column {TEXTS[0]}, {TEXTS[1]} or the like, but "
            f"{_listed(columns)}; name one with --text",
            USAGE,
        )
    return found


def find_id(columns: Sequence[str], asked: str | None, where: str) -> str | None:
    """Return the column of the ids, None where rows are called by their numbers.

    Raises:
        CommandError: There is none of the name that was asked for.
    """
    if asked is not None:
        return _asked(columns, asked, where, "--id")
    return _first(columns, IDS)


def _asked(columns: Sequence[str], asked: str, where: str, option: str) -> str:
    if asked not in columns:
        raise CommandError(
            f"{where} has no column {asked!r}, but {_listed(columns)}; "
            f"name one of these with {option}",
            USAGE,
        )
    return asked


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    small = {column.lower(): column for column in reversed(columns)}
    return next((small[name] for name in names if name in small), None)


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(map(repr, columns[:8]))
    return f"{shown}, …" if len(columns) > 8 else shown or "none at all"


class Kinds:
    """The types that a column's values have had, in rows of JSON.

    One type for each column has to hold for all rows of a file, and is not known
    before the last of them. What no type holds exactly is kept as JSON.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def see(self, row: Row) -> None:
        """Take notice of a row."""
        for name, value in row.items():
            kinds = self._seen.get(name)
            if kinds is None:
                kinds = self._seen[name] = set()
            kinds.add(_kind(value))

    def schema(self) -> pa.Schema:
        """Return the columns in the order of their first appearance."""
        import pyarrow as pa

        fields = []
        for name, kinds in self._seen.items():
            word = _word(kinds - {"null"})
            note = JSON_FIELD if word == "json" else None
            type_ = pa.string() if word == "json" else pa.type_for_alias(word)
            fields.append(pa.field(name, type_, metadata=note))
        return pa.schema(fields)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if abs(value) <= EXACT:
            return "short"
        return "int64" if -LARGEST <= value < LARGEST else "json"
    if isinstance(value, float):
        return "float64"
    return "string" if isinstance(value, str) else "json"


def _word(kinds: set[str]) -> str:
    """Return the Arrow type that holds values of all these kinds exactly, or "json"."""
    if not kinds:
        return "string"
    if len(kinds) == 1:
        (kind,) = kinds
        return "int64" if kind == "short" else kind
    if kinds == {"short", "int64"}:
        return "int64"
    return "float64" if kinds == {"short", "float64"} else "json"
