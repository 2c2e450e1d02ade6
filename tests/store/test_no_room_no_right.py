"""Disks that are full, files and folders that may not be written."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from together_embed.store import Store, StoreWarning

from .rows import items, key, row

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")


def run(program: str, *arguments: str) -> dict[str, object]:
    """Run a program that collects the store's warnings and prints one JSON object."""
    header = (
        "import json, os, resource, sys, warnings\n"
        f"from {items.__module__} import items, key, row\n"
        "from together_embed.store import Store\n"
        "said = []\n"
        "warnings.showwarning = lambda message, *_: said.append(str(message))\n"
        "warnings.simplefilter('always')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", header + program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


FILLS = """
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
store = Store(sys.argv[1])
kept = 0
while not said and kept < 10_000:
    store.put(items(range(kept, kept + 10), 64))
    kept += 10 * (not said)
store.put(items([5], 64))
there = store.get([key(n) for n in range(kept)]) == [row(n, 64) for n in range(kept)]
store.close()
print(json.dumps({"kept": kept, "said": said, "there": there}))
"""


@pytest.mark.parametrize("room", [100_000, 300_000, 1_000_000])
def test_when_the_disk_is_full_what_was_kept_stays(tmp_path: Path, room: int) -> None:
    answer = run(FILLS, str(tmp_path / "vectors.db"), str(room))
    kept = answer["kept"]
    assert isinstance(kept, int)
    assert 10 < kept < 10_000
    assert answer["there"]
    assert isinstance(answer["said"], list)
    assert len(answer["said"]) == 1
    with Store(tmp_path / "vectors.db", strict=True) as store:
        assert store.get([key(n) for n in range(kept)]) == [
            row(n, 64) for n in range(kept)
        ]
        store.put(items([kept + 100]))


def test_a_disk_without_room_for_the_first_page_costs_a_warning(tmp_path: Path) -> None:
    answer = run(FILLS, str(tmp_path / "vectors.db"), "2000")
    assert answer["kept"] == 0
    assert isinstance(answer["said"], list)
    assert len(answer["said"]) == 1


READS = """
if not os.getuid():
    os.setgid(65534)
    os.setuid(65534)
store = Store(sys.argv[1])
found = store.get([key(n) for n in range(20)]) == [row(n) for n in range(20)]
quiet = not said
store.put(items([50]))
store.put(items([51]))
print(json.dumps({"found": found, "quiet": quiet, "said": said}))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that every user may enter; pytest's own are its owner's alone."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    with Store(made / "vectors.db") as store:
        store.put(items(range(20)))
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def test_a_file_that_may_not_be_written_is_still_read(folder: Path) -> None:
    (folder / "vectors.db").chmod(0o444)
    folder.chmod(0o777)
    assert_read_only(run(READS, str(folder / "vectors.db")))


def test_a_folder_that_may_not_be_written_is_still_read(folder: Path) -> None:
    (folder / "vectors.db").chmod(0o666)
    folder.chmod(0o555)
    assert_read_only(run(READS, str(folder / "vectors.db")))
    assert [file.name for file in folder.iterdir()] == ["vectors.db"]


def assert_read_only(answer: dict[str, object]) -> None:
    assert answer["found"]
    assert answer["quiet"]
    assert isinstance(answer["said"], list)
    assert len(answer["said"]) == 1
    assert "cannot be written to" in answer["said"][0]


def test_a_file_that_may_not_be_read_costs_a_warning(folder: Path) -> None:
    (folder / "vectors.db").chmod(0o000)
    answer = run(READS, str(folder / "vectors.db"))
    assert not answer["found"]
    assert isinstance(answer["said"], list)
    assert len(answer["said"]) == 1
    assert "cannot be used where it is" in answer["said"][0]


def test_a_folder_in_which_no_file_may_be_made_is_named_as_the_cause(
    folder: Path,
) -> None:
    folder.chmod(0o555)
    answer = run(READS, str(folder / "new.db"))
    assert isinstance(answer["said"], list)
    assert len(answer["said"]) == 1
    assert "its folder may not be written to" in answer["said"][0]


@pytest.mark.parametrize("place", ["file/vectors.db", "file/folder/vectors.db"])
def test_a_path_through_a_file_costs_a_warning(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with Store(tmp_path / place) as store:
        with pytest.warns(StoreWarning, match="cannot be used where it is"):
            store.put(items([1]))
        assert store.get([key(1)]) == [None]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files as on a network file system: SQLite's own layer that has no WAL."""
    connect = sqlite3.connect

    def connect_without(name: str, **settings: Any) -> sqlite3.Connection:
        return connect(f"{name}&vfs=unix-dotfile", **settings)

    monkeypatch.setattr(sqlite3, "connect", connect_without)


@pytest.mark.usefixtures("without_shared_memory")
def test_a_file_system_without_wal_costs_a_warning(tmp_path: Path) -> None:
    with Store(tmp_path / "vectors.db") as store:
        with pytest.warns(StoreWarning, match="cannot do WAL"):
            store.put(items([1]))
        store.put(items([2]))
        assert store.get([key(1)]) == [None]


def test_a_store_that_moved_to_a_file_system_without_wal_is_still_read(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("without_shared_memory")
    with Store(folder / "vectors.db") as store:
        assert store.get([key(3)]) == [row(3)]
        with pytest.warns(StoreWarning, match="cannot be written to"):
            store.put(items([50]))
        assert store.get([key(3), key(50)]) == [row(3), None]
