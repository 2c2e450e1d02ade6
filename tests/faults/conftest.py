"""What the fault suite shares: the way to the endpoint, and short waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .ways import WAYS, Way


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    """Each of the six ways in turn."""
    chosen: Way = request.param
    return chosen


@pytest.fixture(params=WAYS[:2], ids=lambda way: way.name)
def transport(request: pytest.FixtureRequest) -> Way:
    """The core over each of the two transports."""
    chosen: Way = request.param
    return chosen


@pytest.fixture
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries wait for milliseconds: how often is the matter, not how long."""
    monkeypatch.setattr("together_embed.engine.retry.BASE_DELAY", 0.002)


@pytest.fixture
def make(brief_waits: None) -> Iterator[Any]:
    """Make a client, or a framework's model, of the way's kind; close it in the end."""
    made: list[tuple[Way, Any]] = []

    def make(way: Way, url: str, **settings: Any) -> Any:
        made.append((way, way.make(url, **settings)))
        return made[-1][1]

    yield make
    for way, model in made:
        way.close(model)
