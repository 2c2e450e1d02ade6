"""An endpoint, and embedding models that point to it."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

# LlamaIndex brings its tokenizer's table along, and what tells sentences apart; some
# versions fetch them anew if not told where.
_core = find_spec("llama_index.core")
assert _core is not None, "the tests need llama-index-core"
assert _core.origin is not None
_brought = Path(_core.origin).parent / "_static"
os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(_brought / "tiktoken_cache"))
os.environ.setdefault("NLTK_DATA", str(_brought / "nltk_cache"))

from llama_index_together_embed import TogetherEmbedding  # noqa: E402
from together_embed.local import LocalEndpoint  # noqa: E402

KEY = "canary-key-5d20"

Make = Callable[..., TogetherEmbedding]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of this machine decide a test."""
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    for name in ("TOGETHER_BASE_URL", "TOGETHER_API_BASE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=256, remember_texts=True) as running:
        yield running
        # What a failed call left on its way ends before the server does.
        ends_at = monotonic() + 5
        while len(running.log) < running.requests and monotonic() < ends_at:
            sleep(0.005)


@pytest.fixture
def make(endpoint: LocalEndpoint) -> Make:
    """Make an embedding model of the endpoint, with settings of the test's own."""

    def embedding(**settings: Any) -> TogetherEmbedding:
        settings = {"model_name": "m", "api_base": endpoint.base_url, **settings}
        return TogetherEmbedding(**settings)

    return embedding


@pytest.fixture
def texts() -> list[str]:
    return [f"passage {number} tells of wind and water" for number in range(250)]


@pytest.fixture
def vectors(endpoint: LocalEndpoint, texts: list[str]) -> list[list[float]]:
    """What the endpoint answers for `texts`, known without asking it."""
    return [endpoint.embed(text) for text in texts]
