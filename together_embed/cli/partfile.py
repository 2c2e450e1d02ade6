"""A file that appears at once and whole: written beside, synced, then renamed.

Contract: `path` is what it was before until `publish` returns. Two processes cannot
write the same file at once where the system has file locks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from together_embed.cli.exits import CommandError

try:
    import fcntl
except ModuleNotFoundError:  # Windows, which refuses to rename an open file anyway
    fcntl = None  # type: ignore[assignment]


class PartFile:
    """A file in the making; `file` is what to write to.

    Raises:
        CommandError: Another process is making the same file.
        OSError: The folder is not there, or cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        self.file: BinaryIO = self._open()

    def publish(self) -> None:
        """Put the file in its place; it is on the disk on return."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if fcntl is None:
            self.file.close()
        os.replace(self._part, self.path)
        self.file.close()
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Leave nothing behind."""
        if not self.file.closed:
            self._part.unlink(missing_ok=True)
            self.file.close()

    def _open(self) -> BinaryIO:
        while True:
            number = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o666)
            file = os.fdopen(number, "r+b")
            if fcntl is None:
                break
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise CommandError(
                    f"{self.path} is being written by another process; "
                    "wait for it, or name another file"
                ) from None
            if self._is_ours(number):
                break
            file.close()  # it was renamed between opening and locking
        file.truncate()
        return file

    def _is_ours(self, number: int) -> bool:
        try:
            return os.path.samestat(os.fstat(number), os.stat(self._part))
        except FileNotFoundError:
            return False


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a loss of power, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
