"""The file's format: how it is made, and how it is told from every other file.

    keys     identity → number of its vector, and when it was last of use
    vectors  number → sealed row, in the order of their arrival
    notes    what is known of a model: sealed, too

Uses stand apart from the rows, so that noting one does not write the row again. "When"
is the number of the newest vector at that time: it needs no clock, and no two processes
disagree about it.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from together_embed.store.trouble import StoreError

APPLICATION = 0x74656D62
"""SQLite's `application_id` in the header: ASCII "temb"."""
VERSION = 1
"""SQLite's `user_version`. A file of a higher one is left alone."""

_MAGIC = b"SQLite format 3\0"
# Each vector put touches one page of `keys` anywhere in the file, and that goes to the
# log as a whole: at a million vectors, pages of 32 KiB would write five times as much.
PAGE_BYTES = 4096
_LOG_BYTES = 1 << 24
_CACHE_KIB = 16_000

_TABLES = (
    "CREATE TABLE keys (key BLOB PRIMARY KEY, id INTEGER NOT NULL, "
    "used INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE notes (subject BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID",
)


def check_header(path: str) -> None:
    """Refuse a file that does not name this library, or names a later format.

    The bytes are read as they stand. SQLite would compare the length that they tell
    with the file's, and call one malformed whose writer was killed while the log was
    brought into it: the log mends that, once the file is opened for work.

    Raises:
        StoreError: It is another program's file, or a newer version's.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        header = file.read(100)
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise StoreError("foreign", path, "no SQLite database")
    version, application = (
        int.from_bytes(header[at : at + 4], "big") for at in (60, 68)
    )
    _check_marks(path, version, application)


def _check_marks(path: str, version: int, application: int) -> None:
    if application != APPLICATION:
        raise StoreError("foreign", path, "another program's database")
    if version != VERSION:
        raise StoreError("newer", path, f"format {version}, not {VERSION}")


def check_tables(link: sqlite3.Connection, path: str) -> None:
    """Refuse a file whose tables are not the ones that this library made.

    Raises:
        StoreError: It is damaged, or somebody has changed it.
    """
    link.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    link.execute("PRAGMA mmap_size = 0")  # a file cut short would end the process
    link.execute("PRAGMA trusted_schema = OFF")
    link.execute("PRAGMA cell_size_check = ON")
    found = link.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    if {sql for (sql,) in found} != set(_TABLES):
        raise StoreError("damaged", path, "its tables are others")


def open_for_work(link: sqlite3.Connection, path: str) -> None:
    """Make ready a file of ours for reading and writing by many processes.

    Raises:
        StoreError: The tables are others, or the file system cannot do WAL.
    """
    check_tables(link, path)
    mode = _ask(link, "PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise StoreError("unreadable", path, "its file system cannot do WAL")
    link.execute("PRAGMA synchronous = NORMAL")
    link.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    _ask(link, "PRAGMA user_version")  # the first look in WAL makes the log


def create(link: sqlite3.Connection, path: str) -> None:
    """Make the tables in an empty file, unless another process was first.

    Raises:
        StoreError: The file has turned into something else.
    """
    link.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    link.execute("BEGIN")
    # It writes: outside of a transaction, it would leave a file that is nobody's yet.
    link.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if not _ask(link, "SELECT count(*) FROM sqlite_master"):
        link.execute(f"PRAGMA application_id = {APPLICATION}")
        link.execute(f"PRAGMA user_version = {VERSION}")
        for table in _TABLES:
            link.execute(table)
    link.execute("COMMIT")
    version, application = (
        _ask(link, f"PRAGMA {mark}") for mark in ("user_version", "application_id")
    )
    _check_marks(path, version, application)
    open_for_work(link, path)


def _ask(link: sqlite3.Connection, question: str) -> Any:
    return link.execute(question).fetchone()[0]
