"""What a person sees: help that fits a screen, a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from together_embed.cli import main
from together_embed.cli.pace import Pace
from together_embed.cli.words import clock_words, many
from together_embed.engine.stats import Stats
from together_embed.local import LocalEndpoint

from .conftest import Run

HEIGHT, WIDTH = 24, 80


@pytest.mark.parametrize("command", ["", "embed", "plan", "check", "serve"])
def test_help_fits_a_screen_with_the_prompt_below_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("COLUMNS", f"{WIDTH}")
    with suppress(SystemExit):  # argparse's way to end
        assert main([*filter(None, [command]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 5 < len(lines) < HEIGHT
    assert max(map(len, lines)) <= WIDTH


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(ModuleNotFoundError):  # where it runs without being installed
        assert main(["--version"]) == 0
        assert re.match(r"together-embed \d", capsys.readouterr().out)


def test_no_answer_is_wider_than_a_screen(run: Run) -> None:
    Path("in.txt").write_text("hello\n\nworld\n")
    for words in (["embed", "in.txt", "out.npy"], ["plan", "in.txt"], ["check"]):
        said = run(*words).out
        assert max(map(len, said.splitlines())) <= WIDTH


def test_without_a_terminal_there_is_a_plain_line_now_and_then(
    run: Run,
    at_endpoint: LocalEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[int], list[str]],
) -> None:
    monkeypatch.setattr("together_embed.cli.progress.EVERY", 0.02)
    lines(200)
    at_endpoint.slow(0.02)
    words = ("--batch-size", "10", "--max-concurrency", "1")
    ended = run("embed", "in.txt", "out.npy", *words)
    said = ended.err.splitlines()
    assert len(said) > 2
    assert all(line.startswith("together-embed embed: ") for line in said)
    assert all(" of 200 rows" in line for line in said[1:])
    assert "\x1b" not in ended.err + ended.out
    assert any(re.search(r"\d a second, \d+ s left, up to \d", line) for line in said)


def test_in_a_terminal_there_is_a_bar_that_leaves_no_trace(
    start: Callable[..., Any],
    at_endpoint: LocalEndpoint,
    lines: Callable[[int], list[str]],
) -> None:
    lines(300)
    at_endpoint.slow(0.05)
    ours, theirs = pty.openpty()
    words = ("embed", "in.txt", "out.npy", "--batch-size", "10")
    process = start(*words, "--max-concurrency", "4", stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal's way to say that all have left
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    text = shown.decode()
    assert "━" in text
    assert "of 300 rows" in text
    assert "a second" in text
    assert "up to 4 requests at once" in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))
    assert out.startswith("out.npy: 300 vectors of width 8\n")


class Told:
    """Counts that a test sets."""

    def __init__(self) -> None:
        self.counts = Stats()

    def __call__(self) -> Stats:
        return self.counts


def test_a_job_tells_whether_it_reads_embeds_is_slowed_down_or_waits() -> None:
    told = Told()
    pace = Pace(told, 0.0)
    pace.total = 100
    assert pace.moment(9.0).state == "reading"
    told.counts = Stats(requests=3, limit=8)
    assert pace.moment(10.0).state == "reading"
    assert pace.moment(12.0).state == "up to 8 requests at once"
    assert pace.moment(15.0).state == "no answer for 5 s"
    told.counts = Stats(requests=3, failed=2, limit=8)
    assert pace.moment(15.0).state == "no answer for 5 s, 2 requests failed"
    pace.move(10, 16.0)
    assert pace.moment(16.0).state == "up to 8 requests at once"
    told.counts = Stats(requests=9, refused=2, limit=4)
    assert pace.moment(17.0).state == "server refused 2, slowed down"
    pace.move(20, 60.0)
    assert pace.moment(60.0).state == "up to 4 requests at once"


def test_a_job_that_only_reads_its_cache_says_so() -> None:
    pace = Pace(Told(), 0.0)
    pace.move(10, 1.0)
    assert pace.moment(1.0).state == "from the cache"


def test_speed_is_that_of_late_and_the_rest_takes_as_long_as_it_says() -> None:
    pace = Pace(Told(), 0.0)
    pace.total = 2_000
    assert (pace.moment(1.0).speed, pace.moment(1.0).left) == (None, None)
    for second in range(1, 101):
        pace.move(second * (10 if second <= 50 else 20), float(second))
    moment = pace.moment(100.0)
    assert moment.speed == pytest.approx(20.0, rel=0.05)
    assert moment.left == 0.0


def test_what_comes_from_the_cache_is_no_speed() -> None:
    told = Told()
    pace = Pace(told, 0.0)
    pace.total = 2_000
    told.counts = Stats(recalled=1_000)
    for second in range(1, 11):
        pace.move(100 * second, float(second))
        assert pace.moment(float(second)).speed is None
    for second in range(1, 6):
        told.counts = Stats(recalled=1_000, requests=second, texts=second)
        pace.move(1_000 + second, 10.0 + second)
    moment = pace.moment(15.0)
    assert moment.speed == pytest.approx(1.0, rel=0.05)
    assert moment.left == pytest.approx(995, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1:00 min"), (3_725, "1:02:05 h")],
)
def test_lengths_of_time_are_told_as_people_read_them(
    seconds: float, words: str
) -> None:
    assert clock_words(seconds) == words


def test_one_thing_is_told_apart_from_many() -> None:
    assert [many(count, "row") for count in (0, 1, 1_000)] == [
        "0 rows",
        "1 row",
        "1,000 rows",
    ]
