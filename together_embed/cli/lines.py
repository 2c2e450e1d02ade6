"""Lines, JSON lines and tables of text, read row by row from an open file.

Each reader yields the number of the line on which a row begins, and the row; or, in
its place, an `Unreadable` that says why there is none.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO

import msgspec

from together_embed.cli.chunks import Row
from together_embed.cli.exits import CommandError

LONGEST_CELL = 2**31 - 1
"""The most that the csv module takes on every system; its own bound is 131,072."""


class Unreadable(str):
    """Why a line holds no row."""


Item = tuple[int, Row | Unreadable]
NOT_UTF8 = Unreadable("it is not UTF-8")


def plain(file: BinaryIO) -> Iterator[Item]:
    """Yield each line as the field `text`."""
    for number, line in _lines(file):
        yield number, _line(line)


def json(file: BinaryIO) -> Iterator[Item]:
    """Yield the object on each line; empty lines are none."""
    for number, line in _lines(file):
        if line.strip():
            yield number, _object(line)


def _line(line: bytes) -> Row | Unreadable:
    try:
        return {"text": line.rstrip(b"\r\n").decode()}
    except UnicodeDecodeError:
        return NOT_UTF8


def _object(line: bytes) -> Row | Unreadable:
    try:
        row = msgspec.json.decode(line)
    except UnicodeDecodeError:
        return NOT_UTF8
    except (msgspec.DecodeError, RecursionError) as error:
        return Unreadable(f"it is no JSON: {error}")
    if not isinstance(row, dict):
        return Unreadable("it is JSON, but no object with fields")
    return row


def table(file: BinaryIO, delimiter: str) -> Iterator[Item]:
    """Yield the rows below a line of headings; every value is a string.

    Raises:
        CommandError: Two columns have the same heading.
    """
    csv.field_size_limit(LONGEST_CELL)
    # What is no UTF-8 comes as lone surrogates, so that it costs one row and no more.
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    try:
        yield from _rows(text, delimiter)
    finally:
        text.detach()  # the file stays open: it is the caller's


def _rows(text: Iterable[str], delimiter: str) -> Iterator[Item]:
    reader = csv.reader(text, delimiter=delimiter)
    headings = next(reader, [])
    if len(set(headings)) < len(headings):
        twice = next(name for name in headings if headings.count(name) > 1)
        raise CommandError(f"two columns are called {twice!r}; rename one of them")
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, Unreadable(str(error))
            continue
        if cells:
            yield number, _row(headings, cells)


def _row(headings: list[str], cells: list[str]) -> Row | Unreadable:
    if len(cells) != len(headings):
        return Unreadable(f"it has {len(cells)} cells under {len(headings)} headings")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return dict(zip(headings, cells, strict=True))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines and their numbers, less the mark that Windows puts in front."""
    for number, line in enumerate(file, 1):
        bare = number == 1 and line.startswith(codecs.BOM_UTF8)
        yield number, line[len(codecs.BOM_UTF8) :] if bare else line


def headings(items: Iterable[Item], enough: int = 100) -> list[str]:
    """Return the names of all fields of the first rows."""
    rows = (row for _, row in items if not isinstance(row, Unreadable))
    return list(dict.fromkeys(name for row in islice(rows, enough) for name in row))
