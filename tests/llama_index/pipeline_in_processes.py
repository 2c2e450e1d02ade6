"""Run an ingestion pipeline over two processes, and print what became of it.

The address of the endpoint and the method are the arguments, the key is in the
environment.
"""

import asyncio
import sys
from importlib.util import find_spec
from os import environ
from pathlib import Path

core = find_spec("llama_index.core")
assert core is not None
environ.setdefault(
    "TIKTOKEN_CACHE_DIR",
    str(Path(str(core.origin)).parent / "_static" / "tiktoken_cache"),
)


def main(address: str, method: str) -> None:
    from llama_index.core import Document
    from llama_index.core.ingestion import IngestionPipeline

    from llama_index_together_embed import TogetherEmbedding
    from together_embed.errors import StatusError
    from together_embed.local import LocalEndpoint

    model = TogetherEmbedding("m", api_base=address, embed_batch_size=20)
    documents = [Document(text=f"chapter {number}") for number in range(240)]
    pipeline = IngestionPipeline(transformations=[model])
    try:
        if method == "run":
            nodes = pipeline.run(documents=documents, num_workers=2)
        else:
            nodes = asyncio.run(pipeline.arun(documents=documents, num_workers=2))
    except StatusError as error:
        print(type(error).__name__, error.status)
        return
    known = LocalEndpoint(dimension=32)  # not started: it computes
    right = all(n.embedding == known.embed(n.get_content()) for n in nodes)
    print(f"{len(nodes)} nodes, {'all right' if right else 'not right'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
