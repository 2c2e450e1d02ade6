"""Which file a path leads to: files are told apart by numbers, and not by names."""

from __future__ import annotations

import os
import stat

from together_embed.store.trouble import StoreError

File = tuple[int, int]
"""The number of a device, and that of a file on it."""


def can_be(path: str) -> bool:
    """Tell whether a file may have this path, as far as its letters go."""
    try:
        return path != "" and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


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
        raise StoreError("foreign", path, "no regular file")
    return (found.st_dev, found.st_ino) if found.st_size else None


def file_at(path: str) -> File | None:
    """Return whatever is at a path; None where nothing is, or it cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
