"""Gives a warning at the user's line, since a line of ours tells nobody what to change.

The way from there to here goes through this library and often through a framework, and
is of another length on every way in, so that no fixed `stacklevel` is right.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_OURS = ("together_embed", "langchain_together_embed", "llama_index_together_embed")
_PYTHONS_OWN = warnings.__file__.rpartition("warnings")[0]
_INSTALLED = ("site-packages", "dist-packages")  # these may lie within Python's own
_NOBODY = sys.maxsize
"""No stack is as deep: Python then names `sys`, line 1, and shows no line of code."""


def warn(warning: Warning) -> None:
    """Give a warning where a program that is not installed comes nearest to here.

    Without one it is the nearest installed one. On a thread of its own, which is where
    an async call reads its texts, there is neither, and no place is named.
    """
    installed = _NOBODY
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - no other way
    level = 2
    while frame is not None:
        path = frame.f_code.co_filename
        name = str(frame.f_globals.get("__name__")).partition(".")[0]
        if name in _OURS or path.startswith("<frozen"):
            pass
        elif any(folder in path for folder in _INSTALLED):
            installed = min(installed, level)
        elif not path.startswith(_PYTHONS_OWN):
            break
        level, frame = level + 1, frame.f_back
    else:
        level = installed
    warnings.warn(warning, stacklevel=level)
