"""Rows that get no vector: named with the reason, and no other row suffers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from together_embed.local import LocalEndpoint

from .conftest import Run, seen


def failures(out: str) -> list[tuple[Any, ...]]:
    lines = Path(f"{out}.failed.jsonl").read_text().splitlines()
    return [tuple(json.loads(line).values()) for line in lines]


def test_bad_lines_of_json_are_named_with_id_and_reason(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    lines = [
        b'{"id": "a", "text": "good"}',
        b'{"id": "b", "text": "  "}',
        b'{"id": "c", "text": 3}',
        b'{"id": "d"}',
        b'{"id": "e", "text": "cut',
        b"[1, 2]",
        b'{"id": "f", "text": "\xff"}',
        b"",
        b'{"id": "g", "text": "good too"}',
    ]
    Path("in.jsonl").write_bytes(b"\n".join(lines))
    ended = run("embed", "in.jsonl", "out.npy", "--json")
    assert ended.code == 3
    assert ended.json["written"], ended.json["failed"] == (2, 6)
    assert np.load("out.npy").tolist() == [
        at_endpoint.embed("good"),
        at_endpoint.embed("good too"),
    ]
    assert Path("out.ids.jsonl").read_text() == '"a"\n"g"\n'
    found = failures("out.npy")
    assert [(line, name) for line, name, _ in found] == [
        (2, "b"),
        (3, "c"),
        (4, "d"),
        (5, None),
        (6, None),
        (7, None),
    ]
    reasons = [reason for _, _, reason in found]
    words = ("blank", "int", "no 'text'", "no JSON", "no object", "UTF-8")
    assert all(word in why for word, why in zip(words, reasons, strict=True)), reasons


def test_bad_rows_of_a_table_are_named_by_the_line_they_begin_on(run: Run) -> None:
    rows = b'text,n\n"two\nlines",1\nshort\n\xff,2\n,3\nlast,4\n'
    Path("in.csv").write_bytes(rows)
    assert run("embed", "in.csv", "out.jsonl").code == 3
    written = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["text"]) for row in written] == [
        (2, "two\nlines"),
        (7, "last"),
    ]
    assert [line for line, _, _ in failures("out.jsonl")] == [4, 5, 6]


def test_null_and_blank_texts_of_parquet_are_named_by_row(run: Run) -> None:
    table = pa.table({"text": ["a", None, "", "d"], "id": [10, 20, 30, 40]})
    parquet.write_table(table, "in.parquet")
    assert run("embed", "in.parquet", "out.parquet").code == 3
    assert parquet.read_table("out.parquet").column("id").to_pylist() == [10, 40]
    assert [failure[:2] for failure in failures("out.parquet")] == [(2, 20), (3, 30)]
    assert b'"row":2' in Path("out.parquet.failed.jsonl").read_bytes()


@pytest.mark.parametrize("out", ["out.parquet", "out.jsonl", "out.npy"])
def test_a_text_that_the_server_refuses_costs_no_other_text_its_vector(
    run: Run, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    texts = [f"text {number}" for number in range(40)]
    texts[17] = "far too long " * 10
    texts[18] = "too long as well " * 10
    Path("in.txt").write_text("\n".join(texts))
    with LocalEndpoint(dimension=8, max_chars=100) as strict:
        monkeypatch.setenv("TOGETHER_BASE_URL", strict.base_url)
        ended = run("embed", "in.txt", out, "--batch-size", "16", "--json")
        rest = [strict.embed(text) for n, text in enumerate(texts) if n not in (17, 18)]
    assert ended.code == 3
    assert ended.json["written"] == 38
    assert [failure[0] for failure in failures(out)] == [18, 19]
    assert all(str(why).startswith("4") for _, _, why in failures(out))
    assert vectors(out) == rest


@pytest.mark.filterwarnings("default")  # the command shows it by itself
def test_long_texts_are_rows_that_failed_or_are_split(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    long = "many words in a row " * 10
    Path("in.txt").write_text(f"a text\n{long}\nanother\n")
    words = ["embed", "in.txt", "out.npy", "--max-input-tokens", "30"]
    ended = run(*words, "--on-long-input", "error")
    assert ended.code == 3, ended
    assert [line[0] for line in failures("out.npy")] == [2]
    ended = run(*words, "--on-long-input", "split", "--overwrite")
    assert ended.code == 0, ended
    assert "1 text is over the 30 tokens" in ended.err


def vectors(out: str) -> list[list[float]]:
    if out.endswith("npy"):
        matrix: list[list[float]] = np.load(out).tolist()
        return matrix
    if out.endswith("parquet"):
        column: list[list[float]] = (
            parquet.read_table(out).column("embedding").to_pylist()
        )
        return column
    lines = Path(out).read_text().splitlines()
    return [json.loads(line)["embedding"] for line in lines]


def test_rows_that_failed_are_mended_at_the_price_of_themselves(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    Path("in.txt").write_text("one\n\nthree\n")
    assert run("embed", "in.txt", "out.npy").code == 3
    Path("in.txt").write_text("one\ntwo\nthree\n")
    assert run("embed", "in.txt", "out.npy", "--overwrite").code == 0
    assert seen(at_endpoint) == {"one": 1, "two": 1, "three": 1}
    assert len(np.load("out.npy")) == 3
    assert sorted(path.name for path in Path().iterdir()) == [
        "in.txt",
        "out.ids.jsonl",
        "out.npy",
    ]


def test_where_no_row_gets_a_vector_there_is_no_result_but_the_reasons(
    run: Run,
) -> None:
    Path("in.txt").write_text("\n \n")
    ended = run("embed", "in.txt", "out.npy")
    assert ended.code == 3
    assert "out.npy.failed.jsonl" in ended.err
    assert len(failures("out.npy")) == 2
    assert not Path("out.npy").exists()


def test_an_empty_file_is_said_to_be_empty(run: Run) -> None:
    for name in ("in.txt", "in.jsonl", "in.csv"):
        Path(name).write_text("")
        ended = run("embed", name, "out.npy")
        assert ended.code == 1
        assert "no rows" in ended.err
        assert [path.name for path in Path().iterdir()] == [name]
        Path(name).unlink()
