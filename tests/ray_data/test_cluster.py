"""A Ray cluster on loopback: Parquet in, Parquet out, actors that share and die.

`RAY_TEXTS=100000` makes the corpus as large as that, and adds a run without a cache.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from together_embed.errors import ConfigurationError
from together_embed.local import LocalEndpoint
from together_embed.local.limits import Limits
from together_embed.ray import EmbedBatches, SharedLimit, remaining

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ray = pytest.importorskip("ray", reason="Ray has no wheel for this Python")
    data = pytest.importorskip("ray.data")

pytestmark = [
    pytest.mark.filterwarnings("ignore:::ray"),
    pytest.mark.skipif(
        sys.platform == "win32", reason="processes are killed by signal"
    ),
]
TEXTS = int(os.environ.get("RAY_TEXTS", "6000"))
BLOCKS = 12
HERE = "127.0.0.2"
"""Loopback. Ray replaces 127.0.0.1 by the address that others would reach."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    folder = str(Path(__file__).resolve().parents[2])
    variables = {"TOGETHER_API_KEY": "k", "PYTHONPATH": folder}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=200_000_000,
            runtime_env={"env_vars": variables},
            _node_ip_address=HERE,
        )
        quiet = data.DataContext.get_current()
        quiet.enable_progress_bars = False
        yield
        ray.shutdown()


