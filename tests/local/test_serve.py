"""The endpoint from a terminal."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from together_embed.local import LocalEndpoint
from together_embed.local.serve import serve


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-m", "together_embed.local.serve", "--port", "0", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_words(process: "subprocess.Popen[str]") -> str:
    """Read what it says when it has started, up to its last line."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended early"
    return "".join(lines)


def test_it_says_where_it_is_and_what_it_is_not_and_ends_quietly() -> None:
    with served("--dimension", "8", "--model", "m") as process:
        said = first_words(process)
        url = said.split()[2]
        body = {"model": "m", "input": ["a", "b"]}
        headers = {"Authorization": "Bearer any-key-will-do"}
        rows = requests.post(f"{url}/embeddings", json=body, headers=headers).json()
        process.send_signal(signal.SIGINT)
        last_words, complaints = process.communicate(timeout=10)
    assert [len(row["embedding"]) for row in rows["data"]] == [8, 8]
    assert f"export TOGETHER_BASE_URL={url}" in said
    assert "no language model" in said
    assert "Requests: 1. Texts: 2." in last_words
    assert (process.returncode, complaints) == (0, "")


def test_json_is_a_line_where_it_is_and_a_line_of_what_it_did() -> None:
    with served("--json", "--dimension", "8") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        asked = {"model": "m", "input": ["a", "b"]}
        headers = {"Authorization": "Bearer any-key-will-do"}
        requests.post(f"{first['base_url']}/embeddings", json=asked, headers=headers)
        document = requests.get(first["openapi"]).json()
        process.send_signal(signal.SIGINT)
        last_words, complaints = process.communicate(timeout=10)
    assert "/embeddings" in document["paths"]
    assert json.loads(last_words) == {"requests": 1, "texts": 2}
    assert (process.returncode, complaints) == (0, "")


def test_the_key_comes_from_the_environment_and_is_not_shown() -> None:
    with served("--api-key-env", "MY_KEY", MY_KEY="canary-key") as process:
        said = first_words(process)
        url = said.split()[2]
        body = {"model": "m", "input": "a"}
        statuses = [
            requests.post(
                f"{url}/embeddings",
                json=body,
                headers={"Authorization": f"Bearer {key}"},
            ).status_code
            for key in ("canary-key", "another")
        ]
        process.send_signal(signal.SIGTERM)
        last_words, complaints = process.communicate(timeout=10)
    assert statuses == [200, 401]
    assert "canary-key" not in said + last_words + complaints
    assert "$MY_KEY" in said
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "high"],
        ["--port", "70000"],
        ["--dimension", "0"],
        ["--storm", "2"],
        ["--delay", "-1"],
        ["--base64", "perhaps"],
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        serve(arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_what_is_missing_or_taken_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert serve(["--api-key-env", "NO_SUCH_KEY"]) == 2
    assert "NO_SUCH_KEY is not set" in capsys.readouterr().err
    assert serve(["--host", "192.0.2.1"]) == 1
    assert "cannot listen" in capsys.readouterr().err
    with LocalEndpoint() as first:
        assert serve(["--port", str(first.port)]) == 1
    said = capsys.readouterr().err
    assert f"{os.strerror(errno.EADDRINUSE)}; choose another --port" in said
    assert said.count("127.0.0.1") == 1
