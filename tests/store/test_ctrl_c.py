"""Ctrl-C amid a write, at every line of it: the file is left free, and goes on."""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from together_embed.store import Store, database

from .rows import items, key, row


def interrupted(work: Callable[[], object], line: int) -> bool:
    """Do the work and break it off at the so-manieth line of the database's code."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != database.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_line_of_a_write_leaves_the_file_to_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "vectors.sqlite"
    with Store(path, strict=True) as store:
        store.put(items([0]))
        line = 0
        while interrupted(lambda: store.put(items([1])), line := line + 1):
            # Another connection may write at once: no transaction was left open.
            with closing(sqlite3.connect(path, timeout=0)) as other:
                other.execute("BEGIN IMMEDIATE")
                other.rollback()
            store.put(items([line + 1]))
            assert store.get([key(0), key(line + 1)]) == [row(0), row(line + 1)]
        assert line > 20  # it did walk through a write


def test_a_write_interrupted_while_it_is_taken_back_is_taken_back_by_the_next(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "vectors.sqlite", strict=True) as store:
        store.put(items([0]))
        link = store._database._link
        assert link is not None
        link.execute("BEGIN IMMEDIATE")
        store.put(items([1]))
        assert store.get([key(0), key(1)]) == [row(0), row(1)]
