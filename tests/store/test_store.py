"""What a store keeps, for whom, and what it does not keep."""

import copy
import os
import pickle
import sqlite3
import threading
from pathlib import Path

import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import ConfigurationError
from together_embed.store import Note, Store, identities, pack

from .rows import items, key, row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


def test_what_was_put_comes_back_in_the_order_of_the_keys(path: Path) -> None:
    with Store(path) as store:
        store.put(items(range(2000)))
        asked = [*range(1999, -1, -1), 5000, 0]
        assert store.get([key(n) for n in asked]) == [
            row(n) if n < 2000 else None for n in asked
        ]


def test_another_store_on_the_same_file_sees_it_at_once(path: Path) -> None:
    with Store(path) as one, Store(path) as other:
        assert other.get([key(1)]) == [None]
        one.put(items([1]))
        assert other.get([key(1)]) == [row(1)]


def test_each_answer_is_a_list_of_its_own(path: Path) -> None:
    with Store(path) as store:
        store.put(items([1]))
        one, other = store.get([key(1), key(1)])
        assert one is not None
        one.clear()
        assert other == row(1)
        assert store.get([key(1)]) == [row(1)]


def test_packed_rows_go_in_and_out_as_they_are(path: Path) -> None:
    with Store(path) as store:
        store.put_packed((key(n), pack(row(n))) for n in range(10))
        assert store.get_packed([key(3), key(99)]) == [pack(row(3)), None]
        assert store.get([key(4)]) == [row(4)]


def test_many_keys_are_looked_up_in_few_statements(path: Path) -> None:
    said: list[str] = []
    with Store(path) as store:
        store.put(items(range(2000)))
        link = store._database._link
        assert link is not None
        link.set_trace_callback(said.append)
        found = store.get([key(n) for n in range(2000, -1, -1)])
        assert found == [None, *(row(n) for n in range(1999, -1, -1))]
        assert len(said) == 5


def test_the_last_row_that_was_put_under_a_key_counts(path: Path) -> None:
    with Store(path) as store:
        store.put(items(range(10)))
        store.put([(key(1), [1.5]), (key(2), [2.5]), (key(1), [0.1])])
        assert store.get([key(1), key(2), key(3)]) == [[0.1], [2.5], row(3)]


def test_looking_up_in_a_store_that_is_not_there_makes_no_file(tmp_path: Path) -> None:
    with Store(tmp_path / "no" / "file.db") as store:
        assert store.get([key(1)]) == [None]
        assert store.noted(key(1)) is None
        store.put([])
    assert list(tmp_path.iterdir()) == []


def test_folders_above_the_file_are_made(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "folder" / "vectors.db") as store:
        store.put(items([1]))
    assert (tmp_path / "new" / "folder" / "vectors.db").exists()


def test_names_with_signs_that_mean_something_in_urls_are_names(tmp_path: Path) -> None:
    name = tmp_path / "50% of ?mode=ro#é;&.db"
    with Store(name) as store:
        store.put(items([1]))
    assert name.exists()
    with Store(os.fspath(name)) as store:
        assert store.get([key(1)]) == [row(1)]


def test_the_home_folder_may_be_spelt_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/vectors.db").path == str(tmp_path / "vectors.db")


def test_a_relative_path_means_the_folder_of_its_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("vectors.db") as store:
        monkeypatch.chdir("/")
        store.put(items([1]))
    assert (tmp_path / "vectors.db").exists()


@pytest.mark.parametrize("name", ["", b"", "a\0b", ":memory:", "\ud800.db", 5, True])
def test_a_path_that_names_no_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="path"):
        Store(name)
    with pytest.raises(ConfigurationError, match="path"):
        EmbeddingsClient("m", cache=name)


def test_a_path_may_be_bytes_or_hold_any_character(tmp_path: Path) -> None:
    names = ["x %20#?&;é😀'\".db", "new\nline.db", "file:a?mode=memory"]
    for name in [*(tmp_path / name for name in names), bytes(tmp_path / "bytes.db")]:
        Store(name).put(items([1]))  # type: ignore[arg-type]
        assert Store(name).get([key(1)]) == [row(1)]  # type: ignore[arg-type]
    there = {path.name for path in tmp_path.iterdir()}
    assert {*names, "bytes.db"} <= there


