"""Files that are damaged, another program's, or a newer version's."""

import gc
import pickle
import random
import shutil
import sqlite3
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from together_embed.store import Note, Row, Store, StoreError, StoreWarning, schema

from .rows import items, key, row

COUNT = 300
WIDTH = 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files of a store in the middle of a job: half is in the log."""
    folder = tmp_path_factory.mktemp("whole")
    with Store(folder / "vectors.db") as store:
        store.put(items(range(COUNT // 2), WIDTH))
        store.note(b"subject", Note(WIDTH, "m", key(0), row(0, WIDTH)))
        store.close()
        store.put(items(range(COUNT // 2, COUNT), WIDTH))
        shutil.copytree(folder, folder / "copy", ignore=lambda *_: ["copy"])
    (folder / "copy" / "vectors.db-shm").unlink()
    return folder / "copy"


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store")) / "vectors.db"


def flip_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 10, 1000))):
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)


def blank(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data) // 4096) * 4096
    data[start : start + 4096] = bytes(4096)


def swap_pages(data: bytearray, chance: random.Random) -> None:
    one, other = (chance.randrange(1, len(data) // 4096) * 4096 for _ in range(2))
    data[one : one + 4096], data[other : other + 4096] = (
        data[other : other + 4096],
        data[one : one + 4096],
    )


def cut_short(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def fill_with_noise(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:] = chance.randbytes(len(data) - start)


HARMS = (flip_bytes, blank, swap_pages, cut_short, fill_with_noise)


def right(found: list[list[float] | None], width: int = WIDTH) -> int:
    """Count what is there, after a look at each number of it."""
    there = [n for n, vector in enumerate(found) if vector is not None]
    assert [found[n] for n in there] == [row(n, width) for n in there]
    return len(there)


def test_unharmed_all_of_it_is_there(path: Path) -> None:
    with Store(path, strict=True) as store:
        assert right(store.get([key(n) for n in range(COUNT)])) == COUNT


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["vectors.db", "vectors.db-wal"])
def test_no_harm_to_the_file_makes_a_wrong_vector_or_a_crash(
    whole: Path,
    tmp_path: Path,
    name: str,
    harm: Callable[[bytearray, random.Random], None],
) -> None:
    harmed = found_less = 0
    for seed in range(20):
        folder = shutil.copytree(whole, tmp_path / str(seed))
        data = bytearray((folder / name).read_bytes())
        harm(data, random.Random(seed))
        harmed += data != (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)  # of all else, an error
            found_less += use(folder / "vectors.db") < COUNT
    assert harmed > 15
    assert found_less > 0


def use(path: Path) -> int:
    """Put a damaged store to all its uses; return how many rows it still gave."""
    with Store(path, max_bytes=1_000_000) as store:
        count = right(store.get([key(n) for n in range(COUNT)]))
        noted = store.noted(b"subject")
        assert noted in (None, Note(WIDTH, "m", key(0), row(0, WIDTH)))
        store.put(items(range(COUNT, COUNT + 50), WIDTH))
        store.put(items(range(COUNT), WIDTH))
        store.note(b"subject", Note(1))
        right(store.get([key(n) for n in range(COUNT + 50)]))
    return count


def test_tables_whose_names_are_no_text_any_more_are_damage(path: Path) -> None:
    with Store(path) as store:
        store.get([key(1)])
    named = b"tablevectors"
    whole = path.read_bytes()
    assert named in whole
    path.write_bytes(
        whole.replace(named, b"table" + b"\xa0" * 7).replace(b"CREATE", b"create")
    )
    with Store(path) as store, pytest.warns(StoreWarning, match="is damaged"):
        assert store.get([key(1)]) == [None]
    with Store(path, strict=True) as store, pytest.raises(StoreError) as raised:
        store.put(items([1], WIDTH))
    assert raised.value.reason == "damaged"


def test_making_room_ends_where_damage_hides_what_is_to_go(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    with Store(path) as store:
        store.put(items([1]))
    link = sqlite3.connect(path)
    keys = [(key(number), number, number) for number in range(2, 30_000)]
    with link:
        link.executemany("INSERT INTO keys VALUES (?, ?, ?)", keys)
    link.close()
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        if data[page] == 10:  # a leaf of `keys`: its cells are no longer sorted
            count = int.from_bytes(data[page + 3 : page + 5], "big")
            cells = data[page + 8 : page + 8 + 2 * count]
            turned = [cells[at : at + 2] for at in range(0, len(cells), 2)][::-1]
            data[page + 8 : page + 8 + 2 * count] = b"".join(turned)
    path.write_bytes(data)
    with Store(path, max_bytes=1_000_000) as store:
        with pytest.warns(StoreWarning, match="is damaged"):
            store.put(items([2]))
        assert store.get([key(2)]) == [None]


def test_a_damaged_row_is_missed_and_mended_by_the_next_put(path: Path) -> None:
    with Store(path) as store:
        store.get([key(1)])  # takes the log into the file when it closes
    data = bytearray(path.read_bytes())
    place = data.index(bytes.fromhex("0000803f"))  # 1.0, the start of row 1
    data[place] ^= 1
    path.write_bytes(data)
    with Store(path, strict=True) as store:
        found = store.get([key(n) for n in range(COUNT)])
        assert found[1] is None
        assert right(found) == COUNT - 1
        store.put(items([1], WIDTH))
        assert right(store.get([key(n) for n in range(COUNT)])) == COUNT


def blank_a_page_of_vectors(path: Path) -> None:
    with Store(path) as store:
        store.get([key(1)])
    data = bytearray(path.read_bytes())
    sealed = data.index(bytes.fromhex("0000803f"))
    start = sealed // 4096 * 4096
    data[start : start + 4096] = bytes(4096)
    path.write_bytes(data)


def test_a_damaged_page_costs_the_rows_on_it_and_no_more(path: Path) -> None:
    blank_a_page_of_vectors(path)
    before = path.read_bytes()
    with Store(path) as store:
        with pytest.warns(StoreWarning, match="is damaged") as warned:
            found = store.get([key(n) for n in range(COUNT)])
        assert COUNT - 15 < right(found) < COUNT
        store.put(items([1], WIDTH))  # into a damaged file nothing more is written
        store.note(b"subject", Note(1))
        assert store.get([key(1)]) == [None]
        assert store.get([key(COUNT - 1)]) == [row(COUNT - 1, WIDTH)]
    assert len(warned) == 1
    assert path.read_bytes() == before


def test_a_strict_store_raises_what_others_warn_of(path: Path) -> None:
    blank_a_page_of_vectors(path)
    with Store(path, strict=True) as store:
        with pytest.raises(StoreError, match="is damaged") as raised:
            store.get([key(n) for n in range(COUNT)])
        with pytest.raises(StoreError, match="is damaged"):
            store.put(items([1], WIDTH))
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.reason, error.path, str(error)) == (
        "damaged",
        str(path),
        str(raised.value),
    )


def another_programs(path: Path) -> None:
    link = sqlite3.connect(path)
    link.execute("CREATE TABLE keys (key BLOB PRIMARY KEY)")
    link.execute("INSERT INTO keys VALUES (x'00')")
    link.commit()
    link.close()


def another_programs_in_use(path: Path) -> None:
    """Leave a database with a log behind, as a program that was killed does."""
    link = sqlite3.connect(path.with_name("first"))
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("CREATE TABLE keys (key BLOB PRIMARY KEY)")
    link.commit()
    shutil.copy(path.with_name("first"), path)
    shutil.copy(path.with_name("first-wal"), path.with_name(f"{path.name}-wal"))
    link.close()


def a_text(path: Path) -> None:
    path.write_text("my only copy\n" * 1000)


def a_short_text(path: Path) -> None:
    path.write_text("x")


def with_changed_tables(path: Path) -> None:
    with Store(path) as store:
        store.put(items([1]))
    link = sqlite3.connect(path)
    link.execute("ALTER TABLE vectors ADD COLUMN mine TEXT")
    link.commit()
    link.close()


def a_newer_versions(path: Path) -> None:
    with Store(path) as store:
        store.put(items([1]))
    link = sqlite3.connect(path)
    link.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    link.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_programs, "no cache of this library"),
        (another_programs_in_use, "no cache of this library"),
        (a_text, "no cache of this library"),
        (a_short_text, "no cache of this library"),
        (with_changed_tables, "is damaged"),
        (a_newer_versions, "newer version"),
        (Path.mkdir, r"no cache of this library .* \(a folder\)"),
    ],
    ids=lambda make: getattr(make, "__name__", ""),
)
def test_what_is_not_ours_is_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "file"
    make(path)

    def files() -> dict[str, bytes]:
        found = [file for file in tmp_path.iterdir() if file.is_file()]
        return {file.name: file.read_bytes() for file in found}

    before = files()
    with Store(path) as store:
        with pytest.warns(StoreWarning, match=words) as warned:
            store.put(items([1]))
        assert store.get([key(1), key(2)]) == [None, None]
        store.put(items([2]))
        assert store.noted(b"x") is None
    assert len(warned) == 1
    assert files() == before
    with Store(path, strict=True) as store, pytest.raises(StoreError, match=words):
        store.get([key(1)])


def test_an_empty_file_is_nobodys_and_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with Store(path, strict=True) as store:
        assert store.get([key(1)]) == [None]
        store.put(items([1]))
        assert store.get([key(1)]) == [row(1)]


def test_nothing_is_lost_where_the_log_was_half_way_into_the_file(
    path: Path, tmp_path: Path
) -> None:
    short = path.read_bytes()
    log = path.with_name("vectors.db-wal").read_bytes()
    link = sqlite3.connect(path)
    link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    link.close()
    grown = path.read_bytes()
    assert len(grown) > len(short)
    # The first page tells of pages that the file has not got yet.
    path.write_bytes(grown[:4096] + short[4096:])
    path.with_name("vectors.db-wal").write_bytes(log)
    keys = [key(number) for number in range(COUNT)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Store(path) as store:
            found = store.get(keys)
            store.put(items(range(COUNT, COUNT + 1), WIDTH))
    assert found == [row(number, WIDTH) for number in range(COUNT)]


@pytest.mark.filterwarnings("ignore::together_embed.store.StoreWarning")
@pytest.mark.parametrize("garbage", [b"no database at all", b"SQLite format 3\0"])
def test_a_store_that_cannot_be_used_holds_on_to_no_vectors(
    tmp_path: Path, garbage: bytes
) -> None:
    class Items(list[tuple[bytes, Row]]):
        """A list that can be referred to weakly."""

    path = tmp_path / "vectors.db"
    path.write_bytes(garbage + bytes(5_000))
    refs = []
    with Store(path) as store:
        for number in range(10):
            vectors = Items(items(range(number, number + 1)))
            refs.append(weakref.ref(vectors))
            store.put(vectors)
            del vectors
        gc.collect()
        assert sum(ref() is not None for ref in refs) <= 1
