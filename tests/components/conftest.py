"""An endpoint, models of both frameworks that point to it, and one PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
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

WIDTH = 128
BATCH = 7  # the library is several requests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let other projects say of each other what is not ours to mend."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            for said in ("ignore::DeprecationWarning", "ignore:Payload indexes have"):
                item.add_marker(pytest.mark.filterwarnings(said))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "canary-key-77c2")


@pytest.fixture(autouse=True)
def loop_to_be_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give LlamaIndex the loop that it else makes for this thread and never closes.

    Python says so whenever that is collected, in whichever test.
    """
    if inspect.iscoroutinefunction(request.function):
        yield  # it has one
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


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
def postgres_server() -> Iterator[Any]:
    # Not below pytest's own folder: for root the server runs as another user, and each
    # pytest that starts closes that folder to others.
    with TemporaryDirectory(prefix="postgres", ignore_cleanup_errors=True) as folder:
        server: Any = part("pgserver").get_server(folder)
        server.psql("ALTER SYSTEM SET fsync = off;")  # nothing here has to last
        server.psql("SELECT pg_reload_conf(); CREATE EXTENSION vector;")
        yield server
        server.cleanup()


DROP_ALL = """
SET lock_timeout = '5s';
DO $$ DECLARE found text; BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE %I CASCADE', found);
    END LOOP;
END $$;
"""


@pytest.fixture
def postgres(postgres_server: Any) -> Iterator[Callable[[str], str]]:
    """Offer a database with pgvector; give its URL for a driver of SQLAlchemy."""
    uri: str = postgres_server.get_uri()
    yield lambda driver: uri.replace("postgresql://", f"postgresql+{driver}://", 1)
    postgres_server.psql(DROP_ALL)
