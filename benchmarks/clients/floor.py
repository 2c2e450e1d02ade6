"""What a client written by hand for this one server gets: the floor to be measured by.

No retries, no checks but the status, the order taken from `index`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clients.registry import KEY, MODEL, Embed, Job, client

Encode = Callable[[list[str]], bytes]
Make = Callable[[list[str]], Any]
Put = Callable[[Any, int, bytes], None]
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def place(out: list[Any], start: int, body: bytes) -> None:
    """Put the vectors of an answer where its batch began."""
    import orjson

    for item in orjson.loads(body)["data"]:
        out[start + item["index"]] = item["embedding"]


def encode(batch: list[str]) -> bytes:
    """Return the body of a request."""
    import orjson

    return orjson.dumps({"model": MODEL, "input": batch})


def list_for(texts: list[str]) -> Any:
    """Return what the vectors of `texts` are put into."""
    return [None] * len(texts)


def by_aiohttp(
    job: Job, encode: Encode = encode, make: Make = list_for, put: Put = place
) -> Embed:
    """Send all batches at once by aiohttp, so many of them in flight."""
    import asyncio

    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    job.closers.append(session.close)
    url = f"{job.url}/embeddings"

    async def embed(texts: list[str]) -> Any:
        out = make(texts)
        slots = asyncio.Semaphore(job.concurrency)

        async def send(start: int) -> None:
            body = encode(texts[start : start + job.batch])
            async with slots, session.post(url, data=body, headers=HEADERS) as reply:
                reply.raise_for_status()
                put(out, start, await reply.read())

        starts = range(0, len(texts), job.batch)
        await asyncio.gather(*(send(start) for start in starts))
        return out

    return embed


def by_requests(
    job: Job, encode: Encode = encode, make: Make = list_for, put: Put = place
) -> Embed:
    """Send all batches by requests, on so many threads."""
    import requests
    from requests.adapters import HTTPAdapter
    from requests.utils import get_environ_proxies

    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=job.concurrency)
    session.mount("http://", adapter)
    session.trust_env = False  # proxies are worked out once, here
    session.proxies = get_environ_proxies(job.url)
    url = f"{job.url}/embeddings"
    pool = ThreadPoolExecutor(job.concurrency)
    job.closers += (pool.shutdown, session.close)

    def embed(texts: list[str]) -> Any:
        out = make(texts)

        def send(start: int) -> None:
            body = encode(texts[start : start + job.batch])
            reply = session.post(url, data=body, headers=HEADERS)
            reply.raise_for_status()
            put(out, start, reply.content)

        for _ in pool.map(send, range(0, len(texts), job.batch)):
            pass
        return out

    return embed


@client("floor: aiohttp + orjson", "async", home="ours", package="aiohttp")
def aiohttp_by_hand(job: Job) -> Embed:
    return by_aiohttp(job)


@client("floor: requests + orjson", "sync", home="ours", package="requests")
def requests_by_hand(job: Job) -> Embed:
    return by_requests(job)


@client(
    "floor: aiohttp + orjson", "async", home="ours", package="aiohttp", form="query"
)
def aiohttp_query(job: Job) -> Embed:
    import aiohttp
    import orjson

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    job.closers.append(session.close)
    url = f"{job.url}/embeddings"

    async def embed(text: str) -> Any:
        async with session.post(url, data=encode([text]), headers=HEADERS) as reply:
            reply.raise_for_status()
            return orjson.loads(await reply.read())["data"][0]["embedding"]

    return embed


@client(
    "floor: requests + orjson", "sync", home="ours", package="requests", form="query"
)
def requests_query(job: Job) -> Embed:
    import orjson
    import requests
    from requests.utils import get_environ_proxies

    session = requests.Session()
    session.trust_env = False  # proxies are worked out once, here
    session.proxies = get_environ_proxies(job.url)
    job.closers.append(session.close)
    url = f"{job.url}/embeddings"

    def embed(text: str) -> Any:
        reply = session.post(url, data=encode([text]), headers=HEADERS)
        reply.raise_for_status()
        return orjson.loads(reply.content)["data"][0]["embedding"]

    return embed
