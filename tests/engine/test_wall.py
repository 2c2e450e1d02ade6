"""The engine's wall: it decides, and reaches for no clock, socket, thread or loop."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import together_embed

PACKAGE = Path(together_embed.__file__).parent
MODULES = sorted((PACKAGE / "engine").glob("*.py"))
FORBIDDEN = {
    *("time", "socket", "ssl", "select", "selectors", "threading", "_thread"),
    *("asyncio", "concurrent", "multiprocessing", "queue", "subprocess", "signal"),
    *("requests", "urllib3", "aiohttp", "http", "urllib", "email", "random", "os"),
    *("langchain_core", "llama_index", "logging", "io", "pathlib", "sched"),
}
ALLOWED_INSIDE = (
    "together_embed.engine",
    "together_embed.errors",
    "together_embed.caution",
)

SCRIPT = """
import importlib, sys, types
import base64, binascii, dataclasses, datetime, enum, re, statistics, struct, typing
import msgspec
package = types.ModuleType("together_embed")  # whose own module loads the drivers
package.__path__ = [{package!r}]
sys.modules["together_embed"] = package
for name in {forbidden!r}:
    for loaded in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
        del sys.modules[loaded]
    sys.modules[name] = None
for name in {names!r}:
    importlib.import_module("together_embed.engine." + name)
print(len([n for n in sys.modules if n.startswith("together_embed.engine.")]))
"""


def imports_of(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_engine_imports_nothing_that_acts(module: Path) -> None:
    names = imports_of(module)
    assert not {name.partition(".")[0] for name in names} & FORBIDDEN
    inside = {name for name in names if name.startswith("together_embed")}
    assert all(name.startswith(ALLOWED_INSIDE) for name in inside)


def test_the_engine_loads_where_nothing_that_acts_can_be_imported() -> None:
    names = [module.stem for module in MODULES if module.stem != "__init__"]
    # `_thread` and `io` are part of the interpreter, `os` of its start.
    forbidden = sorted(FORBIDDEN - {"_thread", "io", "os", "signal", "random"})
    script = SCRIPT.format(package=str(PACKAGE), forbidden=forbidden, names=names)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names)
