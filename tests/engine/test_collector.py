"""Rows are no work for the garbage collector, and behave like any list."""

from __future__ import annotations

import gc
import platform
import sysconfig
from typing import Any

import pytest

from together_embed.engine.collector import spare
from together_embed.engine.rows import Lists

cpython = pytest.mark.skipif(
    platform.python_implementation() != "CPython"
    or bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="only CPython with its lock lets lists be left out",
)


@cpython
@pytest.mark.parametrize("embedding", [[0.5, 1.5], b"\0\0\0\x3f\0\0\xc0\x3f"])
def test_a_row_is_left_out_of_the_collectors_rounds(embedding: Any) -> None:
    (row,) = Lists().read([embedding], None)
    assert row == [0.5, 1.5]
    assert not gc.is_tracked(row)


def test_a_row_that_is_left_out_can_be_changed_copied_and_collected_around() -> None:
    rows = [[float(number)] for number in range(100)]
    spare(rows)
    for row in rows:
        row.append(1.0)
        row.extend(row.copy())
        row.sort()
    gc.collect()
    assert rows[7] == [1.0, 1.0, 7.0, 7.0]
    del rows[:50], row
    gc.collect()
    assert len(rows) == 50


@cpython
def test_a_copy_of_a_row_is_the_owners_own_business() -> None:
    (row,) = Lists().read([[0.5]], None)
    copy = row.copy()
    copy.append(copy)
    assert gc.is_tracked(copy)


def test_the_collectors_settings_are_the_users() -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    Lists().read([[0.5]], None)
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before
