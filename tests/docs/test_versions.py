"""The page on supported versions says what pyproject.toml says, and CI tries it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "versions.md").read_text()
ELSEWHERE = {"all", "cli", "ray"}
"""Extras that have a page of their own, or are made of others."""


def oldest(requirement: str) -> tuple[str, str]:
    read = Requirement(requirement)
    (bound,) = read.specifier
    assert bound.operator == ">="
    return read.name, bound.version


def test_the_table_names_each_package_and_its_oldest_version() -> None:
    wanted = {(*oldest(needed), "") for needed in PROJECT["dependencies"]}
    for extra, needs in PROJECT["optional-dependencies"].items():
        if extra not in ELSEWHERE:
            wanted |= {(*oldest(needed), extra) for needed in needs}
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \| `?([\w-]*)`? ?\|$", PAGE, re.M)
    assert set(rows) == wanted


def test_the_sentence_on_the_command_names_its_oldest_versions() -> None:
    words = " ".join(PAGE.split())
    for needed in PROJECT["optional-dependencies"]["cli"]:
        assert re.search(rf"\b{' '.join(oldest(needed))}\b", words), needed


def test_every_python_is_on_the_page_in_the_matrix_and_in_ci() -> None:
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert pythons == re.findall(r"3\.1\d", PAGE.split("\n\n")[1])
    for place in ("noxfile.py", ".github/workflows/ci.yml"):
        listed = ", ".join(f'"{python}"' for python in pythons)
        assert f"[{listed}]" in (ROOT / place).read_text()
