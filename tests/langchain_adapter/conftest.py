"""An endpoint on loopback, and embeddings that point to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from together_embed.local import LocalEndpoint

KEY = "canary-key-6b1f"

Make = Callable[..., TogetherEmbeddings]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of this machine decide a test."""
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    for name in ("TOGETHER_BASE_URL", "TOGETHER_API_BASE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=32, remember_texts=True) as running:
        yield running


@pytest.fixture
def make(endpoint: LocalEndpoint) -> Make:
    """Make embeddings of the endpoint, with settings of the test's own."""

    def embeddings(**settings: Any) -> TogetherEmbeddings:
        return TogetherEmbeddings(**{"base_url": endpoint.base_url, **settings})

    return embeddings


@pytest.fixture(params=["sync", "async"])
def embed(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Embed documents on either path, so that one test tells of both."""

    async def ask(model: TogetherEmbeddings, texts: Any) -> list[list[float]]:
        if request.param == "sync":
            return model.embed_documents(texts)
        return await model.aembed_documents(texts)

    return ask


@pytest.fixture
def texts() -> list[str]:
    return [f"passage {number} tells of wind and water" for number in range(250)]


@pytest.fixture
def vectors(endpoint: LocalEndpoint, texts: list[str]) -> list[list[float]]:
    """What the endpoint answers for `texts`, known without asking it."""
    return [endpoint.embed(text) for text in texts]
