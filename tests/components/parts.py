"""Brings the packages that are tried: what they say of themselves is not our concern.

Warnings are errors in these tests, those of other projects while they are imported
excepted.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest

_WHEELS_UP_TO = {"pgserver": (3, 12)}
"""Packages that exist for some of our versions of Python alone."""


def part(name: str) -> Any:
    """Import a module, or skip where its package is not made for this Python."""
    newest = _WHEELS_UP_TO.get(name.partition(".")[0], sys.version_info)
    if sys.version_info[:2] > newest:
        pytest.skip(f"{name} has no wheel for Python newer than {newest}")
    return quietly(name)


def quietly(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
