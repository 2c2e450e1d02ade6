"""Together AI embeddings, and those of every server of that contract, for LangChain.

`TogetherEmbeddings` goes wherever LangChain takes an `Embeddings`.
"""

try:
    import langchain_core.embeddings  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("langchain_core", "langchain_core.embeddings"):
        raise  # it is there, and a package that it needs is not
    raise ImportError(
        "langchain_together_embed needs langchain-core: "
        'pip install "together-embed[langchain]"'
    ) from error

from langchain_together_embed.embeddings import TogetherEmbeddings

__all__ = ["TogetherEmbeddings"]
