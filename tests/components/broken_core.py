"""Breaks the core on purpose, to show that the tests beside this file would notice.

A plugin, loaded by `nox -s broken`. A run succeeds when all of its tests fail:

    BROKEN=order PYTHONPATH=tests/components \\
        pytest -p broken_core tests/components -k 'not suites and not migrating'

`order` hands the vectors of several texts out in reverse, `missing` loses the last one.
What looks at names and counts more than at vectors is left out.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from together_embed import EmbeddingsClient

Rows = list[list[float]]
BREAKS = {"order": lambda rows: rows[::-1], "missing": lambda rows: rows[:-1]}

_moved: list[str] = []
_unmoved: list[str] = []


def _broken(rows: Rows) -> Rows:
    """Break what several texts got; a query's vector stays as it is."""
    return BREAKS[os.environ["BROKEN"]](rows) if len(rows) > 1 else rows


def pytest_configure(config: pytest.Config) -> None:
    right = EmbeddingsClient.embed, EmbeddingsClient.aembed
    batches = EmbeddingsClient.embed_batches, EmbeddingsClient.aembed_batches

    def embed(self: Any, *given: Any, **options: Any) -> Rows:
        return _broken(right[0](self, *given, **options))

    async def aembed(self: Any, *given: Any, **options: Any) -> Rows:
        return _broken(await right[1](self, *given, **options))

    def embed_batches(self: Any, *given: Any, **options: Any) -> Iterator[Rows]:
        return map(_broken, batches[0](self, *given, **options))

    async def aembed_batches(
        self: Any, *given: Any, **options: Any
    ) -> AsyncIterator[Rows]:
        async for rows in batches[1](self, *given, **options):
            yield _broken(rows)

    for broken in (embed, aembed, embed_batches, aembed_batches):
        setattr(EmbeddingsClient, broken.__name__, broken)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.failed:
        _moved.append(report.nodeid)
    elif report.when == "call" or not report.passed:  # one that could not run, too
        _unmoved.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.exitstatus = 0 if _moved and not _unmoved else 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in _unmoved:
        terminalreporter.write_line(f"NOT MOVED by a broken core: {name}")
    terminalreporter.write_line(f"moved by a broken core: {len(_moved)} tests")
