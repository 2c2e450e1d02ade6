"""What can be the matter with a store, in the words of somebody who has to mend it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from together_embed.errors import EmbeddingsError

Reason = Literal[
    "foreign", "newer", "damaged", "readonly", "full", "busy", "unreadable"
]

_WORDS: dict[Reason, str] = {
    "foreign": "is no cache of this library and was left as it is; name another path",
    "newer": "was written by a newer version of this library and was left as it is; "
    "update together-embed or name another path",
    "damaged": "is damaged; intact rows are still read, nothing is written; move the "
    "file away to start a new one",
    "readonly": "cannot be written to; what it holds is still read",
    "full": "cannot grow, the disk is full; new vectors are not stored",
    "busy": "is locked by another process; until then, new vectors are not stored",
    "unreadable": "cannot be used where it is",
}

# By the words, since Python 3.10 does not tell SQLite's codes. These words are constant
# in SQLite's source; whatever else it says counts as "unreadable".
_SIGNS: tuple[tuple[str, Reason], ...] = (
    ("is locked", "busy"),
    ("locking protocol", "unreadable"),
    ("readonly", "readonly"),
    ("disk is full", "full"),
    ("not a database", "damaged"),
    ("malformed", "damaged"),
    ("unsupported file format", "damaged"),
    ("too big", "damaged"),
)


class StoreWarning(UserWarning):
    """A store cannot do all of its work, and the job goes on without that part."""


class StoreError(EmbeddingsError):
    """A store cannot do its work. Raised by strict stores, else a `StoreWarning`.

    Attributes:
        reason: What is the matter, in one word.
        path: The store's file.
        detail: What SQLite or the system said, if anything.
    """

    def __init__(self, reason: Reason, path: str, detail: str = "") -> None:
        said = f" ({detail})" if detail else ""
        super().__init__(f"the cache {path} {_WORDS[reason]}{said}")
        self.reason: Reason = reason
        self.path = path
        self.detail = detail


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Let nothing of SQLite's own out of the block, and no error of the file system.

    Raises:
        StoreError: In place of either.
    """
    try:
        yield
    except OSError as error:
        raise StoreError("unreadable", path, error.strerror or str(error)) from error
    except (OverflowError, MemoryError, UnicodeDecodeError) as error:
        # A number, a size or a name in the file that nobody wrote there.
        raise StoreError("damaged", path, type(error).__name__) from error
    except sqlite3.Error as error:
        raise StoreError(_reason(str(error)), path, str(error)) from error


def _reason(message: str) -> Reason:
    if not message:  # Python 3.10 leaves out words that are no text: names in the file
        return "damaged"
    for sign, reason in _SIGNS:
        if sign in message:
            return reason
    return "unreadable"
