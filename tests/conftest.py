"""What every test gets: an environment without settings, and calls in either colour."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import settings

from together_embed import EmbeddingsClient, EmbeddingsError, learned
from together_embed.local import LocalEndpoint

KEY = "canary-key-0123456789"
READ_BY_THE_CORE = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("OPENAI_API_KEY", "NETRC"),
)
IN_ONE_PROCESS = ("tests/components/", "tests/ray_data/")
"""PostgreSQL that is started twice at once as root would add its user twice; a cluster
takes longer to start than a trial on it."""


def pytest_configure() -> None:
    """Draw the same examples each time, but in `make faults`, and hear Ctrl-C."""
    same = os.environ.get("FAULTS") != "full"
    settings.register_profile("suite", derandomize=same, deadline=None)
    settings.load_profile("suite")
    # A shell takes Ctrl-C from what it runs in the background.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one, but those that share a server or a cluster."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next(filter(nodeid.startswith, IN_ONE_PROCESS), nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine's owner has set for these libraries."""
    for name in list(os.environ):
        ours = name.startswith("TOGETHER_") or name in READ_BY_THE_CORE
        if ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_learned() -> None:
    """Forget what other tests have found out: a port can be used again."""
    learned._known.clear()


class Colour:
    """The same call, sync or async."""

    def __init__(self, name: str) -> None:
        self.name = name

    def embed(self, client: EmbeddingsClient, texts: Any, **options: Any) -> Any:
        if self.name == "sync":
            return client.embed(texts, **options)
        return asyncio.run(client.aembed(texts, **options))

    def resume(self, error: EmbeddingsError) -> list[list[float]]:
        if self.name == "sync":
            return error.resume()
        return asyncio.run(error.aresume())

    def batches(
        self, client: EmbeddingsClient, batches: Any
    ) -> Iterator[list[list[float]]]:
        if self.name == "sync":
            return client.embed_batches(batches)
        return iter(asyncio.run(_all(client, batches)))

    def close(self, client: EmbeddingsClient) -> None:
        if self.name == "sync":
            client.close()
        else:
            asyncio.run(client.aclose())


async def _all(client: EmbeddingsClient, batches: Any) -> list[list[list[float]]]:
    return [rows async for rows in client.aembed_batches(batches)]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(request.param)


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=8, remember_texts=True) as running:
        yield running
        _settle(running)


def _settle(endpoint: LocalEndpoint) -> None:
    """Wait until the server has seen all connections that were made to it.

    A call that failed, or was cancelled, leaves requests behind. One that connects at
    the moment in which the server stops would leave the server's end of it open.
    """
    for thread in threading.enumerate():
        if thread.name == "together-embed":
            thread.join(0.2)
    with socket.create_connection(("127.0.0.1", endpoint.port)) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.0\r\n\r\n")
        while connection.recv(65536):
            pass


@pytest.fixture(scope="session")
def spare_the_old() -> Callable[[], None]:
    """Spare the collector what modules hold, whenever more were loaded.

    It would take 0.3 s a test.
    """
    loaded = 0

    def spare() -> None:
        nonlocal loaded
        if len(sys.modules) > loaded:
            loaded = len(sys.modules)
            gc.collect()
            gc.freeze()

    return spare


@pytest.fixture
def no_leaks(spare_the_old: Callable[[], None]) -> Iterator[None]:
    """Let what was left open say so here, where warnings are errors."""
    spare_the_old()
    yield
    gc.collect()


def client_of(endpoint: LocalEndpoint, **settings: Any) -> EmbeddingsClient:
    """Make a client that waits for nothing longer than a test can bear."""
    chosen = {"api_key": KEY, "base_url": endpoint.base_url, "timeout": 10.0}
    return EmbeddingsClient("m", **{**chosen, **settings})


@pytest.fixture
def make_client(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Make clients of the endpoint that back off briefly, and close them."""
    monkeypatch.setattr("together_embed.engine.retry.BASE_DELAY", 0.002)
    made: list[EmbeddingsClient] = []

    def make(**settings: Any) -> EmbeddingsClient:
        made.append(client_of(endpoint, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def vectors(endpoint: LocalEndpoint, texts: Sequence[str]) -> list[list[float]]:
    return [endpoint.embed(text) for text in texts]


@pytest.fixture
def right(endpoint: LocalEndpoint) -> Any:
    """Tell what the endpoint answers for texts, bit for bit."""
    return lambda texts: vectors(endpoint, texts)
