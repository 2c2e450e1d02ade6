"""How each vector store of LangChain is opened, by its public constructor alone.

An opener gives back a function from embeddings to the store: new at first, and the one
that was filled before when it is called again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from parts import part

Open = Callable[[Embeddings], VectorStore]


class Place(NamedTuple):
    """Where a store may keep its data, and how it will be called."""

    folder: Path
    postgres: Callable[[str], str] | None
    asynchronous: bool
    width: int


@contextmanager
def in_memory(place: Place) -> Iterator[Open]:
    path = str(place.folder / "store.json")
    kept: list[InMemoryVectorStore] = []

    def open_(model: Embeddings) -> VectorStore:
        if kept:
            kept[0].dump(path)
            return InMemoryVectorStore.load(path, model)
        kept.append(InMemoryVectorStore(model))
        return kept[0]

    yield open_


@contextmanager
def chroma(place: Place) -> Iterator[Open]:
    client = part("chromadb").PersistentClient(str(place.folder))
    store = part("langchain_chroma").Chroma
    yield lambda model: store("library", model, client=client)


@contextmanager
def faiss(place: Place) -> Iterator[Open]:
    flat = part("faiss").IndexFlatIP(place.width)
    kept = part("langchain_community.docstore.in_memory").InMemoryDocstore()
    store = part("langchain_community.vectorstores.faiss").FAISS
    names: dict[int, str] = {}
    yield lambda model: store(model, flat, kept, names)


@contextmanager
def qdrant(place: Place) -> Iterator[Open]:
    module = part("qdrant_client")
    with closing(module.QdrantClient(":memory:")) as client:
        size = module.models.VectorParams(
            size=place.width, distance=module.models.Distance.COSINE
        )
        client.create_collection("library", size)
        store = part("langchain_qdrant").QdrantVectorStore
        yield lambda model: store(client, "library", model)


@contextmanager
def lancedb(place: Place) -> Iterator[Open]:
    connection = part("lancedb").connect(str(place.folder))
    store = part("langchain_community.vectorstores.lancedb").LanceDB
    yield lambda model: store(connection, model, mode="append")


@contextmanager
def pgvector(place: Place) -> Iterator[Open]:
    assert place.postgres is not None
    engine = _engine(place.postgres("psycopg"), place.asynchronous)
    store: Any = part("langchain_postgres").PGVector
    yield lambda model: store(
        model,
        connection=engine,
        async_mode=place.asynchronous,
    )


@contextmanager
def pg_table(place: Place) -> Iterator[Open]:
    assert place.postgres is not None
    module = part("langchain_postgres")
    engine = module.PGEngine.from_connection_string(
        place.postgres("psycopg"), poolclass=part("sqlalchemy.pool").NullPool
    )
    names = module.Column("langchain_id", "TEXT", nullable=False)
    engine.init_vectorstore_table("library", place.width, id_column=names)
    yield lambda model: module.PGVectorStore.create_sync(engine, model, "library")
    asyncio.run(engine.close())


def _engine(url: str, asynchronous: bool) -> Any:
    # A connection for each use: none stays open when an event loop ends.
    alone = part("sqlalchemy.pool").NullPool
    if asynchronous:
        return part("sqlalchemy.ext.asyncio").create_async_engine(url, poolclass=alone)
    return part("sqlalchemy").create_engine(url, poolclass=alone)


STORES = {
    opener.__name__: opener
    for opener in (in_memory, chroma, faiss, qdrant, lancedb, pgvector, pg_table)
}
