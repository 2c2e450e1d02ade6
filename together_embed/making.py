"""The lock under which an adapter makes its client, free again in a forked child.

The adapters make a client when it is first needed, and anew when a field has changed;
threads that start together share one.
"""

from __future__ import annotations

import os
import threading

_held = threading.Lock()


def lock() -> threading.Lock:
    """Return the lock of this process."""
    return _held


def _renew() -> None:
    """Start a forked child with a free lock: whoever held it was left behind."""
    global _held
    _held = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
