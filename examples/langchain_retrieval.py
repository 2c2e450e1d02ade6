"""Find passages of a handbook with LangChain, and show them with their scores.

python examples/langchain_retrieval.py ["a question" ...]
"""

from __future__ import annotations

import sys

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from setting import MODEL, passages, server, shown

from langchain_together_embed import TogetherEmbeddings

QUESTIONS = (
    "What are the prisms of the lens wiped with?",
    "Which signal is rung by hand in fog?",
)


def main() -> None:
    with server(), TogetherEmbeddings(model=MODEL) as embeddings:
        documents = [
            Document(passage.text, metadata={"heading": passage.heading})
            for passage in passages()
        ]
        store = InMemoryVectorStore.from_documents(documents, embeddings)
        for question in sys.argv[1:] or QUESTIONS:
            print(question)
            for found, score in store.similarity_search_with_score(question, k=2):
                print(f"  {score:.2f}  {found.metadata['heading']}")
                print(shown(found.page_content))


if __name__ == "__main__":
    main()
