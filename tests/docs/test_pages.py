"""The code on the pages of docs/ runs, and what they say of the code is so.

The blocks of a page run in one process, one after the other, as a reader would paste
them, against a local endpoint. A block with a `title` that names a test is run by
pytest. What is no program stands under a comment that says so.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from llama_index_together_embed.arguments import ALIASES
from together_embed import EmbeddingsClient, errors
from together_embed.cli.commands import check, embed, plan
from together_embed.errors import STATUSES, EmbeddingsError
from together_embed.local import LocalEndpoint
from together_embed.store import StoreError, StoreWarning

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SKETCH = "<!-- a sketch, not run -->\n"
BLOCK = re.compile(
    rf"(?P<sketch>{SKETCH})?^```python(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<code>.*?)^```",
    re.S | re.M,
)

RUN_CLI = "from together_embed.cli import main; raise SystemExit(main())"
SAID = {
    "langchain.md": ("1 Bees make honey", "InputError (1,)"),
    "llama-index.md": ("Bees make honey", "InputError (1,)"),
    "observing.md": (
        "2 texts, 1 request",
        "2 calls so far",
        "1 texts in 1 request",
        '"name": "embeddings intfloat/multilingual-e5-large-instruct"',
    ),
}
"""What a page's programs print: each tutorial ends in a retriever that finds it."""


class Block(NamedTuple):
    line: int
    title: str | None
    code: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text[: found.start("code")].count("\n"), found["title"], found["code"])
        for found in BLOCK.finditer(text)
        if not found["sketch"]
    ]


def program(page: Path) -> str:
    """Return the page's blocks, each on the lines where it stands in the page."""
    lines: list[str] = []
    for block in blocks(page):
        if block.title is None:
            lines += [""] * (block.line - len(lines)) + block.code.splitlines()
    return "\n".join(lines) + "\n"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(DOCS)) for page in pages]


WITH_PROGRAMS = [page for page in PAGES if program(page).strip()]
WITH_TESTS = [page for page in PAGES if re.search(r'title="test_', page.read_text())]


@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=names(WITH_PROGRAMS))
def test_the_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, together_endpoint: LocalEndpoint
) -> None:
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(program(page))
    done = run(tmp_path, "-W", "error::UserWarning:__main__", script.name)
    assert done.returncode == 0, done.stderr
    for words in SAID.get(page.name, ()):
        assert words in done.stdout


@pytest.mark.parametrize("page", WITH_TESTS, ids=names(WITH_TESTS))
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.title and block.title.startswith("test_"):
            (tmp_path / block.title).write_text(block.code)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_the_commands_on_the_page_on_the_command_line_run(
    tmp_path: Path, together_endpoint: LocalEndpoint
) -> None:
    text = (DOCS / "command-line.md").read_text()
    (script,) = re.findall(
        r"^```sh title=\"in a terminal\"\n(.*?)^```", text, re.S | re.M
    )
    command = f'together-embed() {{ "{sys.executable}" -c "{RUN_CLI}" "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euc", command + script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "duplicates   1" in done.stdout
    assert "corpus.parquet: 3 vectors" in done.stdout
    assert (tmp_path / "corpus.parquet").exists()


def test_every_option_on_the_page_on_the_command_line_is_one_that_there_is() -> None:
    text = (DOCS / "command-line.md").read_text()
    words = (option for command in (embed, plan, check) for option in command.params)
    there = {name for option in words for name in option.opts} | {"--help"}
    assert set(re.findall(r"(?<=[ `])--[a-z-]+", text)) <= there


def test_no_block_is_in_a_form_that_nobody_runs() -> None:
    for page in PAGES:
        fences = len(re.findall(r"^```py", page.read_text(), re.M))
        assert fences == len(BLOCK.findall(page.read_text())), page
        titles = [block.title or "test_" for block in blocks(page)]
        # The programs for engines are run by tests/ray_data.
        assert page.name == "scale.md" or all(t.startswith("test_") for t in titles)


def rows(page: str) -> list[list[str]]:
    """Return the cells of all tables of a page."""
    text = (DOCS / page).read_text().replace("\\|", "/")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def kinds() -> dict[str, type[EmbeddingsError]]:
    raised = [getattr(errors, name) for name in errors.__all__]
    found = [kind for kind in raised if issubclass(kind, EmbeddingsError)]
    return {kind.__name__: kind for kind in [*found, StoreError]}


