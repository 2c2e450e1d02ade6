"""An endpoint, models of both frameworks that point to it, and one PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from parts import part

# LlamaIndex brings its tokenizer's table along, and fetches it anew if not told where.
_core = find_spec("llama_index.core")
assert _core is not None, "the tests need llama-index-core"
assert _core.origin is not None
os.environ.setdefault(
    "TIKTOKEN_CACHE_DIR",
    str(Path(_core.origin).parent / "_static" / "tiktoken_cache"),
)
os.environ["ANONYMIZED_TELEMETRY"] = "False"  # Chroma's
os.environ["LANGSMITH_TRACING"] = "false"

from langchain_together_embed import TogetherEmbeddings  # noqa: E402
from llama_index_together_embed import TogetherEmbedding  # noqa: E402
from together_embed.local import LocalEndpoint  # noqa: E402

_numbers = count(1)
WIDTH = 128
BATCH = 7  # the library is several requests


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-77c2")


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=WIDTH, remember_texts=True) as running:
        yield running


@pytest.fixture
def embeddings(endpoint: LocalEndpoint) -> Iterator[TogetherEmbeddings]:
    """LangChain's."""
    with TogetherEmbeddings(
        model="m", base_url=endpoint.base_url, chunk_size=BATCH, max_retries=0
    ) as made:
        yield made


@pytest.fixture
def embed_model(endpoint: LocalEndpoint) -> Iterator[TogetherEmbedding]:
    """LlamaIndex's."""
    made = TogetherEmbedding(
        "m", api_base=endpoint.base_url, embed_batch_size=BATCH, max_retries=0
    )
    yield made
    made.client.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server: Any = part("pgserver").get_server(tmp_path_factory.mktemp("postgres"))
    yield server
    server.cleanup()


@pytest.fixture
def postgres(postgres_server: Any) -> Callable[[str], str]:
    """Make a database with pgvector; give its URL for a driver of SQLAlchemy."""
    name = f"library{next(_numbers)}"
    postgres_server.psql(f"CREATE DATABASE {name};")
    uri: str = postgres_server.get_uri(name)

    def url(driver: str) -> str:
        return uri.replace("postgresql://", f"postgresql+{driver}://", 1)

    return url
