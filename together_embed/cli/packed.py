"""Reads a file that gzip has packed, as if it were not."""

from __future__ import annotations

import errno
import gzip
import io
import zlib
from typing import BinaryIO, cast

ENDING = ".gz"


def is_packed(name: str) -> bool:
    """Return whether a file's name says that it is packed."""
    return name.lower().endswith(ENDING)


def without_ending(name: str) -> str:
    """Return the name that the file has when it is unpacked."""
    return name[: -len(ENDING)] if is_packed(name) else name


def unpacked(name: str) -> BinaryIO:
    """Open a packed file; it is unpacked as it is read, as often as it is read.

    Raises:
        OSError: It cannot be read, or, on reading, is no such file or a damaged one.
    """
    return cast("BinaryIO", io.BufferedReader(_Unpacked(name), 1 << 16))


class _Unpacked(io.RawIOBase):
    def __init__(self, name: str) -> None:
        self._name = name
        self._file = gzip.open(name, "rb")  # noqa: SIM115 - kept

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            piece = self._file.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            words = f"it cannot be unpacked ({error})"
            raise OSError(errno.EINVAL, words, self._name) from error
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()
