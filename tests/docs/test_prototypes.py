"""The programs of examples/ run, and print what docs/prototypes.md says they print."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from aiohttp.test_utils import TestClient, TestServer
from nbclient import NotebookClient

from together_embed.local import LocalEndpoint

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PRINTED = re.findall(
    r"```sh\npython (examples/\w+\.py)\n```\n\n```text\n(.*?)```",
    (ROOT / "docs" / "prototypes.md").read_text(),
    re.S,
)


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:__main__", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("program", "printed"), PRINTED, ids=dict(PRINTED))
def test_a_program_prints_what_the_page_shows(program: str, printed: str) -> None:
    assert run(program) == printed


@pytest.mark.parametrize("program", dict(PRINTED))
def test_a_program_answers_a_question_of_ones_own(program: str) -> None:
    said = run(program, "Who milks the goat?", "What is burnt in the lamp?")
    first, second = said.split("What is burnt in the lamp?")
    assert "The goat is milked at seven." in first
    assert "lamp" in second


def test_what_each_program_prints_stands_on_the_page() -> None:
    silent = {"demo.py", "setting.py", "service.py"}
    printing = {path.name for path in EXAMPLES.glob("*.py")} - silent
    assert {Path(program).name for program in dict(PRINTED)} == printing


def test_each_program_stands_on_the_page() -> None:
    page = (ROOT / "docs" / "prototypes.md").read_text()
    for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")):
        if path.name not in ("demo.py", "setting.py"):
            assert f"examples/{path.name}" in page


def outputs(notebook: Any) -> list[list[tuple[str, str]]]:
    return [
        [
            (out.get("name", out.output_type), out.get("text", ""))
            for out in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("name", ["langchain", "llama_index"])
def test_a_notebook_prints_what_it_shows(name: str) -> None:
    notebook = import_module("nbformat").read(EXAMPLES / f"{name}.ipynb", 4)
    shown = outputs(notebook)
    where = {"metadata": {"path": str(EXAMPLES)}}
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources=where
    ).execute()
    assert outputs(notebook) == shown
    assert sum(map(len, shown)) >= 4


@pytest.fixture
async def service(
    together_endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TestClient[Any, Any]]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    app = import_module("service").make_app()
    async with TestClient(TestServer(app)) as client:
        yield client


async def until_indexed(service: TestClient[Any, Any]) -> dict[str, Any]:
    while True:
        status: dict[str, Any] = await (await service.get("/status")).json()
        if status["indexed"] == status["received"]:
            return status


async def test_the_service_finds_a_passage_that_it_was_given(
    service: TestClient[Any, Any],
) -> None:
    answer = await service.post("/passages", json=["Bees make honey.", "Birds sing."])
    assert answer.status == 202
    await until_indexed(service)
    found = await service.get("/search", params={"q": "Who makes honey?", "k": "1"})
    ((hit),) = await found.json()
    assert hit["text"] == "Bees make honey."
    assert 0 < hit["score"] <= 1


async def test_the_service_answers_while_it_indexes(
    service: TestClient[Any, Any], together_endpoint: LocalEndpoint
) -> None:
    await until_indexed(service)
    # 20 texts a request: 2 s for each of a hundred, 0.1 s for a query.
    together_endpoint.slow(0.0, 0.1)
    await service.post(
        "/passages", json=[f"Entry {n} of the log." for n in range(2000)]
    )
    found = await service.get("/search", params={"q": "When is the goat milked?"})
    status = await (await service.get("/status")).json()
    assert (await found.json())[0]["text"].startswith("The goat is milked")
    assert status["indexed"] < status["received"]


@pytest.mark.parametrize("given", [["fine", ""], "a string", ["fine", 5], {"a": 1}])
async def test_the_service_refuses_passages_that_cannot_be_embedded(
    service: TestClient[Any, Any], given: Any
) -> None:
    before = await until_indexed(service)
    assert (await service.post("/passages", json=given)).status == 400
    assert await until_indexed(service) == before


async def test_the_service_goes_on_after_a_failure(
    service: TestClient[Any, Any], together_endpoint: LocalEndpoint
) -> None:
    await until_indexed(service)
    together_endpoint.fail(401, times=None)
    await service.post("/passages", json=["Lost at sea."])
    assert (await service.get("/search", params={"q": "a query"})).status == 502
    together_endpoint.heal()
    await service.post("/passages", json=["Bees make honey."])
    while True:
        status = await (await service.get("/status")).json()
        if status["indexed"] == status["received"] - 1:
            break
    assert len(status["failures"]) == 1


@pytest.mark.parametrize("query", ["", "q=", "q=goat&k=many"])
async def test_the_service_says_what_a_query_needs(
    service: TestClient[Any, Any], query: str
) -> None:
    assert (await service.get(f"/search?{query}")).status == 400


def test_the_service_starts_by_the_command_on_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("PORT", str(port))
    command = [sys.executable, "-u", str(EXAMPLES / "service.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert f":{port}" in started.stdout.readline()
        with urlopen(f"http://127.0.0.1:{port}/status", timeout=30) as answer:
            assert json.load(answer)["received"] > 20
        started.send_signal(signal.SIGINT)
        started.stdout.read()
    assert started.returncode == 0
