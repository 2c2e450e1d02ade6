"""Which file a path leads to: files are told apart by numbers, and not by names."""

from __future__ import annotations

import os
import stat

from together_embed.errors import ConfigurationError
from together_embed.store.trouble import StoreError

File = tuple[int, int]
"""The number of a device, and that of a file on it."""


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path that leads to the same file from any folder; `~` is one's home.

    Raises:
        ConfigurationError: No file can have that name, or ":memory:", for SQLite none.
    """
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except (TypeError, UnicodeError):
        name = ""
    if name in ("", ":memory:") or "\0" in name:
        shown = repr(path[:40]) if isinstance(path, str) else type(path).__name__
        raise ConfigurationError(f"a cache needs a file's path, and {shown} is none")
    return os.path.abspath(os.path.expanduser(name))


def store_at(path: str) -> File | None:
    """Return the file at a path; None where there is none, or nothing in it.

    Raises:
        StoreError: It is a folder or the like.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        folder = stat.S_ISDIR(found.st_mode)
        raise StoreError("foreign", path, "a folder" if folder else "no regular file")
    return (found.st_dev, found.st_ino) if found.st_size else None


def file_at(path: str) -> File | None:
    """Return whatever is at a path; None where nothing is, or it cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
