"""The command line, in this process or in one of its own, against a real endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from together_embed.cli import main
from together_embed.local import LocalEndpoint
from together_embed.watch import CANARY

KEY = "canary-key-0123456789"
START = "import sys; from together_embed.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def at_endpoint(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LocalEndpoint:
    """Point the environment at the endpoint, and stand in an empty folder."""
    monkeypatch.setattr("together_embed.engine.retry.BASE_DELAY", 0.002)
    monkeypatch.setenv("TOGETHER_BASE_URL", endpoint.base_url)
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    monkeypatch.setenv("TOGETHER_MODEL", "m")
    monkeypatch.chdir(tmp_path)
    return endpoint


@pytest.fixture
def run(at_endpoint: LocalEndpoint, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def call(*words: str) -> Ended:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture
def start(at_endpoint: LocalEndpoint) -> Iterator[Callable[..., Any]]:
    """Start a command in a process of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    begun: list[subprocess.Popen[str]] = []

    def popen(*words: str, program: str = START, **how: Any) -> subprocess.Popen[str]:
        chosen: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": {**os.environ, "PYTHONPATH": path},
        }
        chosen.update(how)
        process = subprocess.Popen([sys.executable, "-c", program, *words], **chosen)
        begun.append(process)
        return process

    yield popen
    for process in begun:
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[int], list[str]]:
    """Write so many different lines to `in.txt`, and return them."""

    def write(count: int) -> list[str]:
        texts = [f"line {number} of the corpus" for number in range(count)]
        (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))
        return texts

    return write


def seen(endpoint: LocalEndpoint) -> dict[str, int]:
    """Return the user's texts that came to the endpoint, and how often."""
    return {text: times for text, times in endpoint.seen.items() if text != CANARY}
