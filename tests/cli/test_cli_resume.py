"""Stopped in any way and run again: it goes on, and pays for nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

import numpy as np

from tests.faults.ways import WAYS
from together_embed.local import LocalEndpoint
from together_embed.watch import CANARY

from .conftest import Run

Start = Callable[..., "subprocess.Popen[str]"]
BATCH, AT_ONCE = 10, 3
BY_TENS = ("--batch-size", f"{BATCH}", "--max-concurrency", f"{AT_ONCE}")
UNDERWAY = BATCH * (AT_ONCE + 1)
"""Texts that may be paid again: those in flight, and the one answer that is on its way
to the disk."""
PATIENCE = 30.0
# What the system tells a parent of its child's peak may be the parent's own.
THEN_TELL_PEAK = """
import re, sys; from together_embed.cli import main
code = main(); print(re.search("VmHWM:.*", open("/proc/self/status").read())[0])
sys.exit(code)
"""


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something holds, and fail if the process ends before."""
    ends_at = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends_at
        time.sleep(0.005)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_job_that_was_ended_goes_on_and_pays_only_what_was_underway_again(
    start: Start,
    run: Run,
    at_endpoint: LocalEndpoint,
    lines: Callable[[int], list[str]],
    how: signal.Signals,
) -> None:
    texts = lines(600)
    at_endpoint.slow(0.02)
    process = start("embed", "in.txt", "out.npy", *BY_TENS)
    until(lambda: at_endpoint.texts >= 200, process)
    process.send_signal(how)
    process.communicate(timeout=PATIENCE)
    assert not Path("out.npy").exists()
    at_endpoint.slow(0.0)
    assert run("embed", "in.txt", "out.npy", *BY_TENS).code == 0
    assert np.load("out.npy").tolist() == [at_endpoint.embed(text) for text in texts]
    seen = at_endpoint.seen
    seen.pop(CANARY)  # once a process
    assert set(seen) == set(texts)
    assert sum(seen.values()) - len(texts) <= UNDERWAY
    assert sorted(path.name for path in Path().iterdir()) == [
        "in.txt",
        "out.ids.jsonl",
        "out.npy",
    ]