def test_every_error_has_a_section_and_no_other_has_one() -> None:
    text = (DOCS / "errors.md").read_text()
    sections = set(re.findall(r"^### (\w+(?:Error|Warning))", text, re.M))
    warnings = (
        errors.LongInputWarning,
        errors.ModelDriftWarning,
        errors.RoleDriftWarning,
        StoreWarning,
    )
    warned = {warning.__name__ for warning in warnings}
    abstract = {"EmbeddingsError", "RequestError", "StatusError"}
    assert sections == (kinds().keys() | warned) - abstract


def test_what_the_table_of_errors_says_of_statuses_and_retries_is_so() -> None:
    table = {row[0].strip("`"): row for row in rows("errors.md") if len(row) == 4}
    assert table.keys() - {"error"} == {
        name for name, kind in kinds().items() if issubclass(kind, errors.RequestError)
    } - {"RequestError"}
    for name, row in table.items():
        if name == "error":
            continue
        assert (row[3] == "yes") == kinds()[name].transient, name
        statuses = {int(status) for status in re.findall(r"\b\d{3}\b", row[1])}
        mapped = {status for status, kind in STATUSES.items() if kind is kinds()[name]}
        assert mapped <= statuses, name


def settings_on_the_page() -> dict[str, str]:
    """Return the default of each setting, as docs/client.md writes it."""
    page = (DOCS / "client.md").read_text()
    table = page.split("## Settings")[1].split("Both adapters")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? *\|", table, re.M))


def parameters(made: type) -> set[str]:
    if made is TogetherEmbeddings:
        return set(TogetherEmbeddings.model_fields)
    return set(inspect.signature(made).parameters) - {"own", "others"}


def test_every_setting_stands_on_the_page_on_the_client_with_its_default() -> None:
    there = inspect.signature(EmbeddingsClient).parameters.values()
    said = settings_on_the_page()
    assert list(said) == [setting.name for setting in there]
    assert said.pop("model") == ""
    defaults = {setting.name: setting.default for setting in there}
    for name, default in said.items():
        assert ast.literal_eval(default) == defaults[name], name


def test_every_setting_has_the_name_in_the_adapters_that_the_page_says() -> None:
    heading = ["`EmbeddingsClient`", "`TogetherEmbeddings`", "`TogetherEmbedding`"]
    table = rows("client.md")
    names = [[cell.strip("`") for cell in row] for row in table]
    others = {ours: theirs for ours, *theirs in names[table.index(heading) + 1 :]}
    assert others.keys() <= settings_on_the_page().keys()
    for name in settings_on_the_page():
        theirs = others.get(name, [name, name])
        adapters = (TogetherEmbeddings, TogetherEmbedding)
        for made, called in zip(adapters, theirs, strict=True):
            # What is no word is a dash: there is no such setting.
            assert (called in parameters(made)) == called.isidentifier(), name
            # An adapter may know our name too, as another spelling of its own.
            other = ALIASES.get(name, name) if made is TogetherEmbedding else name
            assert called == other or name not in parameters(made), name


def test_every_setting_on_the_page_on_tuning_is_one_that_there_is() -> None:
    table = rows("tuning.md")
    (first,) = (n for n, row in enumerate(table, 1) if row[0] == "setting")
    found = {row[0].strip("`") for row in table[first:]}
    assert found
    assert found <= parameters(EmbeddingsClient)


def test_every_page_is_in_the_sites_navigation() -> None:
    listed = re.findall(
        r": ([\w/-]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(), re.M
    )
    assert sorted(listed) == sorted(names(PAGES))


def test_the_map_of_the_house_names_every_module_and_no_other() -> None:
    named = set(re.findall(r"\b(\w+\.py)\b", (DOCS / "design.md").read_text()))
    core = DOCS.parent / "together_embed"
    rooms = [core, core / "engine", core / "transports"]
    there = {path.name for room in rooms for path in room.glob("[!_]*.py")}
    assert named == there


def test_no_page_names_a_test_that_is_not_there() -> None:
    code = "".join(path.read_text() for path in DOCS.parent.glob("tests/**/test_*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in code, f"{page.name}: {name}"
