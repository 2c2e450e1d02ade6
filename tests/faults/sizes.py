"""How large the suite's tests are: small for each change, full for `make faults`.

What is promised is promised of the full sizes; the small ones find what breaks.
"""

from __future__ import annotations

import os

FULL = os.environ.get("FAULTS") == "full"


def sized(small: int, full: int) -> int:
    """Choose a size."""
    return full if FULL else small