def test_a_bound_that_leaves_no_room_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="1,000,000"):
        Store(path, max_bytes=999_999)


def test_a_closed_store_opens_again_when_it_is_used(path: Path) -> None:
    store = Store(path)
    store.put(items([1]))
    store.close()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["vectors.db"]
    assert store.get([key(1)]) == [row(1)]
    store.close()


def test_a_store_pickles_and_copies_as_its_path(path: Path) -> None:
    with Store(path, max_bytes=2_000_000, strict=True) as store:
        store.put(items([1]))
        for twin in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
            with twin:
                assert repr(twin) == repr(store)
                assert twin.get([key(1)]) == [row(1)]
        assert len(pickle.dumps(store)) < 500


def test_a_store_that_is_forgotten_closes_its_file(path: Path) -> None:
    Store(path).put(items([1]))
    assert [file.name for file in path.parent.iterdir()] == ["vectors.db"]


def test_a_file_that_is_taken_away_is_begun_anew(path: Path) -> None:
    with Store(path) as store:
        store.put(items([1]))
        path.unlink()
        assert store.get([key(1)]) == [None]
        store.put(items([2]))
        with Store(path) as other:
            assert other.get([key(1), key(2)]) == [None, row(2)]


def test_a_file_that_is_moved_away_is_whole_and_the_one_in_its_place_is_taken_up(
    path: Path,
) -> None:
    others, away = path.with_name("other.db"), path.with_name("away.db")
    with Store(others) as other:
        other.put(items(range(100, 150)))
    with Store(path) as store, Store(path) as second:
        store.put(items(range(100)))  # which is in the log so far
        assert second.get([key(1)]) == [row(1)]
        path.rename(away)
        others.rename(path)
        assert store.get([key(1), key(107)]) == [None, row(107)]
        store.put(items([7]))
        second.put(items([8]))
    with Store(away) as moved:
        assert moved.get([key(n) for n in range(100)]) == [row(n) for n in range(100)]
    with Store(path) as found:
        there = [7, 8, *range(100, 150)]
        assert found.get([key(n) for n in there]) == [row(n) for n in there]
        assert found.get([key(1)]) == [None]


def test_many_threads_put_and_get_through_one_store(path: Path) -> None:
    wrong: list[int] = []

    def work(start: int) -> None:
        for n in range(start, 400, 16):
            store.put(items([n, n + 1000]))
            if store.get([key(n), key(n + 1000)]) != [row(n), row(n + 1000)]:
                wrong.append(n)

    with Store(path) as store:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert store.get([key(n) for n in range(400)]) == [row(n) for n in range(400)]


def test_a_note_comes_back_as_it_was(path: Path) -> None:
    full = Note(1024, "a/model-été", key(1), [0.1, 1e-320, -0.0, 1.5])
    with Store(path) as store:
        store.note(b"one", Note())
        store.note(b"two", full)
        assert store.noted(b"one") == Note()
        assert store.noted(b"two") == full
        store.note(b"one", full)
    with Store(path) as store:
        assert store.noted(b"one") == full
        assert store.noted(b"three") is None


def test_the_file_holds_no_text(path: Path) -> None:
    sent = [f"a most private text, number {n}" for n in range(50)]
    names = identities("https://host/v1", "a/model", None, b"secret-field", sent)
    store = Store(path)
    store.put((name, row(n)) for n, name in enumerate(names))
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    store.close()
    assert names[0] in held
    for secret in (b"private", b"secret-field", b"https://host"):
        assert secret not in held


def test_a_transaction_that_breaks_off_leaves_nothing_behind(path: Path) -> None:
    def half() -> object:
        yield key(1), row(1)
        raise KeyboardInterrupt

    with Store(path) as store:
        store.put(items([0]))
        with pytest.raises(KeyboardInterrupt):
            store.put(half())  # type: ignore[arg-type]
        store.put(items([2]))
        assert store.get([key(n) for n in range(3)]) == [row(0), None, row(2)]


def test_any_sqlite_reads_the_file_and_finds_it_whole(path: Path) -> None:
    with Store(path) as store:
        store.put(items(range(500)))
        store.put(items(range(100)))
    link = sqlite3.connect(path)
    assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert link.execute("SELECT count(*) FROM vectors").fetchone() == (500,)
    assert link.execute("SELECT count(*) FROM keys").fetchone() == (500,)
    link.close()