def test_ctrl_c_ends_in_one_line_with_130_and_says_how_to_go_on(
    start: Start, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    lines(600)
    at_endpoint.slow(0.05)
    process = start("embed", "in.txt", "out.npy", *BY_TENS)
    until(lambda: at_endpoint.texts >= 50, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    (line,) = err.splitlines()
    assert "out.npy.cache.sqlite" in line
    assert "same command again" in line
    assert not list(Path().glob("*.part"))


def test_a_fatal_error_keeps_what_was_done(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    texts = lines(60)
    at_endpoint.script([*[None] * 3, 401])
    ended = run("embed", "in.txt", "out.jsonl", *BY_TENS)
    assert ended.code == 1
    assert "401" in ended.err
    assert "goes on from there" in ended.err
    assert not Path("out.jsonl").exists()
    at_endpoint.heal()
    ended = run("embed", "in.txt", "out.jsonl", *BY_TENS, "--json")
    assert ended.code == 0
    assert ended.json["recalled"] >= BATCH
    seen = at_endpoint.seen
    seen.pop(CANARY)
    assert set(seen) == set(texts)
    assert sum(seen.values()) - len(texts) <= UNDERWAY


def test_what_one_way_began_every_other_goes_on_with_and_so_does_the_command(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    texts = lines(70)
    right = [at_endpoint.embed(text) for text in texts]
    cache = str(Path("vectors.sqlite").absolute())
    for done, way in enumerate(WAYS, 1):
        model = way.make(at_endpoint.base_url, cache=cache, batch_size=5)
        assert way.embed(model, texts[: 10 * done]) == right[: 10 * done]
        way.close(model)
        assert at_endpoint.texts == 10 * done
    assert run("embed", "in.txt", "out.npy", "--cache", cache).code == 0
    assert np.load("out.npy").tolist() == right
    assert at_endpoint.texts == 70 + 1  # that one shows whether the model is the same


def test_the_cache_goes_when_the_work_is_whole_unless_it_was_asked_for(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    lines(5)
    assert run("embed", "in.txt", "a.npy", "--json").json["cache"] is None
    assert not list(Path().glob("*.sqlite*"))
    ended = run("embed", "in.txt", "b.npy", "--keep-cache", "--json")
    assert ended.json["cache"] == "b.npy.cache.sqlite"
    assert Path("b.npy.cache.sqlite").exists()
    run("embed", "in.txt", "c.npy", "--cache", "mine.sqlite")
    assert Path("mine.sqlite").exists()
    before = at_endpoint.texts
    ended = run("embed", "in.txt", "d.jsonl", "--cache", "mine.sqlite", "--json")
    assert ended.json["recalled"] == 5
    assert at_endpoint.texts == before


def test_a_result_that_is_there_is_never_replaced_unasked(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    lines(2)
    Path("out.ids.jsonl").write_text("mine")
    for out in ("out.npy", "out.ids.jsonl"):
        ended = run("embed", "in.txt", out)
        assert ended.code == 2
        assert "--overwrite" in ended.err
    assert Path("out.ids.jsonl").read_text() == "mine"
    assert run("embed", "out.ids.jsonl", "out.ids.jsonl", "--overwrite").code == 2
    assert at_endpoint.requests == 0
    assert run("embed", "in.txt", "out.npy", "--overwrite").code == 0


def test_two_runs_do_not_write_one_file_at_once(
    start: Start,
    run: Run,
    at_endpoint: LocalEndpoint,
    lines: Callable[[int], list[str]],
) -> None:
    texts = lines(100)
    at_endpoint.slow(0.05)
    process = start("embed", "in.txt", "out.npy", *BY_TENS)
    until(lambda: at_endpoint.texts >= 10, process)
    ended = run("embed", "in.txt", "out.npy", *BY_TENS)
    assert ended.code == 1
    assert "another process" in ended.err
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert np.load("out.npy").tolist() == [at_endpoint.embed(text) for text in texts]


def test_vectors_of_two_models_never_end_in_one_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, lines: Callable[[int], list[str]]
) -> None:
    lines(10)
    with LocalEndpoint(dimension=8, answer_model="old") as before:
        monkeypatch.setenv("TOGETHER_BASE_URL", before.base_url)
        assert run("embed", "in.txt", "a.npy", "--cache", "c.sqlite").code == 0
    lines(20)
    with LocalEndpoint(dimension=8, answer_model="new", port=before.port) as after:
        assert after.base_url == before.base_url
        ended = run("embed", "in.txt", "b.npy", "--cache", "c.sqlite")
    assert ended.code == 1
    assert "'old'" in ended.err
    assert not Path("b.npy").exists()


def test_a_cache_that_cannot_be_used_is_one_line_and_no_end(
    start: Start, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]]
) -> None:
    texts = lines(10)
    Path("out.npy.cache.sqlite").mkdir()
    process = start("embed", "in.txt", "out.npy")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    (line,) = err.splitlines()
    assert line.startswith("together-embed embed: warning: the cache ")
    assert np.load("out.npy").tolist() == [at_endpoint.embed(text) for text in texts]


@pytest.mark.filterwarnings("ignore::together_embed.store.StoreWarning")
@pytest.mark.parametrize("named", [False, True])
def test_a_file_of_another_kind_is_not_called_the_cache_nor_deleted(
    run: Run, at_endpoint: LocalEndpoint, lines: Callable[[int], list[str]], named: bool
) -> None:
    lines(10)
    other = Path("notes.txt" if named else "out.npy.cache.sqlite")
    other.write_text("mine")
    words = ["embed", "in.txt", "out.npy", *(["--cache", str(other)] if named else [])]
    done = run(*words)
    assert done.code == 0
    assert "kept" not in done.out
    assert run(*words, "--overwrite", "--json").json["cache"] is None
    at_endpoint.fail(401)
    failed = run(*words, "--overwrite")
    assert failed.code == 1
    assert failed.err.endswith("Nothing was written.\n")
    assert other.read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_memory_does_not_grow_with_the_input(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, padding = 4_096, "and so on " * 800
    vector = [1.0, *[0.0] * (width - 1)]

    def peak(count: int) -> int:
        texts = (f"{number} {padding}\n" for number in range(count))
        Path(f"{count}.txt").write_text("".join(texts))
        words = ("embed", f"{count}.txt", f"{count}.npy", "--max-concurrency", "2")
        out, _ = start(*words, program=THEN_TELL_PEAK).communicate()
        return int(out.split()[-2])

    with LocalEndpoint(dimension=width, embedder=lambda *_: vector) as endpoint:
        monkeypatch.setenv("TOGETHER_BASE_URL", endpoint.base_url)
        small = peak(1_000)
        # 3,000 texts more are 72 MB with their vectors, nearly as much as the peak.
        assert peak(4_000) < 1.25 * small
