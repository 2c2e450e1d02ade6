"""The bound on a store's size, and who has to go."""

import sqlite3
from pathlib import Path

import pytest

from together_embed.store import Store

from .rows import items, key, row

BOUND = 1_000_000
WIDTH = 300  # rows of 1.2 and 2.4 kB: some 500 of them fill the bound


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.db"


def held(store: Store, numbers: range) -> list[int]:
    """Say whose vectors are there, and that each is right."""
    found = store.get([key(n) for n in numbers])
    there = [n for n, vector in zip(numbers, found, strict=True) if vector is not None]
    assert [found[n - numbers.start] for n in there] == [row(n, WIDTH) for n in there]
    return there


def fill(store: Store, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, 20):
        store.put(items(range(start, min(start + 20, numbers.stop)), WIDTH))


def test_the_file_stays_within_its_bound_and_holds_the_newest(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        for start in range(0, 4000, 400):
            fill(store, range(start, start + 400))
            there = held(Store(path), range(start + 400))
            assert there == list(range(there[0], start + 400))
            assert len(there) > 350
    assert BOUND * 0.7 < path.stat().st_size <= BOUND


@pytest.mark.parametrize("width", [1, 300, 512, 768, 1100, 3072])
def test_the_bound_holds_however_many_pages_a_row_takes(path: Path, width: int) -> None:
    rows = items([number for number in range(600) if number % 3], width)
    portion = min(400, BOUND // (5 * 4 * width) + 1)  # as much as a fifth of it
    with Store(path, max_bytes=BOUND) as store:
        for _ in range(3):
            for start in range(0, 400, portion):
                store.put(rows[start : start + portion])
        last, row = rows[-1]
        assert store.get([last]) == [row]
    assert path.stat().st_size <= BOUND
    assert path.stat().st_size > BOUND * 0.5 or width < 1000


def test_what_is_of_use_stays_while_the_rest_goes(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        fill(store, range(100))
        for start in range(100, 3000, 50):
            fill(store, range(start, start + 50))
            assert held(store, range(30)) == list(range(30))
        assert held(store, range(30, 100)) == []


def test_reading_again_and_again_writes_nothing(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        fill(store, range(300))
        held(store, range(300))
        link = sqlite3.connect(path)
        before = link.execute("PRAGMA data_version").fetchone()
        for _ in range(5):
            held(store, range(300))
        assert link.execute("PRAGMA data_version").fetchone() == before
        store.put(items([1]))
        assert link.execute("PRAGMA data_version").fetchone() != before
        link.close()


def test_a_lower_bound_makes_the_file_smaller(path: Path) -> None:
    with Store(path) as store:
        fill(store, range(2000))
    assert path.stat().st_size > 3 * BOUND
    with Store(path, max_bytes=BOUND) as store:
        store.put(items([5000], WIDTH))
        there = held(store, range(2000))
        assert len(there) > 350
        assert there[-1] == 1999
        assert held(store, range(5000, 5001)) == [5000]
    assert path.stat().st_size <= BOUND


def test_of_more_than_there_is_room_for_the_last_are_kept(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        store.put(items(range(3000), WIDTH))
        there = held(store, range(3000))
        assert there == list(range(there[0], 3000))
        assert len(there) > 150
    assert path.stat().st_size <= BOUND


def test_a_row_that_is_larger_than_the_bound_is_not_kept(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        store.put([(key(1), [0.1] * 200_000)])
        assert store.get([key(1)]) == [None]


def test_many_small_rows_stay_within_the_bound_too(path: Path) -> None:
    with Store(path, max_bytes=BOUND) as store:
        for start in range(0, 20_000, 500):
            store.put((key(n), [float(n)]) for n in range(start, start + 500))
        assert store.get([key(19_999)]) == [[19_999.0]]
    assert path.stat().st_size <= BOUND
    assert path.stat().st_size > BOUND * 0.7


def test_without_a_bound_nothing_goes(path: Path) -> None:
    with Store(path) as store:
        fill(store, range(2000))
        assert len(held(store, range(2000))) == 2000
