"""The statements on rows: find many, put many, note uses, make room.

The bound on size: before a transaction would carry the pages in use over it, the least
recently used vectors go, until nine tenths of the bound are left in use. A use is noted
where it is news, that is, a sixteenth of the bound has been written since the last: a
job that only reads writes next to nothing. So the order is the order of use up to a
sixteenth of what the store holds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from math import ceil

from together_embed.store.schema import PAGE_BYTES

Sealed = tuple[bytes, bytes]
"""A key, and what is kept under it."""

AT_ONCE = 500
"""Keys a statement; more are no faster, and SQLite before 3.32 has a limit of 999."""
KEEP = 0.9
"""The part of the bound that is in use after making room."""
NEWS = 16
"""A use is news when bound/NEWS bytes have been put since the last one noted."""

# In the order in which they are asked for, which is mostly that of their arrival:
# "key IN (…)" would sort them by their digests, and go to and fro in the file.
_FIND = (
    "SELECT keys.key, vectors.data, {is_news} FROM (VALUES {asked}) AS asked "
    "CROSS JOIN keys ON keys.key = asked.column1 "
    "CROSS JOIN vectors ON vectors.id = keys.id"
)
_HEAD, _CELL = 5, 10
"""Bytes beside a row's own, about: of its record, and of a record's place in a page."""
_AGE = "((SELECT max(id) FROM vectors) - keys.used) * length(vectors.data)"
_KEY_COST = 150
"""Bytes that a key costs, about: its own, and those of pages that are half filled."""


def find(count: int, bound: int | None = None) -> str:
    """Return the query for so many keys: key, row, and whether the use is news."""
    is_news = "0" if bound is None else f"{_AGE} > {bound // NEWS}"
    return _FIND.format(is_news=is_news, asked=", ".join(["(?)"] * count))


def put(link: sqlite3.Connection, rows: Sequence[Sealed]) -> None:
    """Keep the rows, in place of what was kept under their keys. Newest come last."""
    first = _newest(link) + 1
    link.executemany(
        "INSERT INTO keys VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET used = excluded.used",
        [(key, number, number) for number, (key, _) in enumerate(rows, first)],
    )
    link.executemany(
        "INSERT OR REPLACE INTO vectors SELECT id, ? FROM keys WHERE key = ?",
        [(data, key) for key, data in rows],
    )


def touch(link: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Note that the vectors of these keys were of use just now."""
    newest = _newest(link)
    link.executemany(
        "UPDATE keys SET used = ? WHERE key = ?", [(newest, key) for key in keys]
    )


def forget(link: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Take away the vectors of these keys."""
    named = [(key,) for key in keys]
    link.executemany(
        "DELETE FROM vectors WHERE id = (SELECT id FROM keys WHERE key = ?)", named
    )
    link.executemany("DELETE FROM keys WHERE key = ?", named)


def fitting(rows: Iterable[Sealed], max_bytes: int) -> list[Sealed]:
    """Return the last of the rows that half of the bound has room for."""
    kept: list[Sealed] = []
    room = max_bytes / 2
    for row in reversed(list(rows)):
        room -= _cost(row)
        if room < 0:
            break
        kept.append(row)
    return kept[::-1]


def make_room(link: sqlite3.Connection, rows: Sequence[Sealed], max_bytes: int) -> None:
    """Let the least recently used go where `rows` would be too much for the bound."""
    coming = sum(map(_cost, rows))
    size = _ask(link, "PRAGMA page_size")
    while (used := _pages_in_use(link) * size) + coming > max_bytes:
        count = _ask(link, "SELECT count(*) FROM keys")
        if not count:
            break
        _forget(link, ceil(count * (used + coming - KEEP * max_bytes) / used))
    over = _ask(link, "PRAGMA page_count") + 1 - max_bytes // size
    for _ in range(min(over, _ask(link, "PRAGMA freelist_count"))):
        # Seldom: the bound is lower than it was. Python lets a statement without
        # columns take one step, and a step gives back one page.
        link.execute("PRAGMA incremental_vacuum")


def _pages_in_use(link: sqlite3.Connection) -> int:
    return _ask(link, "PRAGMA page_count") - _ask(link, "PRAGMA freelist_count")


def _forget(link: sqlite3.Connection, count: int) -> None:
    doomed = link.execute(
        "SELECT id, key FROM keys ORDER BY used, id LIMIT ?", (count,)
    ).fetchall()
    link.executemany("DELETE FROM vectors WHERE id = ?", [(id_,) for id_, _ in doomed])
    named = [(key,) for _, key in doomed]
    gone = link.executemany("DELETE FROM keys WHERE key = ?", named).rowcount
    if gone < len(named):  # making room would go on and on
        raise sqlite3.DatabaseError("malformed: keys are listed and not found")


def _newest(link: sqlite3.Connection) -> int:
    return int(_ask(link, "SELECT ifnull(max(id), 0) FROM vectors"))


def _ask(link: sqlite3.Connection, question: str) -> int:
    return link.execute(question).fetchone()[0]  # type: ignore[no-any-return]


def _cost(row: Sealed) -> float:
    """Return the bytes of the file that a row takes, as SQLite lays it into pages.

    What does not fit into a page begins in one that is shared, and goes on in pages of
    its own ("Cell Payload Overflow Pages" in the description of SQLite's file format).
    """
    size = len(row[1]) + _HEAD
    own, shared = 0, size
    if size > PAGE_BYTES - 35:
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        rest = (size - least) % (PAGE_BYTES - 4)
        shared = least + (rest if least + rest <= PAGE_BYTES - 35 else 0)
        own = ceil((size - shared) / (PAGE_BYTES - 4))
    fit = (PAGE_BYTES - 8) // (shared + _CELL)
    return PAGE_BYTES * (own + 1 / fit) + _KEY_COST
