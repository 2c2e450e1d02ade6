"""What a call that fails hands over: by the places of its texts, with a way to go on.

The core numbers texts as it was asked for them: without those that a cache knew, and
equal ones once. Here they get the numbers that they have for the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llama_index.core.base.embeddings.base import Embedding

from llama_index_together_embed.known import ROLES, Role
from together_embed.errors import EmbeddingsError
from together_embed.partial import Partial

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding


class Failing:
    """The part of a call that is needed where it fails.

    Args:
        model: Asked again by `resume`, on the ways that users ask it.
        texts: Those of the call.
        role: What they are.
    """

    def __init__(
        self, model: TogetherEmbedding, texts: Sequence[str], role: Role
    ) -> None:
        self._model = model
        self._texts = texts
        self._role: Role = role

    def check(self) -> None:
        """Refuse texts that cannot be sent, before anything is.

        Raises:
            TypeError, InputError: One cannot.
        """
        try:
            self._model.client.check(self._texts, role=ROLES[self._role])
        except EmbeddingsError as error:
            error.partial = self._partial(
                error, {}, dict.fromkeys(error.indices, error)
            )
            raise

    def hand_over(
        self,
        error: EmbeddingsError,
        asked: Sequence[str],
        rows: Mapping[str, Embedding],
        refused: Mapping[str, EmbeddingsError],
    ) -> None:
        """Let an error name texts by their places, and take along what there is.

        Args:
            error: It names texts by their places in `asked`.
            asked: The texts that were asked for so far, each once.
            rows: The vectors that the call has.
            refused: The texts that have none for good; their errors are changed, too.
        """
        known = {**rows, **{asked[at]: row for at, row in error.results.items()}}
        failed = {
            **refused,
            **dict.fromkeys((asked[at] for at in error.indices), error),
            **{asked[at]: each for at, each in error.failures.items()},
        }
        where: dict[str, list[int]] = {}
        for place, text in enumerate(self._texts):
            where.setdefault(text, []).append(place)
        results = {
            place: list(row) if later else row
            for text, row in known.items()
            for later, place in enumerate(where[text])
        }
        # Some may have come while the call was ending.
        lacking = {text: each for text, each in failed.items() if text not in known}
        failures = {at: each for text, each in lacking.items() for at in where[text]}
        partial = self._partial(error, results, failures)
        for each in dict.fromkeys([error, *failed.values()]):
            named = (place for at in each.indices for place in where[asked[at]])
            each.indices = tuple(sorted(named))
            each.partial = partial

    def _partial(
        self,
        error: EmbeddingsError,
        results: dict[int, Embedding],
        failures: dict[int, EmbeddingsError],
    ) -> Partial:
        numbers = range(len(self._texts))
        return Partial.left_by(
            error,
            {n: results[n] for n in numbers if n in results},
            {n: failures[n] for n in numbers if n in failures},
            tuple(n for n in numbers if n not in results and n not in failures),
            self._again,
            self._aagain,
        )

    def _again(self, numbers: list[int]) -> list[Embedding]:
        left = [self._texts[number] for number in numbers]
        if self._role == "query":
            return [self._model.get_query_embedding(text) for text in left]
        return self._model.get_text_embedding_batch(left)

    async def _aagain(self, numbers: list[int]) -> list[Embedding]:
        left = [self._texts[number] for number in numbers]
        if self._role == "query":
            return [await self._model.aget_query_embedding(text) for text in left]
        return await self._model.aget_text_embedding_batch(left)
