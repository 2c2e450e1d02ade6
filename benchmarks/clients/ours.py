"""Our own paths: the core, and the two adapters on top of it.

All are told the batch size and the number of requests in flight that the floor uses,
but for the one called "adaptive", which finds out how many the server carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.registry import KEY, MODEL, Embed, Job, client

if TYPE_CHECKING:
    from langchain_together_embed import TogetherEmbeddings
    from llama_index_together_embed import TogetherEmbedding
    from together_embed import EmbeddingsClient

PACKAGE = "together-embed"
ADAPTIVE = f"{PACKAGE} adaptive, async"


def _core(job: Job) -> EmbeddingsClient:
    from together_embed import EmbeddingsClient

    return EmbeddingsClient(
        MODEL,
        api_key=KEY,
        base_url=job.url,
        batch_size=job.batch,
        max_concurrency=job.concurrency,
    )


@client("together-embed", "sync", home="ours", package=PACKAGE, asks_base64=True)
def core_sync(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.close)
    return core.embed


@client("together-embed", "async", home="ours", package=PACKAGE, asks_base64=True)
def core_async(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.aclose)
    return core.aembed


@client(
    "together-embed adaptive", "async", home="ours", package=PACKAGE, asks_base64=True
)
def core_adaptive(job: Job) -> Embed:
    from together_embed import EmbeddingsClient

    core = EmbeddingsClient(MODEL, api_key=KEY, base_url=job.url, batch_size=job.batch)
    job.closers.append(core.aclose)
    return core.aembed


def _langchain(job: Job) -> TogetherEmbeddings:
    from langchain_together_embed import TogetherEmbeddings

    return TogetherEmbeddings(
        model=MODEL,
        api_key=KEY,
        base_url=job.url,
        chunk_size=job.batch,
        max_concurrency=job.concurrency,
    )


@client(
    "together-embed LangChain", "sync", home="ours", package=PACKAGE, asks_base64=True
)
def langchain_sync(job: Job) -> Embed:
    return _langchain(job).embed_documents


@client(
    "together-embed LangChain", "async", home="ours", package=PACKAGE, asks_base64=True
)
def langchain_async(job: Job) -> Embed:
    return _langchain(job).aembed_documents


def _llama_index(job: Job) -> TogetherEmbedding:
    from llama_index_together_embed import TogetherEmbedding

    return TogetherEmbedding(
        MODEL,
        api_key=KEY,
        api_base=job.url,
        embed_batch_size=job.batch,
        max_concurrency=job.concurrency,
    )


@client(
    "together-embed LlamaIndex", "sync", home="ours", package=PACKAGE, asks_base64=True
)
def llama_index_sync(job: Job) -> Embed:
    return _llama_index(job).get_text_embedding_batch


@client(
    "together-embed LlamaIndex", "async", home="ours", package=PACKAGE, asks_base64=True
)
def llama_index_async(job: Job) -> Embed:
    return _llama_index(job).aget_text_embedding_batch


@client(
    "together-embed",
    "sync",
    home="ours",
    package=PACKAGE,
    form="array",
    asks_base64=True,
)
def array_sync(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.close)
    return core.embed_array


@client(
    "together-embed",
    "async",
    home="ours",
    package=PACKAGE,
    form="array",
    asks_base64=True,
)
def array_async(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.aclose)
    return core.aembed_array


@client("together-embed", "sync", home="ours", package=PACKAGE, form="query")
def query_sync(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.close)

    def embed(text: str) -> list[float]:
        return core.embed([text])[0]

    return embed


@client("together-embed", "async", home="ours", package=PACKAGE, form="query")
def query_async(job: Job) -> Embed:
    core = _core(job)
    job.closers.append(core.aclose)

    async def embed(text: str) -> list[float]:
        return (await core.aembed([text]))[0]

    return embed


@client("together-embed LangChain", "sync", home="ours", package=PACKAGE, form="query")
def langchain_query_sync(job: Job) -> Embed:
    return _langchain(job).embed_query


@client("together-embed LangChain", "async", home="ours", package=PACKAGE, form="query")
def langchain_query_async(job: Job) -> Embed:
    return _langchain(job).aembed_query


@client("together-embed LlamaIndex", "sync", home="ours", package=PACKAGE, form="query")
def llama_index_query_sync(job: Job) -> Embed:
    return _llama_index(job).get_query_embedding


@client(
    "together-embed LlamaIndex", "async", home="ours", package=PACKAGE, form="query"
)
def llama_index_query_async(job: Job) -> Embed:
    return _llama_index(job).aget_query_embedding
