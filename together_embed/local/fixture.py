"""Gives pytest the fixture `together_endpoint`, wherever this package is installed.

Loaded by every pytest run on the machine, so it imports pytest and nothing else; the
server is loaded when a test first asks for it.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from together_embed.local.server import LocalEndpoint


@pytest.fixture
def together_endpoint(monkeypatch: pytest.MonkeyPatch) -> "Iterator[LocalEndpoint]":
    """Start a local endpoint and point TOGETHER_API_KEY and TOGETHER_BASE_URL to it."""
    from together_embed.local.server import LocalEndpoint

    with LocalEndpoint() as endpoint:
        monkeypatch.setenv("TOGETHER_API_KEY", "local-endpoint-key")
        monkeypatch.setenv("TOGETHER_BASE_URL", endpoint.base_url)
        monkeypatch.delenv("TOGETHER_API_BASE", raising=False)
        yield endpoint
