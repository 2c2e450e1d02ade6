"""A plan is true, and costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from together_embed.local import LocalEndpoint

from .conftest import Run


def test_what_is_planned_is_what_is_done(run: Run, at_endpoint: LocalEndpoint) -> None:
    texts = [f"text {number % 70}" for number in range(100)] + ["", "  "]
    Path("in.txt").write_text("\n".join(texts))
    planned = run("plan", "in.txt", "out.npy", "--batch-size", "10", "--json")
    assert planned.code == 3
    assert at_endpoint.requests == 0
    told = planned.json
    assert (told["texts"], told["duplicates"], told["bad"]) == (100, 30, 2)
    assert (told["known"], told["to_send"], told["requests"]) == (0, 70, 7)
    assert told["bad_rows"].keys() == {"101", "102"}
    one_by_one = ("--batch-size", "10", "--max-concurrency", "1")
    done = run("embed", "in.txt", "out.npy", *one_by_one, "--json").json
    assert done["sent"] == told["to_send"]
    # The text that shows whether the model is the same goes along, and makes one more.
    assert done["requests"] == told["requests"] + 1


def test_what_the_cache_has_is_not_planned_again(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    lines(30)
    cached = ("--cache", "c.sqlite")
    assert run("embed", "in.txt", "out.npy", *cached).code == 0
    lines(50)
    told = run("plan", "in.txt", *cached, "--json").json
    assert (told["known"], told["to_send"], told["requests"]) == (30, 20, 1)
    other = run("plan", "in.txt", *cached, "--json", "--model", "other").json
    assert (other["known"], other["to_send"]) == (0, 50)
    prefixed = run("plan", "in.txt", *cached, "--json", "--prefix", "x").json
    assert prefixed["known"] == 0
    assert at_endpoint.requests == 1


def test_the_time_is_told_at_the_speed_that_an_earlier_run_has_seen(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    lines(40)
    cached = ("--cache", "c.sqlite")
    before = run("plan", "in.txt", *cached)
    assert "unknown: name a limit" in before.out
    at_endpoint.slow(0.05)
    job = ("embed", "in.txt", "out.npy", *cached, "--batch-size", "10")
    assert run(*job, "--max-concurrency", "1").code == 0
    lines(400)
    told = run("plan", "in.txt", *cached, "--json").json
    # Ten texts take a twentieth of a second, or longer.
    assert 0 < told["speed"] <= 200
    assert told["seconds"] == pytest.approx(told["to_send"] / told["speed"])
    assert "texts a second of the last run" in run("plan", "in.txt", *cached).out
    limited = (*cached, "--requests-per-second", "2")
    assert run("plan", "in.txt", *limited, "--json").json["seconds"] == 2.0
    assert "at that limit" in run("plan", "in.txt", *limited).out
    other = run("plan", "in.txt", *cached, "--model", "other", "--json").json
    assert (other["speed"], other["seconds"]) == (None, None)


def test_a_plan_makes_no_file_and_needs_no_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, lines: Callable[[int], list[str]]
) -> None:
    lines(3)
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.delenv("TOGETHER_BASE_URL")
    assert run("plan", "in.txt", "out.npy").code == 0
    assert [path.name for path in Path().iterdir()] == ["in.txt"]


def test_what_is_not_known_is_said_to_be_unknown(
    run: Run, monkeypatch: pytest.MonkeyPatch, lines: Callable[[int], list[str]]
) -> None:
    lines(3)
    monkeypatch.delenv("TOGETHER_MODEL")
    ended = run("plan", "in.txt")
    assert ended.out.count("unknown") == 3
    told = run("plan", "in.txt", "--json").json
    assert [told[name] for name in ("known", "too_long", "seconds")] == [None] * 3


def test_texts_that_may_be_too_long_are_named_by_line(run: Run) -> None:
    texts = ["short"] * 30
    for number in (3, 17):
        texts[number] = f"{number} " + "word " * 600
    Path("in.txt").write_text("\n".join(texts))
    told = run("plan", "in.txt", "-m", "BAAI/bge-base-en-v1.5", "--json").json
    assert (told["context"], told["too_long"]) == (512, 2)
    assert told["too_long_rows"] == [4, 18]
    told = run("plan", "in.txt", "--max-input-tokens", "5000", "--json").json
    assert (told["context"], told["too_long"]) == (5000, 0)


def test_a_limit_that_is_named_gives_the_least_time(
    run: Run, lines: Callable[[int], list[str]]
) -> None:
    lines(100)
    by_tens = ("--batch-size", "10", "--requests-per-second", "0.5")
    assert run("plan", "in.txt", *by_tens, "--json").json["seconds"] == 20
    assert "20 s or more" in run("plan", "in.txt", *by_tens).out


def test_texts_of_many_bytes_are_planned_in_more_requests(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    texts = [f"{number} " + "word " * 100_000 for number in range(12)]
    Path("in.txt").write_text("\n".join(texts))
    told = run("plan", "in.txt", "--json").json
    assert told["requests"] == 4
    done = run("embed", "in.txt", "out.npy", "--json").json
    assert done["requests"] == 4
