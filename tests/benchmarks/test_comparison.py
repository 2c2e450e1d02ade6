"""The benchmark runs, counts right vectors, and its pages say what its results say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("orjson")

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HARNESS))


def test_a_quick_comparison_counts_requests_and_right_vectors(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    words = ["--quick", "--no-peers", "--width", "32", "--only", "adaptive,query"]
    ended = subprocess.run(
        [sys.executable, HARNESS / "compare.py", *words, "--json", found],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 80
    told = json.loads(found.read_text())
    runs: list[dict[str, Any]] = told["results"]
    tasks = {run["task"] for run in runs}
    assert tasks == {"texts", "queries", "limits", "stream of fewer"}
    for run in runs:
        assert run["right"] == run["texts"] > 0, run
        served = run["server"]["requests"] - run["server"]["refused"]
        batch = {"queries": 1, "limits": 16}.get(run["task"], 64)
        assert served == -(-run["texts"] // batch)
        assert run["server"]["texts"] == run["texts"]
    judged = {(one["group"], one["what"]): one for one in told["goals"]}
    refused = "Requests refused (429) there, after the first ten"
    assert judged[refused, "8 in flight"]["met"]
    blocked = "Longest time the event loop is blocked"
    assert judged[blocked, "core, base64"]["met"] is None


def test_a_client_that_fails_is_named_and_stops_nothing(harness: None) -> None:
    from report import summarise, write_table

    place = {"round": 1, "task": "texts", "server_name": "float"}
    lost = {**place, "client": "somebody", "failed": "it gave up", "server": {}}
    rows = summarise([lost])
    assert [row.failed for row in rows] == ["it gave up"]
    assert "it gave up" in write_table(rows, [], {"lines": []})


def test_pages_and_pictures_say_what_the_results_say(harness: None) -> None:
    from pages import JSON, made

    found = json.loads((ROOT / JSON).read_text())
    for name, text in made(found).items():
        assert (ROOT / name).read_text() == text, f"{name}: make bench, or undo"


def test_what_is_judged_is_a_ratio_within_a_round(harness: None) -> None:
    from goals import Goal, Spot

    def run(number: int, client: str, cpu: float) -> dict[str, Any]:
        place = {"task": "texts", "server_name": "float", "client": client}
        return {**place, "round": number, "cpu": cpu, "wall": 1.0, "texts": 1}

    ours, floor = (Spot("texts", "float", name) for name in ("ours", "floor"))
    goal = Goal("g", "w", ours, 1.05, ("CPU",), floor)
    results = [run(1, "ours", 1.0), run(1, "floor", 1.0)]
    # A machine twice as slow in the second round changes nothing.
    results += [run(2, "ours", 2.0), run(2, "floor", 2.0)]
    results += [run(3, "ours", 9.0), run(3, "floor", 3.0)]
    assert goal.judge(results)["values"] == {"CPU": 1.0}
    assert goal.judge(results)["met"] is True
    assert goal.judge(results[4:])["met"] is False
    assert goal.judge([])["met"] is None


def test_the_share_of_a_limit_leaves_the_start_out(harness: None) -> None:
    from limits import Limits, Timeline

    timeline = Timeline()
    for number in range(10):
        timeline.add(number / 100, 1.0, refused=number > 4)
    for number in range(20):
        timeline.add(1.09 + number / 10, 1.09 + (number + 1) / 10, refused=False)
    share, refused = timeline.share(10.0)
    assert share == pytest.approx(20 / 30, rel=0.01)  # a second went by unused
    assert refused == 0.0
    limits = Limits(rate=10.0, burst=2.0)
    assert [limits.admits(0, at) for at in (0.0, 0.0, 0.0, 0.1, 0.1)] == [
        *(True, True, False),
        *(True, False),
    ]
    assert not Limits(cap=2).admits(2, 0.0)
    assert Limits(cap=2).admits(1, 0.0)


def test_what_a_cache_costs_is_compared_with_fetching_right_vectors() -> None:
    words = ["--texts", "150", "--width", "8", "--rounds", "1"]
    ended = subprocess.run(
        [sys.executable, HARNESS / "recall.py", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    rows = [line.split("|")[1:3] for line in ended.stdout.splitlines() if "µs" in line]
    ways = {(form.strip(), way.strip()) for form, way in rows}
    assert {(form, "found") for form in ("lists", "array")} <= ways
    assert len(ways) == 9  # and three servers each, and what filled the cache


def test_the_layers_of_an_aim_are_shown_with_right_vectors_in_each() -> None:
    words = ["--only", "Lists from base64, async", "--texts", "128", "--rounds", "1"]
    ended = subprocess.run(
        [sys.executable, HARNESS / "layers.py", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    rows = [line.split("|")[1:-1] for line in ended.stdout.splitlines() if "µs" in line]
    assert [row[0].strip() for row in rows] == [
        "floats by hand",
        "base64 by hand, arrays",
        "base64 by hand, lists",
        "core, lists",
    ]
    assert rows[0][3].strip() == "1.00"
