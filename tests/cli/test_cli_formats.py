"""Every format in, every format out: vectors, ids and everything else arrive."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from together_embed.local import LocalEndpoint

from .conftest import Run, seen

ROWS = [
    {"id": f"d{n}", "text": f"text {n}: naïve, “quoted”\nand broken", "lang": "en"}
    for n in range(7)
]


def write(kind: str) -> str:
    """Write the rows in a format; a line of text holds no line break."""
    name = f"in.{kind}"
    if kind == "txt":
        lines = [row["text"].replace("\n", " ") for row in ROWS]
        Path(name).write_text("\n".join(lines), encoding="utf-8")
    elif kind == "jsonl":
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), name)
    else:
        with open(name, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            table.writerow(ROWS[0])
            table.writerows(row.values() for row in ROWS)
    return name


def read(name: str) -> tuple[list[Any], list[dict[str, Any]], list[list[float]]]:
    """Return the ids, the rows without their vectors, and the vectors."""
    if name.endswith(".npy"):
        ids = Path(name).with_suffix(".ids.jsonl").read_text().splitlines()
        matrix = np.load(name)
        assert matrix.dtype == np.float32
        return [json.loads(line) for line in ids], [], matrix.tolist()
    if name.endswith(".parquet"):
        rows = parquet.read_table(name).to_pylist()
    else:
        rows = [json.loads(line) for line in Path(name).read_text().splitlines()]
    vectors = [row.pop("embedding") for row in rows]
    return [row["id"] for row in rows], rows, vectors


@pytest.mark.parametrize("out", ["parquet", "jsonl", "npy"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet"])
def test_vectors_ids_and_fields_arrive_whatever_the_formats(
    run: Run, at_endpoint: LocalEndpoint, kind: str, out: str
) -> None:
    ended = run("embed", write(kind), f"out.{out}", "--batch-size", "3")
    assert (ended.code, ended.err) == (0, "")
    ids, rows, vectors = read(f"out.{out}")
    expected = ROWS
    if kind == "txt":
        expected = [
            {"id": number, "text": row["text"].replace("\n", " ")}  # type: ignore[dict-item]
            for number, row in enumerate(ROWS, 1)
        ]
    assert ids == [row["id"] for row in expected]
    assert vectors == [at_endpoint.embed(row["text"]) for row in expected]
    if out != "npy":
        assert rows == expected


def test_parquet_says_which_model_at_which_server_made_vectors_how_wide(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    run("embed", write("csv"), "out.parquet", "--prefix", "passage: ")
    schema = parquet.read_schema("out.parquet")
    assert schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert schema.metadata == {
        b"together_embed.model": b"m",
        b"together_embed.endpoint": at_endpoint.base_url.encode(),
        b"together_embed.dimensions": b"8",
        b"together_embed.prefix": b"passage: ",
    }


def test_columns_of_parquet_keep_their_types_and_the_file_its_notes(run: Run) -> None:
    table = pa.table(
        {
            "body": pa.array(["one", "two"], pa.large_string()),
            "when": pa.array([1, 2], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.10"), None], pa.decimal128(9, 2)),
            "tags": pa.array([["a"], []], pa.list_(pa.string())),
            "kind": pa.array(["x", "x"]).dictionary_encode(),
            "raw": pa.array([b"\x00\xff", b""]),
        }
    ).replace_schema_metadata({b"origin": b"a survey"})
    parquet.write_table(table, "in.parquet")
    assert run("embed", "in.parquet", "out.parquet").code == 0
    written = parquet.read_table("out.parquet")
    assert written.drop(["id", "embedding"]).equals(table)
    assert written.column("id").to_pylist() == [1, 2]
    assert written.schema.metadata[b"origin"] == b"a survey"


def test_times_and_numbers_of_parquet_become_text_that_json_can_hold(run: Run) -> None:
    table = pa.table(
        {
            "text": ["one"],
            "when": pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5)]),
            "fine": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "price": pa.array([Decimal("1.10")]),
            "tags": [["a", "b"]],
        }
    )
    parquet.write_table(table, "in.parquet")
    assert run("embed", "in.parquet", "out.jsonl").code == 0
    row = json.loads(Path("out.jsonl").read_text())
    del row["embedding"]
    assert row == {
        "id": 1,
        "text": "one",
        "when": "2024-01-02T03:04:05",
        "fine": "2023-11-14T22:13:20.000000001",
        "price": "1.10",
        "tags": ["a", "b"],
    }


def test_fields_of_json_come_out_as_they_went_in(run: Run) -> None:
    rows = [
        {"id": 1, "text": "a", "deep": {"x": [1, None]}, "n": 2**70, "missing": 1},
        {"id": 2, "text": "b", "deep": None, "n": 1.5},
    ]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    assert run("embed", "in.jsonl", "out.jsonl").code == 0
    assert read("out.jsonl")[1] == rows


def test_what_no_one_type_of_parquet_holds_is_kept_as_json(run: Run) -> None:
    rows = [
        {
            "text": "a",
            "mixed": 1,
            "whole": 1,
            "wide": 1,
            "deep": {"x": 1},
            "flag": True,
        },
        {"text": "b", "mixed": "1", "whole": None, "wide": 0.5, "deep": [2]},
        {"text": "c", "mixed": None, "whole": 2**62, "wide": 3, "huge": 2**64},
    ]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("embed", "in.jsonl", "out.parquet").code == 0
    table = parquet.read_table("out.parquet")
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["whole"] == "int64"
    assert types["wide"] == "double"
    assert types["flag"] == "bool"
    assert table.column("whole").to_pylist() == [1, None, 2**62]
    assert table.column("wide").to_pylist() == [1.0, 0.5, 3.0]
    assert table.column("mixed").to_pylist() == ["1", '"1"', None]
    assert table.column("deep").to_pylist() == ['{"x":1}', "[2]", None]
    assert table.column("huge").to_pylist() == [None, None, "18446744073709551616"]
    assert table.schema.field("deep").metadata == {b"together_embed.encoding": b"json"}


def test_values_of_a_table_stay_the_strings_that_they_are(run: Run) -> None:
    Path("in.csv").write_text("id,text,zip\n007,a,01234\n1e3,b,\n")
    assert run("embed", "in.csv", "out.parquet").code == 0
    rows = read("out.parquet")[1]
    assert rows == [
        {"id": "007", "text": "a", "zip": "01234"},
        {"id": "1e3", "text": "b", "zip": ""},
    ]


def test_a_cell_may_be_larger_than_the_csv_module_likes(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    long = "word " * 40_000
    Path("in.csv").write_text(f"text\n{long}\n")
    assert run("embed", "in.csv", "out.npy").code == 0
    assert read("out.npy")[2] == [at_endpoint.embed(long)]


def test_a_mark_of_windows_in_front_is_no_part_of_the_first_heading(run: Run) -> None:
    Path("in.csv").write_bytes("\ufefftext,id\r\nhello,x\r\n".encode())
    assert run("embed", "in.csv", "out.jsonl").code == 0
    assert read("out.jsonl")[0] == ["x"]
    Path("in.txt").write_bytes("\ufeffhello\r\n".encode())
    assert run("embed", "in.txt", "out2.jsonl").code == 0
    assert read("out2.jsonl")[1] == [{"id": 1, "text": "hello"}]


def test_columns_are_found_by_their_usual_names_or_named(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    Path("in.csv").write_text("n,Title,Content,_ID\n1,t,c,x\n")
    assert run("embed", "in.csv", "usual.npy").code == 0
    assert read("usual.npy")[::2] == (["x"], [at_endpoint.embed("c")])
    assert run("embed", "in.csv", "named.npy", "--text", "Title", "--id", "n").code == 0
    assert read("named.npy")[::2] == (["1"], [at_endpoint.embed("t")])


def test_texts_can_be_left_out_and_vectors_called_otherwise(run: Run) -> None:
    for out in ("out.jsonl", "out.parquet"):
        run("embed", write("jsonl"), out, "--no-text", "--column", "v")
    line = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert list(line) == ["id", "lang", "v"]
    assert parquet.read_schema("out.parquet").names == ["id", "lang", "v"]


def test_a_prefix_goes_in_front_of_what_is_sent_and_not_of_what_is_written(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    Path("in.txt").write_text("hello\n")
    assert run("embed", "in.txt", "out.jsonl", "--prefix", "passage: ").code == 0
    assert seen(at_endpoint) == {"passage: hello": 1}
    assert read("out.jsonl")[1] == [{"id": 1, "text": "hello"}]


def test_rows_can_come_through_the_standard_input(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO(b'{"text": "a", "id": 1}\n{"text": "b", "id": 2}\n')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(raw))
    assert run("embed", "-", "out.parquet", "--format", "jsonl").code == 0
    assert read("out.parquet")[0] == [1, 2]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv"])
def test_a_file_that_is_packed_is_unpacked_as_it_is_read(run: Run, kind: str) -> None:
    name = write(kind)
    assert run("embed", name, "plain.jsonl").code == 0
    Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
    assert run("embed", f"{name}.gz", "packed.jsonl").code == 0
    assert Path("packed.jsonl").read_bytes() == Path("plain.jsonl").read_bytes()


def test_what_cannot_be_unpacked_is_said_in_a_line(run: Run) -> None:
    write("parquet")
    Path("in.parquet.gz").write_bytes(gzip.compress(Path("in.parquet").read_bytes()))
    ended = run("embed", "in.parquet.gz", "out.npy")
    assert (ended.code, ended.out) == (2, "")
    assert "unpack it" in ended.err
    whole = gzip.compress(b"".join(b"line %d\n" % n for n in range(9_999)))
    for content in (b"no gzip at all\n", whole[:-9], whole[:100] + b"!!" + whole[102:]):
        Path("in.txt.gz").write_bytes(content)
        ended = run("embed", "in.txt.gz", "out.npy")
        (line,) = ended.err.splitlines()
        assert ended.code == 1
        assert "in.txt.gz" in line
        assert not Path("out.npy").exists()


def test_many_row_groups_make_one_table_in_order(
    run: Run, at_endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("together_embed.cli.parquet_sink.GROUP_BYTES", 200)
    texts = [f"text {number}" for number in range(50)]
    Path("in.txt").write_text("\n".join(texts))
    assert run("embed", "in.txt", "out.parquet", "--batch-size", "4").code == 0
    assert parquet.ParquetFile("out.parquet").metadata.num_row_groups > 5
    assert read("out.parquet")[2] == [at_endpoint.embed(text) for text in texts]
