"""Search by words and by vectors at once, and fuse what both find.

BM25 finds the word that was said, embeddings what is near to it; a passage that stands
high in both lists comes first. The lists are fused by rank (reciprocal rank fusion:
Cormack and others, 2009), since their scores have no common scale.

    python examples/hybrid.py ["a question" ...]
"""

from __future__ import annotations

import re
import sys

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]
from setting import MODEL, passages, server, shown

from together_embed import EmbeddingsClient

QUESTIONS = ("When is the goat milked?", "How long do stores of flour last?")
SMOOTHING = 60  # the paper's: how little the first place counts more than the second


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each passage's place, 1 for the best; equals keep their order."""
    places = np.empty(len(scores), dtype=np.int64)
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return places


def main() -> None:
    texts = [passage.text for passage in passages()]
    by_words = BM25Okapi([words(text) for text in texts])
    with server(), EmbeddingsClient(MODEL) as client:
        vectors = client.embed_array(texts, role="document")
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for question in sys.argv[1:] or QUESTIONS:
            (asked,) = client.embed_array([question], role="query")
            near = ranks(vectors @ asked)
            said = ranks(by_words.get_scores(words(question)))
            fused = 1 / (SMOOTHING + near) + 1 / (SMOOTHING + said)
            print(question)
            for place in np.argsort(-fused, kind="stable")[:2]:
                print(
                    f"  {fused[place]:.4f}  by words {said[place]}, "
                    f"by vectors {near[place]}"
                )
                print(shown(texts[place]))


if __name__ == "__main__":
    main()