def corpus(folder: Path, texts: int) -> list[str]:
    folder.mkdir()
    rows = [f"passage {number} of the corpus" for number in range(texts)]
    each = -(-texts // BLOCKS)
    for start in range(0, texts, each):
        ids = list(range(start, min(start + each, texts)))
        table = pa.table({"id": ids, "text": rows[start : start + each]})
        parquet.write_table(table, folder / f"{start:09}.parquet")
    return rows


def read(folder: Path) -> Any:
    """Read it in as many blocks; by itself Ray makes one of what is small."""
    rows = -(-parquet.read_table(folder).num_rows // BLOCKS)
    return data.read_parquet(str(folder)).repartition(target_num_rows_per_block=rows)


def check(endpoint: LocalEndpoint, folder: Path, texts: list[str]) -> None:
    """See to it that every row is there, once, with its own vector."""
    written = parquet.read_table(folder)
    assert sorted(written["id"].to_pylist()) == list(range(len(texts)))
    assert written.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    for row in written.to_pylist():
        assert row["text"] == texts[row["id"]]
        assert row["embedding"] == endpoint.embed(row["text"])
        assert row["error"] is None


class Killer(threading.Thread):
    """Kills an actor at its work, once so many texts were paid."""

    def __init__(self, endpoint: LocalEndpoint, pids: Path, after: int) -> None:
        super().__init__()
        self._endpoint, self._pids, self._after = endpoint, pids, after
        self.killed = False

    def run(self) -> None:
        ends_at = time.monotonic() + 300
        while time.monotonic() < ends_at:
            if self._endpoint.texts >= self._after:
                os.kill(int(min(os.listdir(self._pids))), signal.SIGKILL)
                self.killed = True
                return
            time.sleep(0.005)


@pytest.mark.parametrize(
    "keeps", [True, False] if "RAY_TEXTS" in os.environ else [True]
)
def test_an_actor_that_is_killed_costs_what_was_in_flight(
    cluster: None, tmp_path: Path, keeps: bool
) -> None:
    class Told(EmbedBatches):
        def __init__(self, pids: str, **settings: Any) -> None:
            super().__init__("m", **settings)
            self._pids = Path(pids)

        def __call__(self, batch: Any) -> Any:
            (self._pids / str(os.getpid())).touch()
            return super().__call__(batch)

    texts = corpus(tmp_path / "in", TEXTS)
    pids = tmp_path / "pids"
    pids.mkdir()
    settings: dict[str, Any] = {"batch_size": 20, "max_concurrency": 4}
    if keeps:
        settings["cache"] = str(tmp_path / "vectors.sqlite")
    with LocalEndpoint(dimension=8, remember_texts=True, delay=0.02) as endpoint:
        killer = Killer(endpoint, pids, TEXTS // 3)
        killer.start()
        read(tmp_path / "in").map_batches(
            Told,
            fn_constructor_args=(str(pids),),
            fn_constructor_kwargs={"base_url": endpoint.base_url, **settings},
            batch_format="pyarrow",
            batch_size=500,
            compute=data.ActorPoolStrategy(size=2),
            num_cpus=0.5,
        ).write_parquet(str(tmp_path / "out"))
        killer.join()
        assert killer.killed
        check(endpoint, tmp_path / "out", texts)
        twice = sum(endpoint.seen.values()) - TEXTS
        assert endpoint.seen.keys() == set(texts)
    # What one actor had in hand: requests in flight, or the block that it was at.
    at_work = 4 * 20 if keeps else -(-TEXTS // BLOCKS)
    print(f"{TEXTS} texts, {twice} paid twice of {at_work} in flight at most")
    assert 0 <= twice <= at_work


def test_actors_together_keep_to_one_limit(cluster: None, tmp_path: Path) -> None:
    rate, actors = 40.0, 3
    texts = corpus(tmp_path / "in", 240)
    # A second's worth of room: on a busy machine what was sent evenly arrives in heaps.
    bucket = Limits(requests_per_second=rate, burst=rate + actors)
    with LocalEndpoint(dimension=8, limits=bucket) as endpoint:
        limit = SharedLimit(requests_per_second=rate, max_concurrency=9)
        read(tmp_path / "in").map_batches(
            EmbedBatches,
            fn_constructor_kwargs={
                "model": "m",
                "base_url": endpoint.base_url,
                "batch_size": 1,
                "limit": limit,
            },
            batch_format="pyarrow",
            batch_size=20,
            compute=data.ActorPoolStrategy(size=actors),
            num_cpus=0.5,
        ).write_parquet(str(tmp_path / "out"))
        check(endpoint, tmp_path / "out", texts)
        assert endpoint.requests == 240
        assert endpoint.failed == 0  # no refusal
        assert endpoint.in_flight_max <= 9
        assert endpoint.connections >= actors
    assert limit.tenants() <= actors
    limit.end()


def test_a_limit_with_a_name_is_found_by_it(cluster: None) -> None:
    limit = SharedLimit(name="ours", requests_per_second=5)
    again = SharedLimit(name="ours", requests_per_second=5)
    part = limit.renew("a", 0)
    assert part is not None
    assert part.requests_per_second == 5
    assert again.renew("b", 0) is None
    assert again.tenants() == 2
    with pytest.raises(ConfigurationError, match="'ours' exists already"):
        SharedLimit(name="ours", requests_per_second=6)
    limit.end()


@pytest.mark.parametrize("bounds", [{}, {"max_concurrency": 0}], ids=str)
def test_a_limit_that_cannot_be_is_refused(cluster: None, bounds: Any) -> None:
    with pytest.raises(ConfigurationError):
        SharedLimit(**bounds)


def test_a_batch_fails_where_its_limit_is_gone(cluster: None) -> None:
    limit = SharedLimit(requests_per_second=5)
    limit.end()
    with LocalEndpoint() as endpoint:
        embed = EmbedBatches("m", base_url=endpoint.base_url, limit=limit)
        with pytest.raises(ray.exceptions.RayActorError):
            embed(pa.table({"text": ["one"]}))
        assert endpoint.requests == 0


def test_a_job_goes_on_by_what_is_written(cluster: None, tmp_path: Path) -> None:
    texts = corpus(tmp_path / "in", 600)
    out = tmp_path / "out"
    with LocalEndpoint(dimension=8, remember_texts=True) as endpoint:
        embed = EmbedBatches("m", base_url=endpoint.base_url, actors=2)

        def run(dataset: Any) -> None:
            rest = remaining(dataset, str(out))
            rest.map_batches(embed, batch_format="pyarrow").write_parquet(str(out))

        whole = read(tmp_path / "in")
        run(whole.filter(lambda row: row["id"] % 3 == 0))
        assert endpoint.texts == 200
        # What a job that was killed in the middle of a file leaves on a disk.
        broken = out / "broken.parquet"
        broken.write_bytes((tmp_path / "in" / "000000000.parquet").read_bytes()[:-9])
        with pytest.warns(UserWarning, match="broken.parquet cannot be read"):
            run(whole)
        check(endpoint, out, texts)
        run(whole)
        assert set(endpoint.seen.values()) == {1}


def test_failures_are_a_column_in_parquet_too(cluster: None, tmp_path: Path) -> None:
    table = pa.table({"id": range(40), "text": [None] * 20 + ["fine"] * 20})
    with LocalEndpoint(dimension=8) as endpoint:
        embed = EmbedBatches("m", base_url=endpoint.base_url, dimensions=None)
        dataset = data.from_arrow([table[:20], table[20:]])
        done = dataset.map_batches(embed, batch_format="pyarrow", batch_size=20)
        done.write_parquet(str(tmp_path / "out"))
        rows = data.read_parquet(str(tmp_path / "out")).take_all()
        failed = {row["id"] for row in rows if row["error"]}
        assert failed == {row["id"] for row in rows if row["embedding"] is None}
        assert failed == set(range(20))
