"""Processes that are killed or interrupted in the middle of a job with a store."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from together_embed.local import LocalEndpoint
from together_embed.memory import Memory

from .sizes import FULL, sized
from .ways import KEY, WAYS, Way

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
SCRIPT = Path(__file__).with_name("killed_job.py")
BATCH, AT_ONCE = 10, 4
UNDER_WAY = BATCH * (AT_ONCE + 1)
"""Texts in flight, and those of the one answer that is on its way to the disk."""
PATIENCE = 300.0
"""Seconds: the script loads both frameworks, which a busy machine takes long for."""


@contextmanager
def started(
    way: Way, endpoint: LocalEndpoint, store: Path, count: int
) -> Iterator[subprocess.Popen[str]]:
    settings = {"batch_size": BATCH, "max_concurrency": AT_ONCE}
    words = [way.name, endpoint.base_url, str(store), str(count), json.dumps(settings)]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TOGETHER_API_KEY": KEY,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends_at = time.monotonic() + PATIENCE
    while not reached() and process.poll() is None:
        assert time.monotonic() < ends_at, "it goes on too slowly"
        time.sleep(0.0005)


def finished(way: Way, endpoint: LocalEndpoint, store: Path, texts: list[str]) -> None:
    """Run the job to its end in this process, and check each vector."""
    model = way.make(endpoint.base_url, batch_size=BATCH, cache=str(store))
    assert way.embed(model, texts) == [endpoint.embed(text) for text in texts]
    way.close(model)


@pytest.mark.parametrize("way", WAYS if FULL else WAYS[:3], ids=lambda way: way.name)
def test_a_job_killed_at_random_moments_pays_again_for_what_was_under_way_alone(
    way: Way, tmp_path: Path
) -> None:
    core = way.name.startswith("core")
    kills = sized(4 if core else 1, 50 if core else 5)
    count = sized(2_000, 20_000)
    texts = [f"text number {n}" for n in range(count)]
    chance = random.Random(kills)
    store = tmp_path / "vectors.db"
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        amid = 0
        for left in range(kills, 0, -1):
            rest = (count - len(endpoint.seen)) // BATCH
            stop = chance.randrange(1, max(2, 2 * rest // (left + 1)))
            stop_at = endpoint.requests + stop
            # However late the kill comes, the job is not at its end by then.
            endpoint.script([None] * min(stop + 10 * AT_ONCE, rest - 1))
            endpoint.fail("hang", times=None)
            with started(way, endpoint, store, count) as process:
                wait_until(lambda n=stop_at: endpoint.requests >= n, process)
                time.sleep(chance.random() * 0.005)
                process.send_signal(signal.SIGKILL)
                process.wait()
                amid += process.returncode == -signal.SIGKILL
            endpoint.heal()
        assert len(endpoint.seen) < count  # the last kill came before the end, too
        finished(way, endpoint, store, texts)
        paid_again = endpoint.texts - count
        assert set(endpoint.seen) == set(texts)
    assert amid == kills
    assert 0 <= paid_again <= kills * UNDER_WAY
    print(f"{way.name}: {count:,} texts, {kills} kills, {paid_again} texts paid again")


@pytest.mark.parametrize("way", WAYS[::2], ids=lambda way: way.name)
def test_ctrl_c_ends_a_process_at_once_and_what_was_done_is_in_the_store(
    way: Way, tmp_path: Path
) -> None:
    count, done = 400, 15
    store = tmp_path / "vectors.db"
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        endpoint.script([None] * done)
        endpoint.fail("hang", times=None)  # after those that are answered
        with started(way, endpoint, store, count) as process:
            wait_until(lambda: endpoint.requests >= done + AT_ONCE, process)
            process.send_signal(signal.SIGINT)
            # The requests that hang have 60 s: whoever waits for one is not here in 20.
            out, err = process.communicate(timeout=20)
        assert (out.split(), err, process.returncode) == (
            ["ready", "interrupted"],
            "",
            0,
        )
        endpoint.heal()
        answered = set(endpoint.seen)
        assert len(answered) == done * BATCH
        texts = [f"text number {n}" for n in range(count)]
        finished(way, endpoint, store, texts)
        assert set(endpoint.seen.values()) == {1}  # nothing that was answered, again


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.01])
@pytest.mark.parametrize("way", WAYS[:1], ids=lambda way: way.name)
def test_two_ctrl_c_in_quick_succession_end_a_process_and_lose_nothing_that_was_kept(
    way: Way, gap: float, tmp_path: Path
) -> None:
    count, done = 400, 15
    store = tmp_path / "vectors.db"
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        endpoint.script([None] * done)
        endpoint.fail("hang", times=None)
        with started(way, endpoint, store, count) as process:
            wait_until(lambda: endpoint.requests >= done + AT_ONCE, process)
            process.send_signal(signal.SIGINT)
            time.sleep(gap)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        raised = set(re.findall(r"^[\w.]+(?:Error|Exception|Interrupt)\b", err, re.M))
        assert raised <= {"KeyboardInterrupt"}
        endpoint.heal()
        finished(way, endpoint, store, [f"text number {n}" for n in range(count)])
        assert endpoint.texts - count <= UNDER_WAY
        assert set(endpoint.seen.values()) <= {1, 2}


def test_ctrl_c_amid_a_write_to_the_store_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, interrupted = Memory.keep, []

    def interrupted_once(self: Memory, *given: Any) -> None:
        if not interrupted:
            interrupted.append(given)
            raise KeyboardInterrupt
        keep(self, *given)

    monkeypatch.setattr(Memory, "keep", interrupted_once)
    texts = [f"text number {n}" for n in range(40)]
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        client = WAYS[0].make(
            endpoint.base_url, batch_size=10, cache=tmp_path / "v.db", max_concurrency=1
        )
        with pytest.raises(KeyboardInterrupt):
            client.embed(texts)
        finished(WAYS[0], endpoint, tmp_path / "v.db", texts)
        client.close()
        (kept, *_), *_ = interrupted
        assert {endpoint.seen[text] for text in kept} == {1}
