"""One SQLite file of ours: opened with care, shared by threads, closed before a fork.

Contract:
- Nothing of a file that is not ours is changed: its first bytes are read, and it is
  opened only where they name this library.
- A connection serves all threads of a process, one statement or transaction at a time.
  Before a fork it is closed, since POSIX locks do not follow a child: both sides open
  their own when they next need one. They are lost, too, where a process closes the file
  by another way than SQLite's: while one connection has it open, nothing else reads it.
- A file that was moved away takes along what its log held; one that is put in its place
  is taken up, without that log.
- What a transaction wrote survives the death of the process, by `kill -9` too. WAL
  with `synchronous=NORMAL` does not wait for the disk at each commit, so that a power
  cut may take the last transactions, whole ones and the last ones only.
- Whatever goes wrong is a `StoreError`. A lock of another process is waited for without
  holding up Ctrl-C or this process's other threads.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from together_embed.store import schema
from together_embed.store.place import File, file_at, store_at
from together_embed.store.trouble import StoreError, translated

PATIENCE = {"read": 30.0, "write": 30.0, "touch": 0.0}
"""Seconds to wait for a lock, many times the longest transaction, an eviction. Whoever
holds one for longer is not waited for again until the store was free once."""
_NAP = 0.05
_LONGEST = 1 << 27
"""Bytes of a value, at most; a damaged length must not make SQLite ask for a GB."""
_LOOK = "mode=ro&immutable=1"
"""No lock, no journal, no recovery: nothing of the file changes by looking at it."""

T = TypeVar("T")

_databases: WeakSet[Database] = WeakSet()
_held: list[Database] = []
_forking = threading.RLock()
_opened: dict[Database, File | None] = {}
_opening = threading.Lock()


class Database:
    """The connection of this process to one file.

    Args:
        path: The file's absolute path. It is created by the first `write`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._link: sqlite3.Connection | None = None
        self._file: File | None = None
        self._log: list[tuple[str, File | None]] = []
        self._refusal: StoreError | None = None
        self._no_writing: StoreError | None = None
        self._patience = dict(PATIENCE)
        with _forking:
            _databases.add(self)

    def read(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Return all rows of a query; none where there is no file yet.

        Raises:
            StoreError: The file cannot be read.
        """

        def ask() -> list[Any]:
            with self.lock, translated(self.path):
                link = self._connection(create=False)
                return link.execute(sql, values).fetchall() if link else []

        return self._patiently(ask, "read")

    def write(
        self, work: Callable[[sqlite3.Connection], object], *, wait: bool = True
    ) -> None:
        """Do `work` in one transaction, which is kept when this returns.

        Args:
            work: May be called again where another process was in the way.
            wait: Wait for other processes' transactions.

        Raises:
            StoreError: Nothing was kept.
        """

        def transact() -> None:
            with self.lock, translated(self.path):
                link = self._connection(create=True)
                if self._no_writing:
                    raise self._no_writing.with_traceback(None)
                assert link is not None  # noqa: S101 - create=True
                if link.in_transaction:  # Ctrl-C came while one was rolled back
                    link.rollback()
                try:
                    link.execute("BEGIN IMMEDIATE")
                    work(link)
                    link.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        link.rollback()
                    raise

        self._patiently(transact, "write" if wait else "touch")

    def close(self) -> None:
        """Close the connection and forget what was wrong with the file."""
        with self.lock:
            self.drop()
            self._refusal = None
            self._patience = dict(PATIENCE)

    def drop(self) -> None:
        """Close the connection; the next call opens another. Needs the lock."""
        link, self._link, self._log = self._link, None, []
        _opened.pop(self, None)
        if link is not None:
            with suppress(sqlite3.Error):
                link.close()

    def _patiently(self, ask: Callable[[], T], use: str) -> T:
        """Ask again while another process is in the way, in short waits."""
        until = time.monotonic() + self._patience[use]
        while True:
            try:
                answer = ask()
            except StoreError as error:  # noqa: PERF203 - a wait is no hot loop
                if error.reason != "busy":
                    raise
                if time.monotonic() >= until:
                    self._patience[use] = 0.0
                    raise
                time.sleep(_NAP / 10)
            else:
                self._patience[use] = PATIENCE[use]
                return answer

    def _connection(self, *, create: bool) -> sqlite3.Connection | None:
        if self._refusal is not None:
            # Else it would gather the frames of every call, and the vectors in them.
            raise self._refusal.with_traceback(None)
        there = store_at(self.path)
        if there != self._file:  # what is kept in the one that is open would be lost
            self._part()
        if self._link is None:
            try:
                with _opening:
                    self._open(there, create)
            except StoreError as error:
                if error.reason != "busy":
                    self._refusal = error
                raise
        return self._link

    def _open(self, there: File | None, create: bool) -> None:
        self._no_writing = None
        if there is None:
            if not create:
                return
            folder = Path(self.path).parent
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._link = _connect(self.path, "mode=rwc", schema.create)
            except StoreError as error:
                if error.reason != "unreadable" or os.access(folder, os.W_OK):
                    raise
                why = "its folder may not be written to"  # SQLite does not say that
                raise StoreError("unreadable", self.path, why) from error
        else:
            if there not in list(_opened.values()):
                with translated(self.path):
                    schema.check_header(self.path)
            self._link = self._open_existing()
        self._file = _opened[self] = store_at(self.path)
        if self._no_writing is None:
            self._log = [
                (n, file_at(n)) for n in (f"{self.path}-wal", f"{self.path}-shm")
            ]

    def _part(self) -> None:
        """Let go of a file that is elsewhere now; what its log holds goes there, too.

        SQLite would else read that log into whatever has the file's name next.
        """
        if self._link is not None and file_at(self.path) != self._file:
            with suppress(sqlite3.Error):
                self._link.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            for name, file in self._log:
                if file is not None and file == file_at(name):
                    with suppress(OSError):
                        os.unlink(name)
        self.drop()

    def _open_existing(self) -> sqlite3.Connection:
        try:
            return _connect(self.path, "mode=rw", schema.open_for_work)
        except StoreError as error:
            if error.reason not in ("readonly", "full", "unreadable"):
                raise
            # In a read-only directory or on a full disk the rows can still be had,
            # without locks. A writer may disturb that: then a seal breaks, a row is
            # missed, and its text is asked for again.
            with suppress(StoreError):
                link = _connect(self.path, _LOOK, schema.check_tables)
                self._no_writing = StoreError("readonly", self.path, error.detail)
                return link
            raise


def _connect(
    path: str, mode: str, prepare: Callable[[sqlite3.Connection, str], None]
) -> sqlite3.Connection:
    with translated(path):
        link = sqlite3.connect(
            f"{Path(path).as_uri()}?{mode}",
            uri=True,
            timeout=_NAP,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if sys.version_info >= (3, 11):
                link.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            prepare(link, path)
        except BaseException:
            link.close()
            raise
        return link


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database.lock.acquire()
        database.drop()
        _held.append(database)


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
