"""How commands end: exit codes, one line with a remedy, JSON, no key anywhere."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
from pyarrow import parquet

from together_embed.cli import main
from together_embed.cli.partfile import PartFile
from together_embed.local import LocalEndpoint

from .conftest import KEY, START, Run

UNKNOWN = ["--model", "unknown", "--on-long-input", "split"]
WRONG: list[tuple[list[str], int, str]] = [
    ([], 0, ""),
    (["--nonsense"], 2, "--help"),
    (["embed"], 2, "'IN'"),
    (["embed", "in.txt"], 2, "'OUT'"),
    (["embed", "in.txt", "out.npy", "--batchsize", "3"], 2, "--batch-size"),
    (["embed", "in.txt", "out.npy", "--batch-size", "0"], 2, "x>=1"),
    (["embed", "in.txt", "out.npy", "--api-key", "k"], 2, "--help"),
    (["embed", "in.txt", "out.csv"], 2, ".parquet, .jsonl, .npy"),
    (["embed", "in.doc", "out.npy"], 2, "--format"),
    (["embed", "-", "out.npy"], 2, "--format"),
    (["embed", "none.txt", "out.npy"], 1, "none.txt: No such file"),
    (["embed", "in.txt", "none/out.npy"], 2, "none is no folder"),
    (["embed", "in.txt", "out.npy", "--text", "t"], 2, "no columns"),
    (["embed", "in.csv", "out.npy"], 2, "'n', 'm'; name one with --text"),
    (["embed", "in.csv", "out.npy", "--text", "t"], 2, "no column 't'"),
    (["embed", "in.csv", "out.jsonl", "--text", "n", "--column", "m"], 2, "--column"),
    (["embed", "in.csv", "out.npy", "--text", "n", "--id", "i"], 2, "--id"),
    (["embed", "twice.csv", "out.npy"], 1, "'text'"),
    (["embed", "in.txt", "out.npy", "--format", "parquet"], 1, "no Parquet file"),
    (["embed", "in.txt", "out.npy", "--base-url", "ftp://x"], 2, "http"),
    (["embed", "in.txt", "out.npy", "--requests-per-second", "-1"], 2, "--requests"),
    (["embed", "in.txt", "out.npy", "--tokenizer", "t"], 2, "--on-long-input says"),
    (["embed", "in.txt", "out.npy", *UNKNOWN], 2, "pass --max-input-tokens"),
    (["plan"], 2, "'IN'"),
    (["plan", "none.txt"], 1, "none.txt"),
    (["check", "--timeout", "0"], 2, "timeout"),
]


@pytest.mark.parametrize(("words", "code", "says"), WRONG)
def test_what_is_wrong_is_one_line_that_says_what_to_do(
    run: Run, at_endpoint: LocalEndpoint, words: list[str], code: int, says: str
) -> None:
    Path("in.txt").write_text("hello\n")
    Path("in.csv").write_text("n,m\n1,2\n")
    Path("twice.csv").write_text("text,text\na,b\n")
    files = set(Path().iterdir())
    ended = run(*words)
    assert ended.code == code
    assert says in ended.err
    assert ended.err.count("\n") == (code > 0)
    assert ended.err.startswith("together-embed") or not code
    assert set(Path().iterdir()) == files
    assert at_endpoint.requests == 0


def test_without_a_key_it_is_said_where_one_is_read_from(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in.txt").write_text("hello\n")
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.delenv("TOGETHER_BASE_URL")
    for words in (["embed", "in.txt", "out.npy"], ["check"]):
        ended = run(*words)
        assert ended.code == 2
        assert "TOGETHER_API_KEY" in ended.err


def test_the_model_has_no_default(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOGETHER_MODEL")
    for words in (["embed", "in.txt", "out.npy"], ["check"]):
        ended = run(*words)
        assert ended.code == 2
        assert "--model" in ended.err


def test_a_server_that_fails_is_one_line_with_a_remedy(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    Path("in.txt").write_text("hello\n")
    at_endpoint.fail(404, times=None)
    ended = run("embed", "in.txt", "out.npy")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("together-embed embed: 404")
    assert [path.name for path in Path().iterdir()] == ["in.txt"]


def test_a_damaged_file_is_one_line_that_names_it(run: Run) -> None:
    texts = [f"text {number} {number**9}" for number in range(1_500)]
    parquet.write_table(pa.table({"text": texts}), "in.parquet", row_group_size=500)
    data = bytearray(Path("in.parquet").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    Path("in.parquet").write_bytes(data)
    ended = run("embed", "in.parquet", "out.npy")
    assert ended.code == 1
    assert ended.err.startswith("together-embed embed: in.parquet: ")
    assert ended.err.count("\n") == 1
    assert not Path("out.npy").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize("out", ["out.npy", "out.jsonl", "out.parquet"])
def test_a_full_disk_is_one_line_that_tells_what_is_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    Path("in.txt").write_text("".join(f"line {number}\n" for number in range(2_000)))

    def full(self: PartFile) -> BinaryIO:
        self._part.touch()
        return open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr(PartFile, "_open", full)
    ended = run("embed", "in.txt", out)
    assert ended.code == 1
    assert "out." in ended.err
    assert "No space left" in ended.err
    assert "goes on from there" in ended.err
    assert ended.err.count("\n") == 1
    assert not list(Path().glob("out.*.part"))


def test_answers_are_one_json_object_on_stdout(run: Run) -> None:
    Path("in.txt").write_text("hello\n\nworld\n")
    for words in (["embed", "in.txt", "out.npy"], ["plan", "in.txt"], ["check"]):
        ended = run(*words, "--json")
        assert ended.err == ""
        assert isinstance(json.loads(ended.out), dict)
        assert ended.out.count("\n") == 1


def test_the_answer_in_json_tells_what_was_done(
    run: Run, at_endpoint: LocalEndpoint
) -> None:
    Path("in.txt").write_text("hello\n\nworld\nhello\n")
    told = run("embed", "in.txt", "out.npy", "--json").json
    assert told.pop("seconds") > 0
    assert told == {
        "out": "out.npy",
        "model": "m",
        "endpoint": at_endpoint.base_url,
        "width": 8,
        "written": 3,
        "failed": 1,
        "failures": "out.npy.failed.jsonl",
        "sent": 2,
        "recalled": 0,
        "requests": 1,
        "cache": "out.npy.cache.sqlite",
    }


def test_the_key_is_in_no_output_and_in_no_file(
    run: Run, at_endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    Path("in.txt").write_text("hello\n\n")
    said = [run("check"), run("embed", "in.txt", "out.jsonl", "--keep-cache")]
    at_endpoint.fail(401, body=json.dumps({"error": {"message": f"bad {KEY}"}}))
    said.append(run("check"))
    at_endpoint.fail(401, body=json.dumps({"error": {"message": f"bad {KEY}"}}))
    said.append(run("embed", "in.txt", "out.npy"))
    assert [ended.code for ended in said] == [0, 3, 1, 1]
    assert not [ended for ended in said if KEY in ended.out + ended.err]
    files = [path for path in tmp_path.iterdir() if KEY.encode() in path.read_bytes()]
    assert not files


@pytest.mark.parametrize("command", ["embed", "plan", "check"])
def test_without_the_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name == "pyarrow" else found(name, package)

    monkeypatch.setattr("together_embed.cli.find_spec", find)
    assert main([command, "--help"]) == 1
    captured = capsys.readouterr()
    assert 'pip install "together-embed[cli]"' in captured.err
    assert captured.err.count("\n") == 1


def test_serve_and_help_need_no_extra() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys("
        "('click', 'rich', 'numpy', 'pyarrow')));"
        "from together_embed.cli import main; main(['--help']); main(['serve', '-h'])"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: together-embed serve" in done.stdout


def test_a_reader_that_goes_away_is_no_traceback(start: Callable[..., Any]) -> None:
    Path("in.txt").write_text("hello\n")
    process = start("plan", "in.txt")
    process.stdout.close()
    process.wait(timeout=30)
    assert process.stderr.read() == ""


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_reader_that_has_gone_is_no_traceback(word: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", START, word],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("together_embed.cli.find_spec", loading)
    ended = run("plan", "in.txt")
    assert (ended.code, ended.out, ended.err) == (130, "", "together-embed: stopped\n")
