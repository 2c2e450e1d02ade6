"""A web service that answers queries while it indexes.

    python examples/service.py

    curl -d '["Bees make honey.", "Spiders spin webs."]' localhost:8080/passages
    curl 'localhost:8080/search?q=Who+makes+honey%3F&k=1'
    curl localhost:8080/status

Passages are embedded in the background, a batch at a time, and can be found as soon as
their batch is home. All requests of the service share one client, so that a query and a
corpus together stay within what the embedding server takes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray
from setting import MODEL, passages, server

from together_embed import EmbeddingsClient, EmbeddingsError


class Service:
    """Passages and their vectors, of unit length, and a queue of what is to come."""

    def __init__(self, client: EmbeddingsClient) -> None:
        self.client = client
        self.waiting: asyncio.Queue[list[str]] = asyncio.Queue()
        self.texts: list[str] = []
        self.parts: list[NDArray[np.float32]] = []
        self.received = 0
        self.failures: list[str] = []

    def receive(self, texts: list[str]) -> None:
        """Take passages to be indexed later.

        Raises:
            TypeError, ValueError: Some of them no server would embed.
        """
        if not isinstance(texts, list):
            raise TypeError("passages come as a list of texts")
        self.client.check(texts)
        self.waiting.put_nowait(texts)
        self.received += len(texts)

    async def index(self) -> None:
        """Embed what is waiting, until the service ends."""
        while True:
            texts = await self.waiting.get()
            try:
                await self._index(texts)
            except EmbeddingsError as error:  # the rest of these; others may do
                self.failures.append(str(error))

    async def _index(self, texts: list[str]) -> None:
        arrays = self.client.astream_arrays(texts, role="document", on_error="return")
        async for first, vectors in arrays:
            if isinstance(vectors, EmbeddingsError):  # a text that the server refuses
                self.failures.append(str(vectors))
                continue
            self.parts.append(unit(vectors))
            self.texts += texts[first : first + len(vectors)]

    async def search(self, query: str, k: int) -> list[tuple[float, str]]:
        """Return the `k` nearest passages of those that are indexed by now."""
        asked = unit(await self.client.aembed_array([query], role="query"))[0]
        if not self.parts:
            return []
        self.parts = [np.concatenate(self.parts)]
        scores = self.parts[0] @ asked
        best = np.argsort(-scores)[:k]
        return [(float(scores[place]), self.texts[place]) for place in best]


SERVICE = web.AppKey("service", Service)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length, so that a dot product is their cosine."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / lengths
    return scaled


async def post_passages(request: web.Request) -> web.Response:
    try:
        request.app[SERVICE].receive(await request.json())
    except (TypeError, ValueError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return web.json_response(status_of(request.app[SERVICE]), status=202)


async def get_search(request: web.Request) -> web.Response:
    try:
        k = int(request.query.get("k", "3"))
        found = await request.app[SERVICE].search(request.query["q"], k)
    except (KeyError, ValueError) as error:
        raise web.HTTPBadRequest(text="a query needs q=, and k= a number") from error
    except EmbeddingsError as error:
        raise web.HTTPBadGateway(text=str(error)) from error
    return web.json_response([{"score": s, "text": text} for s, text in found])


async def get_status(request: web.Request) -> web.Response:
    return web.json_response(status_of(request.app[SERVICE]))


def status_of(service: Service) -> dict[str, Any]:
    return {
        "received": service.received,
        "indexed": len(service.texts),
        "failures": service.failures,
    }


async def running(app: web.Application) -> AsyncIterator[None]:
    """Index in the background for as long as the service runs."""
    async with EmbeddingsClient(MODEL, batch_size=20) as client:
        app[SERVICE] = Service(client)
        app[SERVICE].receive([passage.text for passage in passages()])
        indexing = asyncio.create_task(app[SERVICE].index())
        yield
        indexing.cancel()
        await asyncio.gather(indexing, return_exceptions=True)


def make_app() -> web.Application:
    app = web.Application(client_max_size=50_000_000)
    app.cleanup_ctx.append(running)
    app.router.add_post("/passages", post_passages)
    app.router.add_get("/search", get_search)
    app.router.add_get("/status", get_status)
    return app


if __name__ == "__main__":
    with server():
        web.run_app(
            make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080"))
        )
