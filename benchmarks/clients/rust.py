"""The Rust client, `baseten-performance-client`, as lists and as arrays.

It is told the batch size and the requests in flight that the others get, a bound on a
request's characters that no batch reaches, and the URL without `/v1`.
"""

from __future__ import annotations

from typing import Any

from clients.registry import KEY, MODEL, Embed, Job, client

PACKAGE = "baseten-performance-client"
RUST = f"{PACKAGE}, async"


def _baseten(job: Job) -> tuple[Any, Any]:
    from baseten_performance_client import (
        PerformanceClient,
        RequestProcessingPreference,
    )

    preference = RequestProcessingPreference(
        max_concurrent_requests=job.concurrency,
        batch_size=job.batch,
        max_chars_per_request=1_000_000,
    )
    return PerformanceClient(base_url=job.host, api_key=KEY), preference


@client(
    PACKAGE,
    "sync",
    home="peers",
    package=PACKAGE,
)
def baseten_sync(job: Job) -> Embed:
    rust, preference = _baseten(job)

    def embed(texts: list[str]) -> list[Any]:
        reply = rust.embed(texts, model=MODEL, preference=preference)
        return [item.embedding for item in reply.data]

    return embed


@client(
    PACKAGE,
    "async",
    home="peers",
    package=PACKAGE,
)
def baseten_async(job: Job) -> Embed:
    rust, preference = _baseten(job)

    async def embed(texts: list[str]) -> list[Any]:
        reply = await rust.async_embed(texts, model=MODEL, preference=preference)
        return [item.embedding for item in reply.data]

    return embed


@client(
    PACKAGE,
    "sync",
    home="peers",
    package=PACKAGE,
    form="array",
)
def baseten_array_sync(job: Job) -> Embed:
    rust, preference = _baseten(job)

    def embed(texts: list[str]) -> Any:
        return rust.embed(texts, model=MODEL, preference=preference).numpy()

    return embed


@client(
    PACKAGE,
    "async",
    home="peers",
    package=PACKAGE,
    form="array",
)
def baseten_array_async(job: Job) -> Embed:
    rust, preference = _baseten(job)

    async def embed(texts: list[str]) -> Any:
        reply = await rust.async_embed(texts, model=MODEL, preference=preference)
        return reply.numpy()

    return embed
