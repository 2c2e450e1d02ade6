"""Keeps the garbage collector off rows, which are lists of nothing but floats.

The collector finds objects that refer to each other in a circle. To do so it looks at
every element of every list, again and again: at 17 million floats for 16,384 rows of
width 1024, a tenth of a second at a time in which no event loop runs. Floats refer to
nothing, so CPython itself leaves tuples and dictionaries of them out once it has seen
them, and has a public function for it; lists it never leaves out by itself.

A row that is left out is freed like any other when nobody refers to it. Only one that
its owner puts into a circle of references later on would stay.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache


def spare(rows: Iterable[list[float]]) -> None:
    """Tell the collector that these lists need no looking at."""
    untrack = _untrack()
    if untrack is not None:
        deque(map(untrack, rows), maxlen=0)


@cache
def _untrack() -> Callable[[object], None] | None:
    """Return CPython's function, or None where there is none, or no need of it."""
    if sys.implementation.name != "cpython":
        return None
    import sysconfig  # which brings threads along from Python 3.12 on

    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    try:
        import ctypes

        untrack = ctypes.pythonapi.PyObject_GC_UnTrack
    except (ImportError, AttributeError):
        return None
    untrack.argtypes = (ctypes.py_object,)
    untrack.restype = None
    return untrack
