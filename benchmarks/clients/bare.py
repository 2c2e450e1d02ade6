"""What is between the floor and our paths, each part by itself: see `layers.py`.

By hand again, with no check but the status: base64 as lists and as arrays, simdjson
into arrays, LlamaIndex's own base class; and our transport without our engine.
"""

from __future__ import annotations

from typing import Any

from clients.floor import HEADERS, by_aiohttp, by_requests, encode
from clients.registry import MODEL, Embed, Job, client


def _ask_base64(batch: list[str]) -> bytes:
    import orjson

    return orjson.dumps({"model": MODEL, "input": batch, "encoding_format": "base64"})


def _put_lists(out: list[Any], start: int, body: bytes) -> None:
    from array import array
    from binascii import a2b_base64

    import orjson

    for item in orjson.loads(body)["data"]:
        row = array("f", a2b_base64(item["embedding"]))
        out[start + item["index"]] = row.tolist()


def _put_rows(out: Any, start: int, body: bytes) -> None:
    from binascii import a2b_base64

    import numpy
    import orjson

    for item in orjson.loads(body)["data"]:
        row = numpy.frombuffer(a2b_base64(item["embedding"]), "<f4")
        out[start + item["index"]] = row


def _put_doubles(out: Any, start: int, body: bytes) -> None:
    import numpy
    import simdjson

    for item in simdjson.Parser().parse(body)["data"]:
        doubles = item["embedding"].as_buffer(of_type="d")
        out[start + item["index"]] = numpy.frombuffer(doubles)


def _array_for(texts: list[str]) -> Any:
    import numpy

    return numpy.empty((len(texts), 1024), "f4")


@client("bare: base64", "async", home="ours", package="aiohttp")
def base64_lists_async(job: Job) -> Embed:
    return by_aiohttp(job, _ask_base64, put=_put_lists)


@client("bare: base64", "sync", home="ours", package="requests")
def base64_lists_sync(job: Job) -> Embed:
    return by_requests(job, _ask_base64, put=_put_lists)


@client("bare: base64", "async", home="ours", package="aiohttp", form="array")
def base64_array_async(job: Job) -> Embed:
    return by_aiohttp(job, _ask_base64, _array_for, _put_rows)


@client("bare: base64", "sync", home="ours", package="requests", form="array")
def base64_array_sync(job: Job) -> Embed:
    return by_requests(job, _ask_base64, _array_for, _put_rows)


@client("bare: simdjson", "async", home="ours", package="aiohttp", form="array")
def simdjson_async(job: Job) -> Embed:
    return by_aiohttp(job, encode, _array_for, _put_doubles)


@client("bare: simdjson", "sync", home="ours", package="requests", form="array")
def simdjson_sync(job: Job) -> Embed:
    return by_requests(job, encode, _array_for, _put_doubles)


@client("bare: our transport", "async", home="ours", package="aiohttp", form="query")
def transport_query(job: Job) -> Embed:
    import orjson

    from together_embed.transports.async_aiohttp import AiohttpTransport
    from together_embed.transports.route import Route

    transport = AiohttpTransport(Route(f"{job.url}/embeddings", lambda: HEADERS, 10.0))
    job.closers.append(transport.aclose)

    async def embed(text: str) -> Any:
        outcome: Any = await transport.send(encode([text]), 60.0)
        return orjson.loads(outcome.body)["data"][0]["embedding"]

    return embed


@client("bare: our transport", "sync", home="ours", package="requests", form="query")
def transport_query_sync(job: Job) -> Embed:
    import orjson

    from together_embed.transports.route import Route
    from together_embed.transports.sync_requests import RequestsTransport

    transport = RequestsTransport(Route(f"{job.url}/embeddings", lambda: HEADERS, 10.0))
    job.closers.append(transport.close)

    def embed(text: str) -> Any:
        outcome: Any = transport.send(encode([text]), 60.0)
        return orjson.loads(outcome.body)["data"][0]["embedding"]

    return embed


def _llama_index(texts: Embed | None, query: Embed | None, batch: int = 1) -> Any:
    """Return LlamaIndex's own class around what goes by hand."""
    from llama_index.core.base.embeddings.base import BaseEmbedding

    class ByHand(BaseEmbedding):
        def _get_query_embedding(self, query_: str) -> Any:
            return query and query(query_)

        _get_text_embedding = _get_query_embedding

        async def _aget_query_embedding(self, query_: str) -> Any:
            return query and await query(query_)

        async def _aget_text_embeddings(self, batch: list[str]) -> Any:
            return texts and await texts(batch)

    return ByHand(model_name=MODEL, embed_batch_size=batch)


@client("bare: LlamaIndex", "async", home="ours", package="llama-index-core")
def llama_index_texts(job: Job) -> Embed:
    import asyncio

    import aiohttp
    import orjson

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    job.closers.append(session.close)
    slots = asyncio.Semaphore(job.concurrency)

    async def embed(batch: list[str]) -> Any:
        body, url = encode(batch), f"{job.url}/embeddings"
        async with slots, session.post(url, data=body, headers=HEADERS) as reply:
            reply.raise_for_status()
            data = orjson.loads(await reply.read())["data"]
        return [
            item["embedding"] for item in sorted(data, key=lambda row: row["index"])
        ]

    return _llama_index(embed, None, job.batch).aget_text_embedding_batch


@client(
    "bare: LlamaIndex", "sync", home="ours", package="llama-index-core", form="query"
)
def llama_index_query_sync(job: Job) -> Embed:
    from clients.floor import requests_query

    return _llama_index(None, requests_query(job)).get_query_embedding


@client(
    "bare: LlamaIndex", "async", home="ours", package="llama-index-core", form="query"
)
def llama_index_query_async(job: Job) -> Embed:
    from clients.floor import aiohttp_query

    return _llama_index(None, aiohttp_query(job)).aget_query_embedding
