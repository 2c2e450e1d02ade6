"""`Store`: many vectors by key, in and out of one file, whatever state the file is in.

Contract:
- What `get` returns under a key is what `put` was given under it, bit for bit, or None.
  Damage in the file can make it None, never another vector.
- When `put` returns without a warning, the vectors outlive the process.
- Trouble with the file is one `StoreWarning` per store and reason, and the job goes on:
  what cannot be read is None, what cannot be written is not kept. A strict store raises
  `StoreError` instead, each time. No other exception comes from the file.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from together_embed.caution import warn
from together_embed.errors import ConfigurationError
from together_embed.store import rows
from together_embed.store.database import Database
from together_embed.store.notes import Note
from together_embed.store.packing import Packed, Row, pack, seal, unpack, unseal
from together_embed.store.place import absolute
from together_embed.store.trouble import Reason, StoreError, StoreWarning

if TYPE_CHECKING:
    from typing_extensions import Self

LEAST_BYTES = 1_000_000
"""The lowest bound on size: below, tables and free pages outweigh the vectors."""


class Store:
    """A file of vectors, for any number of threads and processes at once.

    It is safe across forks, pickles as its path, and makes its file, and the folders
    above, when something is first put into it. Keep it on a local disk: on a network
    file system SQLite's locks may not hold between machines.

    Args:
        path: The file; `~` is the home folder. SQLite keeps a log (`-wal`) and an index
            of it (`-shm`) beside it while it is in use.
        max_bytes: Bytes of the file, at most; the log comes on top, up to 16 MB between
            transactions. Over it the least recently used go, see `store.rows`. A use is
            noted by stores with a bound only. None keeps everything.
        strict: Raise where else a warning is given.

    Raises:
        ConfigurationError: The path is none, or the bound below a million bytes.
    """

    _damage: StoreError | None
    _warned: dict[Reason, object]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        strict: bool = False,
    ) -> None:
        if max_bytes is not None and max_bytes < LEAST_BYTES:
            raise ConfigurationError(
                f"a store of {max_bytes} bytes at most: it needs {LEAST_BYTES:,}"
            )
        self._set_up(absolute(path), max_bytes, strict)

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._database.path

    def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """Return the row of each key, None where there is none; each a list of its own.

        Args:
            keys: Any number of identities; they are looked up in few statements.

        Raises:
            StoreError: The store is strict and the file cannot be read.
        """
        return [packed and unpack(packed) for packed in self.get_packed(keys)]

    def get_packed(self, keys: Sequence[bytes]) -> list[Packed | None]:
        """Do what `get` does and leave the rows as bytes: a half of its time.

        Raises:
            StoreError: As for `get`.
        """
        found: dict[bytes, Packed] = {}
        news: list[bytes] = []
        for key, sealed, is_news in self._find(list(dict.fromkeys(keys))):
            packed = unseal(key, sealed)
            if packed is not None:
                found[key] = packed
                if is_news:
                    news.append(key)
        self._touch(news)
        return [found.get(key) for key in keys]

    def put(self, items: Iterable[tuple[bytes, Row]]) -> None:
        """Keep rows under their keys in one transaction; it has ended on return.

        Args:
            items: Keys and rows. What was kept under a key is replaced. Of more than
                half of `max_bytes`, the last are kept.

        Raises:
            ValueError: A row is empty.
            StoreError: The store is strict and the file cannot be written.
        """
        self.put_packed((key, pack(row)) for key, row in items)

    def put_packed(self, items: Iterable[tuple[bytes, Packed]]) -> None:
        """Do what `put` does for rows that are bytes already.

        Raises:
            StoreError: As for `put`.
        """
        sealed = [(key, seal(key, packed)) for key, packed in items]
        bound = self._max_bytes
        if bound is not None:
            sealed = rows.fitting(sealed, bound)

        def work(link: Connection) -> None:
            if bound is not None:
                rows.make_room(link, sealed, bound)
            rows.put(link, sealed)

        if sealed:
            self._write(work)

    def forget(self, keys: Sequence[bytes]) -> None:
        """Take away the rows of these keys, where there are any.

        Raises:
            StoreError: The store is strict and the file cannot be written.
        """
        if keys:
            self._write(lambda link: rows.forget(link, keys))

    def noted(self, subject: bytes) -> Note | None:
        """Return what is noted of a model, None where nothing is, or it is damaged.

        Raises:
            StoreError: The store is strict and the file cannot be read.
        """
        sql = "SELECT data FROM notes WHERE subject = ?"
        found = self._read(sql, (subject,))
        return Note.unseal(subject, found[0][0]) if found else None

    def note(self, subject: bytes, note: Note) -> None:
        """Note something of a model, in place of what was noted before.

        Args:
            subject: As `store.subject` makes it.
            note: What to keep.

        Raises:
            StoreError: The store is strict and the file cannot be written.
        """
        values = (subject, note.seal(subject))
        sql = "INSERT OR REPLACE INTO notes VALUES (?, ?)"
        self._write(lambda link: link.execute(sql, values))

    def close(self) -> None:
        """Close the file. It is opened again, and looked at anew, on the next use."""
        self._damage = None
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.path!r}, max_bytes={self._max_bytes})"

    def __getstate__(self) -> tuple[str, int | None, bool]:
        return self.path, self._max_bytes, self._strict

    def __setstate__(self, state: tuple[str, int | None, bool]) -> None:
        self._set_up(*state)

    def _set_up(self, path: str, max_bytes: int | None, strict: bool) -> None:
        self._database = Database(path)
        self._max_bytes = max_bytes
        self._strict = strict
        self._damage = None
        self._warned = {}
        # The last to close the file tidies up its log, at the interpreter's end too.
        weakref.finalize(self, self._database.close)

    def _find(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, object, int]]:
        for start in range(0, len(keys), rows.AT_ONCE):
            chunk = keys[start : start + rows.AT_ONCE]
            try:
                find = rows.find(len(chunk), self._max_bytes)
                yield from self._database.read(find, chunk)
            except StoreError as error:
                self._report(error)
                if error.reason == "damaged":
                    yield from self._find_whole(chunk)

    def _find_whole(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, object, int]]:
        """Look for each key alone: a damaged page costs the rows on it, and no more."""
        for key in keys:
            yield from self._read(rows.find(1), (key,))

    def _read(self, sql: str, values: Sequence[object]) -> list[Any]:
        try:
            return self._database.read(sql, values)
        except StoreError as error:
            self._report(error)
            return []

    def _touch(self, keys: Sequence[bytes]) -> None:
        if keys and self._damage is None:
            # A use that cannot be noted costs a vector its place in a queue: no wait.
            try:
                self._database.write(lambda link: rows.touch(link, keys), wait=False)
            except StoreError as error:
                if error.reason == "damaged":
                    self._report(error)

    def _write(self, work: Callable[[Connection], object]) -> None:
        try:
            if self._damage is not None:
                # To write on would spread it.
                raise self._damage.with_traceback(None)
            self._database.write(work)
        except StoreError as error:
            self._report(error)

    def _report(self, error: StoreError) -> None:
        """Raise where the store is strict; else warn, once for each reason."""
        if error.reason == "damaged":
            self._damage = error
        if self._strict:
            raise error
        mine = object()  # of two threads at once, one finds its own
        if self._warned.setdefault(error.reason, mine) is mine:
            warn(StoreWarning(f"{error}."))
