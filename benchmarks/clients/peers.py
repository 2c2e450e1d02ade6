"""The clients that others publish, each used as well as its own interface allows.

Those that take a list and batch it are given the list, and the batch size and the
number of requests in flight where they have a setting for it. The SDKs, which send one
request a call, are given a semaphore and the same batches.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from clients.registry import KEY, MODEL, Embed, Job, client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _spread(job: Job, send: Callable[[list[str]], Awaitable[list[Any]]]) -> Embed:
    """Return an `embed` that has `job.concurrency` batches in flight."""

    async def embed(texts: list[str]) -> list[Any]:
        slots = asyncio.Semaphore(job.concurrency)

        async def one(batch: list[str]) -> list[Any]:
            async with slots:
                return await send(batch)

        answers = await asyncio.gather(*map(one, job.cut(texts)))
        return [vector for answer in answers for vector in answer]

    return embed


@client(
    "OpenAI SDK", "async", home="peers", package="openai", share=8, asks_base64=True
)
def openai_sdk(job: Job) -> Embed:
    from openai import AsyncOpenAI

    sdk = AsyncOpenAI(api_key=KEY, base_url=job.url)
    job.closers.append(sdk.close)

    async def send(batch: list[str]) -> list[Any]:
        reply = await sdk.embeddings.create(model=MODEL, input=batch)
        return [item.embedding for item in reply.data]

    return _spread(job, send)


@client("Together SDK", "async", home="peers", package="together", share=8)
def together_sdk(job: Job) -> Embed:
    from together import AsyncTogether

    sdk = AsyncTogether(api_key=KEY, base_url=job.host)
    job.closers.append(sdk.close)

    async def send(batch: list[str]) -> list[Any]:
        reply = await sdk.embeddings.create(model=MODEL, input=batch)
        return [item.embedding for item in reply.data]

    return _spread(job, send)


def _langchain_together(job: Job) -> Any:
    from langchain_together import TogetherEmbeddings

    return TogetherEmbeddings(model=MODEL, api_key=cast("Any", KEY), base_url=job.url)


@client(
    "langchain-together",
    "sync",
    home="peers",
    package="langchain-together",
    asks_base64=True,
    share=64,
)
def langchain_together_sync(job: Job) -> Embed:
    return cast("Embed", _langchain_together(job).embed_documents)


@client(
    "langchain-together",
    "async",
    home="peers",
    package="langchain-together",
    asks_base64=True,
    share=64,
)
def langchain_together_async(job: Job) -> Embed:
    return cast("Embed", _langchain_together(job).aembed_documents)


@client(
    "langchain-together",
    "sync",
    home="peers",
    package="langchain-together",
    form="query",
)
def langchain_together_query_sync(job: Job) -> Embed:
    return cast("Embed", _langchain_together(job).embed_query)


@client(
    "langchain-together",
    "async",
    home="peers",
    package="langchain-together",
    form="query",
)
def langchain_together_query_async(job: Job) -> Embed:
    return cast("Embed", _langchain_together(job).aembed_query)


def _langchain_openai(job: Job) -> Any:
    from langchain_openai import OpenAIEmbeddings

    return OpenAIEmbeddings(
        model=MODEL,
        api_key=cast("Any", KEY),
        base_url=job.url,
        chunk_size=job.batch,
        check_embedding_ctx_length=False,  # else it sends tokens, not texts
    )


@client(
    "langchain-openai",
    "sync",
    home="peers",
    package="langchain-openai",
    asks_base64=True,
    share=8,
)
def langchain_openai_sync(job: Job) -> Embed:
    return cast("Embed", _langchain_openai(job).embed_documents)


@client(
    "langchain-openai",
    "async",
    home="peers",
    package="langchain-openai",
    asks_base64=True,
    share=8,
)
def langchain_openai_async(job: Job) -> Embed:
    return cast("Embed", _langchain_openai(job).aembed_documents)


def _llama_index_together(job: Job) -> Any:
    from llama_index.embeddings.together import TogetherEmbedding

    return TogetherEmbedding(
        model_name=MODEL, api_key=KEY, api_base=job.url, embed_batch_size=job.batch
    )


@client(
    "llama-index-together",
    "sync",
    home="peers",
    package="llama-index-embeddings-together",
    share=64,
)
def llama_index_together_sync(job: Job) -> Embed:
    return cast("Embed", _llama_index_together(job).get_text_embedding_batch)


@client(
    "llama-index-together",
    "async",
    home="peers",
    package="llama-index-embeddings-together",
    share=64,
)
def llama_index_together_async(job: Job) -> Embed:
    return cast("Embed", _llama_index_together(job).aget_text_embedding_batch)


def _llama_index_openai(job: Job) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(
        model_name=MODEL,
        api_key=KEY,
        api_base=job.url,
        embed_batch_size=job.batch,
        num_workers=job.concurrency,
    )


@client(
    "llama-index-openai",
    "sync",
    home="peers",
    package="llama-index-embeddings-openai",
    asks_base64=True,
    share=8,
)
def llama_index_openai_sync(job: Job) -> Embed:
    return cast("Embed", _llama_index_openai(job).get_text_embedding_batch)


@client(
    "llama-index-openai",
    "async",
    home="peers",
    share=8,
    package="llama-index-embeddings-openai",
    asks_base64=True,
)
def llama_index_openai_async(job: Job) -> Embed:
    return cast("Embed", _llama_index_openai(job).aget_text_embedding_batch)
