"""How each vector store of LlamaIndex is opened, by its public constructor alone.

Two that are opened at one place, one after the other, are the same store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from llama_index.core.vector_stores.types import BasePydanticVectorStore
from parts import part

Open = Callable[[], BasePydanticVectorStore]


class Place(NamedTuple):
    """Where a store may keep its data, and how wide its vectors are."""

    folder: Path
    postgres: Callable[[str], str] | None
    width: int


@contextmanager
def chroma(place: Place) -> Iterator[Open]:
    client = part("chromadb").PersistentClient(str(place.folder))
    store = part("llama_index.vector_stores.chroma").ChromaVectorStore
    yield lambda: store(client.get_or_create_collection("library"))


@contextmanager
def qdrant(place: Place) -> Iterator[Open]:
    module = part("qdrant_client")
    store = part("llama_index.vector_stores.qdrant").QdrantVectorStore
    with closing(module.QdrantClient(":memory:")) as client:
        yield lambda: store("library", client=client)


@contextmanager
def qdrant_async(place: Place) -> Iterator[Open]:
    module = part("qdrant_client")
    store = part("llama_index.vector_stores.qdrant").QdrantVectorStore
    client = module.AsyncQdrantClient(":memory:")
    yield lambda: store("library", aclient=client)
    asyncio.run(client.close())


@contextmanager
def lancedb(place: Place) -> Iterator[Open]:
    store = part("llama_index.vector_stores.lancedb").LanceDBVectorStore

    def open_() -> Any:
        known = any(place.folder.glob("*.lance"))
        return store(uri=str(place.folder), mode="append" if known else "create")

    yield open_


@contextmanager
def postgres(place: Place) -> Iterator[Open]:
    assert place.postgres is not None
    url = place.postgres("psycopg")
    store = part("llama_index.vector_stores.postgres").PGVectorStore
    made: list[Any] = []

    def open_() -> Any:
        made.append(
            store.from_params(
                connection_string=url,
                async_connection_string=url,
                embed_dim=place.width,
                # A connection for each use: none stays open when a loop ends.
                create_engine_kwargs={"poolclass": part("sqlalchemy.pool").NullPool},
            )
        )
        return made[-1]

    yield open_
    for each in made:
        asyncio.run(each.close())


STORES = {opener.__name__: opener for opener in (chroma, qdrant, lancedb, postgres)}
ASYNC_STORES = {**STORES, "qdrant": qdrant_async}
