"""A plain HTTP client for the endpoint under test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from together_embed.local import LocalEndpoint

Ask = Callable[..., requests.Response]

KEY = "canary-key-93f1"


@pytest.fixture
def ask() -> Iterator[Ask]:
    """POST texts to an endpoint over one kept-alive session, and retry nothing."""
    with requests.Session() as session:
        session.trust_env = False

        def post(
            endpoint: LocalEndpoint, *texts: str, key: str | None = KEY, **fields: Any
        ) -> requests.Response:
            body = {"model": "m", "input": list(texts), **fields}
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            return session.post(
                f"{endpoint.base_url}/embeddings",
                json={name: value for name, value in body.items() if value is not ...},
                headers=headers,
                timeout=10,
                allow_redirects=False,
            )

        yield post
