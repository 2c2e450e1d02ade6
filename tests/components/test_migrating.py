"""What docs/migrate.md says of other adapters: both sides are run and compared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.stores import InMemoryByteStore
from library import TEXTS
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from parts import part, quietly

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import ConfigurationError, EmbeddingsError
from together_embed.local import LocalEndpoint

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migrate.md"
CHANGES = re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.S)
PACKAGES = [
    *("langchain_together", "langchain_openai"),
    *("llama_index.embeddings.together", "llama_index.embeddings.openai"),
]
LINES = "One line\nand another."


class Sides(NamedTuple):
    """A model of the other package, and ours, as the page makes them."""

    before: Any
    now: Any


def program(change: str, dropped: str) -> str:
    """Return one side of a change; `dropped` marks the lines of the other side."""
    lines = change.splitlines()
    return "\n".join(line[1:] for line in lines if not line.startswith(dropped))


def model(code: str) -> Any:
    made: dict[str, Any] = {}
    exec(code, made)
    return made["model"]


OLD_DEFAULTS: dict[str, dict[str, object]] = {
    "langchain_together": {
        "model": "intfloat/multilingual-e5-large-instruct",
        "chunk_size": 1000,
        "max_retries": 2,
        "request_timeout": None,
        "together_api_base": "https://api.together.xyz/v1/",
    },
    "langchain_openai": {
        "model": "text-embedding-ada-002",
        "chunk_size": 1000,
        "max_retries": 2,
        "retry_min_seconds": 4,
        "retry_max_seconds": 20,
    },
    "llama_index.embeddings.together": {
        "embed_batch_size": 10,
        "api_base": "https://api.together.xyz/v1",
    },
    "llama_index.embeddings.openai": {
        "embed_batch_size": 100,
        "max_retries": 10,
        "timeout": 60,
    },
}
"""What the page, and the docstrings of our classes, say of the other packages."""


@pytest.fixture(autouse=True)
def served(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOGETHER_BASE_URL", "TOGETHER_API_BASE"):
        monkeypatch.setenv(name, endpoint.base_url)


@pytest.fixture(params=range(4), ids=PACKAGES)
def sides(request: pytest.FixtureRequest, endpoint: LocalEndpoint) -> Any:
    quietly(PACKAGES[request.param])
    change = CHANGES[request.param]
    before = model(program(change, "+"))
    if PACKAGES[request.param] == "llama_index.embeddings.together":
        before.api_base = endpoint.base_url  # it reads no variable
    now = model(program(change, "-"))
    yield Sides(before, now)
    now.client.close()


def embed(model: Any, texts: list[str]) -> Any:
    if hasattr(model, "embed_documents"):
        return model.embed_documents(texts)
    return model.get_text_embedding_batch(texts)


def ask(model: Any, text: str) -> Any:
    if hasattr(model, "embed_query"):
        return model.embed_query(text)
    return model.get_query_embedding(text)


def near(one: list[float], other: list[float]) -> bool:
    return one == pytest.approx(other, abs=1e-6)


def test_the_page_changes_one_import_for_each_package() -> None:
    for change, package in zip(CHANGES, PACKAGES, strict=True):
        assert re.findall(r"^[-+]\w*", change, re.M) == ["-from", "+from"]
        assert change.startswith(f"-from {package} import ")


def test_both_give_the_same_vectors_so_that_an_index_can_stay(sides: Sides) -> None:
    documents = zip(embed(sides.before, TEXTS), embed(sides.now, TEXTS), strict=True)
    assert all(near(one, other) for one, other in documents)
    assert near(ask(sides.before, TEXTS[0]), ask(sides.now, TEXTS[0]))


def test_a_newline_reaches_the_server_but_for_one_of_the_others(
    sides: Sides, endpoint: LocalEndpoint
) -> None:
    embed(sides.before, [LINES])
    changed = isinstance(sides.now, TogetherEmbedding) and "openai" in repr(
        type(sides.before)
    )
    assert endpoint.seen == {LINES.replace("\n", " ") if changed else LINES: 1}
    embed(sides.now, [LINES])
    assert endpoint.seen[LINES] == 1 + (not changed)


def test_fewer_requests_are_made(sides: Sides, endpoint: LocalEndpoint) -> None:
    embed(sides.before, TEXTS)
    before = endpoint.requests
    embed(sides.now, TEXTS)
    assert endpoint.requests == before + 1
    apart = "together" in type(sides.before).__module__
    assert before == (len(TEXTS) if apart else 1)


def test_the_names_of_langchain_openai_for_key_and_server_are_taken() -> None:
    made = TogetherEmbeddings(openai_api_key="k", openai_api_base="http://127.0.0.1:9")
    assert made.together_api_base == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "argument",
    [
        {"check_embedding_ctx_length": True},
        {"embedding_ctx_length": 100},
        {"allowed_special": "all"},
        {"retry_min_seconds": 4},
        {"retry_max_seconds": 20},
        {"http_client": object()},
        {"openai_api_version": "2024-02-01"},
        {"deployment": "x"},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_what_the_page_calls_refused_is_refused_in_langchain(
    argument: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError):
        TogetherEmbeddings(**argument)


@pytest.mark.parametrize(
    "argument",
    [{"mode": "x"}, {"reuse_client": False}, {"http_client": 1}, {"api_version": "1"}],
    ids=lambda argument: next(iter(argument)),
)
def test_what_the_page_calls_refused_is_refused_in_llama_index(
    argument: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError):
        TogetherEmbedding("m", **argument)


def test_chunk_size_is_set_on_the_object_not_in_the_call() -> None:
    with pytest.raises(TypeError):
        TogetherEmbeddings().embed_documents(["a text"], chunk_size=5)  # type: ignore


def test_the_key_of_openai_is_sent_by_the_other_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    with LocalEndpoint(api_key="of-openai") as wrong:
        before = quietly("langchain_together").TogetherEmbeddings(
            base_url=wrong.base_url
        )
        before.embed_query("a text")
        now = TogetherEmbeddings(base_url=wrong.base_url)
        with now, pytest.raises(EmbeddingsError):
            now.embed_query("a text")
    assert [entry.bearer for entry in wrong.log] == [True, False]


def test_openais_adapter_sends_tokens_unless_it_is_told_not_to() -> None:
    asking = quietly("langchain_openai").OpenAIEmbeddings(
        base_url=os.environ["TOGETHER_BASE_URL"], api_key="k", max_retries=0
    )
    with pytest.raises(quietly("openai").BadRequestError):
        asking.embed_query("a text")


def test_a_cache_of_langchains_finds_its_entries_again(endpoint: LocalEndpoint) -> None:
    cached = part("langchain_classic.embeddings").CacheBackedEmbeddings
    store = InMemoryByteStore()
    before = quietly("langchain_together").TogetherEmbeddings(model="m")
    for model in (before, TogetherEmbeddings(model="m")):
        cached.from_bytes_store(
            model, store, namespace=model.model, key_encoder="sha256"
        ).embed_documents(TEXTS)
    assert set(endpoint.seen.values()) == {1}


@pytest.mark.parametrize("sides", [2, 3], ids=PACKAGES[2:], indirect=True)
def test_caches_of_llama_index_are_filled_anew(sides: Sides, tmp_path: Path) -> None:
    store = SimpleKVStore()
    for model in sides:
        model.embeddings_cache = store
        embed(model, ["a text"])
    assert sides.now.client.stats.texts == 1
    nodes = [TextNode(text="another", id_="1")]
    first = IngestionPipeline(transformations=[sides.before])
    first.run(nodes=nodes)
    first.persist(str(tmp_path))
    second = IngestionPipeline(transformations=[sides.now])
    second.load(str(tmp_path))
    second.run(nodes=[TextNode(text="another", id_="1")])
    assert sides.now.client.stats.texts == 2


def test_a_key_that_was_shown_is_shown_no_longer(sides: Sides) -> None:
    key = os.environ["TOGETHER_API_KEY"]
    assert key not in repr(sides.now)
    if isinstance(sides.now, TogetherEmbedding):
        assert key in repr(sides.before)
        assert key in json.dumps(sides.before.to_dict())
        assert key not in json.dumps(sides.now.to_dict())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_other_packages_have_the_defaults_that_the_page_names(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOGETHER_API_BASE")
    name = "TogetherEmbedding" if "together" in package else "OpenAIEmbedding"
    adapter = getattr(quietly(package), name + "s" * package.startswith("langchain"))
    needed = {"model_name": "m"} if package.endswith("gs.together") else {}
    made = adapter(api_key="k", **needed)
    defaults = OLD_DEFAULTS[package]
    assert {name: getattr(made, name) for name in defaults} == defaults


FAILS = """
import asyncio, copy, pickle, sys
from langchain_together import TogetherEmbeddings
made = TogetherEmbeddings(max_retries=0)
for act in (
    lambda: pickle.dumps(made),
    lambda: copy.deepcopy(made),
    lambda: asyncio.run(made.aembed_query("one loop")),
    lambda: asyncio.run(made.aembed_query("another")),
):
    try:
        act()
    except Exception as error:
        print("fails")
    else:
        print("works")
"""


def test_langchain_together_cannot_be_copied_and_serves_one_event_loop() -> None:
    # A process of its own: what is left half made and open does not end up in others.
    done = subprocess.run(
        [sys.executable, "-c", FAILS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["fails", "fails", "works", "fails"], done.stderr


def test_openais_adapter_of_llama_index_takes_no_other_model_by_model() -> None:
    adapter = quietly("llama_index.embeddings.openai").OpenAIEmbedding
    with pytest.raises(ValueError, match="not a valid"):
        adapter(model="intfloat/multilingual-e5-large-instruct", api_key="k")
