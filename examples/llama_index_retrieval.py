"""Find passages of a handbook with LlamaIndex, and show them with their scores.

python examples/llama_index_retrieval.py ["a question" ...]
"""

from __future__ import annotations

import sys

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import MetadataMode, TextNode
from setting import MODEL, passages, server, shown

from llama_index_together_embed import TogetherEmbedding

QUESTIONS = (
    "What are the prisms of the lens wiped with?",
    "Which signal is rung by hand in fog?",
)


def main() -> None:
    with server():
        # LlamaIndex embeds what a node says of itself along with its text.
        nodes = [
            TextNode(text=passage.text, metadata={"heading": passage.heading})
            for passage in passages()
        ]
        index = VectorStoreIndex(nodes, embed_model=TogetherEmbedding(MODEL))
        retriever = index.as_retriever(similarity_top_k=2)
        for question in sys.argv[1:] or QUESTIONS:
            print(question)
            for hit in retriever.retrieve(question):
                print(f"  {hit.score:.2f}  {hit.node.metadata['heading']}")
                print(shown(hit.node.get_content(MetadataMode.NONE)))


if __name__ == "__main__":
    main()
