"""The formats: which source and which sink a name on the command line means."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from together_embed.cli.exits import USAGE, CommandError
from together_embed.cli.line_source import LineSource
from together_embed.cli.packed import is_packed, unpacked, without_ending
from together_embed.cli.parquet_source import ParquetSource
from together_embed.cli.sinks import JsonSink, Layout, NumpySink, Sink, ids_beside
from together_embed.cli.source import Source

SOURCES = ("txt", "jsonl", "csv", "tsv", "parquet")
SINKS = ("parquet", "jsonl", "npy")
ALSO = {"ndjson": "jsonl", "text": "txt", "pq": "parquet"}
STDIN = "-"
PIECE = 1 << 20


def open_source(
    name: str, kind: str | None, text: str | None, id_: str | None
) -> Source:
    """Return the source that a command line means.

    Args:
        name: A path, or "-" for the standard input.
        kind: One of `SOURCES`; None tells it by the name's end.
        text: The column of the texts; None looks for one of the usual names.
        id_: The column of the ids, likewise.

    Raises:
        CommandError: It is no file of a known format, or has no such column.
        OSError: It cannot be read.
    """
    kind = kind or _kind(name)
    if kind == "txt" and (text or id_):
        raise CommandError("lines of text have no columns to name", USAGE)
    file = _spooled() if name == STDIN else _opened(name, kind)
    with ExitStack() as stack:
        stack.callback(file.close)
        shown = "the standard input" if name == STDIN else name
        found: Source
        if kind == "parquet":
            found = ParquetSource(file, shown, text, id_)
        else:
            found = LineSource(file, shown, kind, text, id_)
        stack.pop_all()
    return found


def _opened(name: str, kind: str) -> BinaryIO:
    if not is_packed(name):
        return open(name, "rb")
    if kind == "parquet":
        raise CommandError(f"{name}: Parquet is read unpacked only; unpack it", USAGE)
    return unpacked(name)


def _kind(name: str) -> str:
    if name == STDIN:
        raise CommandError(f"for '-', give --format: {', '.join(SOURCES)}", USAGE)
    end = Path(without_ending(name)).suffix.lower().lstrip(".")
    kind = ALSO.get(end, end)
    if kind not in SOURCES:
        raise CommandError(
            f"{name} is of no known format; rename it, or give --format: "
            f"{', '.join(SOURCES)}",
            USAGE,
        )
    return kind


def _spooled() -> BinaryIO:
    """Copy the standard input to a file, since rows are read more than once."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - kept
    shutil.copyfileobj(sys.stdin.buffer, file, PIECE)
    return file


def sink_kind(path: Path) -> str:
    """Return the format of a file to write, by its name's end.

    Raises:
        CommandError: It is none of `SINKS`.
    """
    end = path.suffix.lower().lstrip(".")
    kind = ALSO.get(end, end)
    if kind not in SINKS:
        raise CommandError(
            f"{path} is of no format that vectors are written in; let it end in "
            f"{', '.join(f'.{sink}' for sink in SINKS)}",
            USAGE,
        )
    return kind


def written(path: Path) -> tuple[Path, ...]:
    """Return the files that a sink of this name will make.

    Raises:
        CommandError: It is of no known format.
    """
    if sink_kind(path) == "npy":
        return path, ids_beside(path)
    return (path,)


def open_sink(path: Path, source: Source, layout: Layout) -> Sink:
    """Begin the file that `path` names.

    Raises:
        CommandError: It is of no known format, or is being written by somebody else.
        OSError: It cannot be written.
    """
    kind = sink_kind(path)
    if kind == "npy":
        return NumpySink(path)
    layout.check(source)
    if kind == "jsonl":
        return JsonSink(path, source, layout)
    from together_embed.cli.parquet_sink import ParquetSink

    return ParquetSink(path, source, layout)
