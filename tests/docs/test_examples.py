"""The code that people will paste runs, and finds what it says it finds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from together_embed.local import LocalEndpoint

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = (
    "the error has the vectors so far, and resume() continues",
    "the client waits for up to half an hour",
    "the first call to send it gets the vector for all of them",
)
"""What the demo's questions are answered by, on the pages that it searches."""
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "Bees make honey."), (1, "Bees make honey."), (2, "")]
)
def test_each_block_of_the_readme_runs_as_it_stands(
    number: int, expected: str, together_endpoint: LocalEndpoint
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert together_endpoint.texts > 0


def test_no_block_of_the_readme_goes_untested() -> None:
    assert len(BLOCKS) == 3


def test_the_demo_finds_an_answer_to_each_question_in_both_frameworks() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("LangChain ") == 4  # one line of counts, three answers
    assert done.stdout.count("LlamaIndex ") == 4
    _, *panels = done.stdout.split("╭─ ")
    assert len(panels) == len(ANSWERS)
    for panel, answer in zip(panels, ANSWERS, strict=True):
        assert answer in " ".join(panel.replace("│", " ").split())
