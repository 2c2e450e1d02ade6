"""Together AI embeddings, and those of every server of that contract, for LlamaIndex.

`TogetherEmbedding` goes wherever LlamaIndex takes an `embed_model`.
"""

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise  # it is there, and something that it needs is not
    raise ImportError(
        "llama_index_together_embed needs llama-index-core: "
        'pip install "together-embed[llama-index]"'
    ) from error

from llama_index_together_embed.embedding import TogetherEmbedding

__all__ = ["TogetherEmbedding"]
