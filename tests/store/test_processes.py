"""Many processes at once, forks, and processes that are killed."""

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from together_embed.store import Store, StoreWarning, database, schema

from .rows import items, key, row

NO_FORK = not hasattr(os, "fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


def put_some(store: Store, start: int) -> None:
    warnings.simplefilter("error")
    for n in range(start, start + 200, 5):
        store.put(items(range(n, n + 5)))
        assert store.get([key(n), key(start)]) == [row(n), row(start)]
    store.close()


@pytest.mark.parametrize(
    "method",
    ["spawn", pytest.param("fork", marks=pytest.mark.skipif(NO_FORK, reason="none"))],
)
def test_several_processes_write_at_once_and_nothing_is_lost(
    path: Path, method: str
) -> None:
    context = multiprocessing.get_context(method)
    with Store(path) as store:
        if method == "fork":
            store.put(items([9999]))  # the children find a connection that was open
        workers = [
            context.Process(target=put_some, args=(store, start))
            for start in range(0, 800, 200)
        ]
        for worker in workers:
            worker.start()
        put_some(store, 700)  # overlaps with theirs
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert store.get([key(n) for n in range(900)]) == [row(n) for n in range(900)]


def test_whoever_looks_while_the_file_is_made_finds_nothing_or_a_store(
    path: Path,
) -> None:
    sizes = set()

    class Watched(sqlite3.Connection):
        def execute(self, *words: str) -> sqlite3.Cursor:
            try:
                return super().execute(*words)
            finally:
                sizes.add(path.stat().st_size)
                if path.stat().st_size:
                    schema.check_header(str(path))

    link = sqlite3.connect(path, isolation_level=None, factory=Watched)
    schema.create(link, str(path))
    link.close()
    assert min(sizes) == 0 < max(sizes)


PUT_ONE = f"""
import sys
from {items.__module__} import items
from together_embed.store import Store
with Store(sys.argv[1]) as store:
    store.put(items([int(sys.argv[2])]))
"""


def test_another_process_takes_no_log_away_from_two_stores_on_one_file(
    path: Path,
) -> None:
    """A process that closes a file which it has open twice gives up its locks on it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with Store(path) as one, Store(path) as two:
        for turn in range(0, 6, 3):
            one.put(items([turn]))
            assert two.get([key(turn)]) == [row(turn)]
            told = [sys.executable, "-c", PUT_ONE, str(path), str(turn + 1)]
            subprocess.run(told, env=environment, check=True)
            two.put(items([turn + 2]))
            two.close()
        with Store(path) as three:
            assert three.get([key(n) for n in range(6)]) == [row(n) for n in range(6)]


def in_a_fork(work: Callable[[], bool]) -> bool:
    with warnings.catch_warnings():
        # Python 3.12 and later warn of every fork beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(NO_FORK, reason="there is no fork here")
def test_parent_and_child_both_go_on_after_a_fork(path: Path) -> None:
    with Store(path) as store:
        store.put(items([1]))

        def work() -> bool:
            store.put(items([2]))
            return store.get([key(1), key(2)]) == [row(1), row(2)]

        assert in_a_fork(work)
        assert store.get([key(1), key(2)]) == [row(1), row(2)]
        store.put(items([3]))
        assert in_a_fork(lambda: store.get([key(3)]) == [row(3)])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_child_inherits_no_open_file_of_the_store(path: Path) -> None:
    def opened() -> list[str]:
        files = [file.resolve() for file in Path("/proc/self/fd").iterdir()]
        return [file.name for file in files if file.name.startswith(path.name)]

    with Store(path) as store:
        store.put(items([1]))
        assert opened()
        assert in_a_fork(lambda: opened() == [])


@pytest.mark.skipif(NO_FORK, reason="there is no fork here")
def test_forks_amid_the_writes_of_other_threads_disturb_neither_side(
    path: Path,
) -> None:
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            store.put(items([len(written)]))
            written.append(len(written))

    with Store(path) as store:
        store.put(items([5000]))
        writer = threading.Thread(target=write)
        writer.start()
        results = [
            in_a_fork(lambda: store.get([key(5000), key(9)])[0] == row(5000))
            for _ in range(20)
        ]
        stop.set()
        writer.join()
        assert results == [True] * 20
        assert store.get([key(n) for n in written]) == [row(n) for n in written]
    link = sqlite3.connect(path)
    assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    link.close()


PUTS_UNTIL_KILLED = f"""
import sys
from {items.__module__} import items
from together_embed.store import Store
store = Store(sys.argv[1], max_bytes=int(sys.argv[2]) or None)
for start in range(0, 10**9, 10):
    store.put(items(range(start, start + 10), 64))
    print(start + 10, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal of Unix")
@pytest.mark.parametrize("max_bytes", [0, 1_000_000])
def test_what_was_put_outlives_kill_9_at_any_moment(path: Path, max_bytes: int) -> None:
    chance = random.Random(max_bytes)
    for _ in range(5):
        acknowledged = run_and_kill(path, max_bytes, chance.randrange(1, 120))
        with Store(path) as store:
            found = store.get([key(n) for n in range(acknowledged + 10)])
        there = [n for n, vector in enumerate(found) if vector is not None]
        assert [found[n] for n in there] == [row(n, 64) for n in there]
        if not max_bytes:
            assert there[:acknowledged] == list(range(acknowledged))
        assert there[-1] in (acknowledged - 1, acknowledged + 9)
    link = sqlite3.connect(path)
    assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    link.close()


def run_and_kill(path: Path, max_bytes: int, lines: int) -> int:
    """Kill a writer after so many of its puts; return what it said that it kept."""
    with subprocess.Popen(
        [sys.executable, "-c", PUTS_UNTIL_KILLED, str(path), str(max_bytes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split("\n")[:-1]
    return int(said[-1]) if said else lines * 10


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.PATIENCE, "write", 0.15)


@pytest.fixture
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock for writing, as a process does that hangs in a transaction."""
    with Store(path) as store:
        store.put(items([1]))
    link = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    link.execute("BEGIN IMMEDIATE")
    yield link
    link.close()


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_is_never_let_go_holds_nobody_up_for_good(
    path: Path, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    with Store(path) as store:
        with pytest.warns(StoreWarning, match="locked by another process"):
            store.put(items([2]))
        monkeypatch.setattr(database.time, "sleep", waits.append)
        store.put(items([3]))
        assert waits == []  # it was warned of once, and is not waited for again
        assert store.get([key(1), key(2)]) == [row(1), None]
        locked.execute("ROLLBACK")
        store.put(items([2]))
        assert store.get([key(1), key(2)]) == [row(1), row(2)]


def test_a_lock_that_is_let_go_in_time_is_waited_for(
    path: Path, locked: sqlite3.Connection
) -> None:
    release = threading.Timer(0.2, locked.execute, ["COMMIT"])
    release.start()
    with Store(path) as store:
        store.put(items([2]))
        assert store.get([key(2)]) == [row(2)]
    release.join()


def test_ctrl_c_breaks_the_wait_for_a_lock(
    path: Path, locked: sqlite3.Connection
) -> None:
    release = threading.Timer(5, locked.execute, ["COMMIT"])
    release.start()
    with Store(path) as store:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            store.put(items([2]))
        assert locked.in_transaction  # Ctrl-C came through while it was still locked
        release.cancel()
        assert store.get([key(1), key(2)]) == [row(1), None]
