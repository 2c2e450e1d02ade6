"""What a call tells while it is under way: of texts, of batches, and of its end.

Nothing of it changes what the job does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from together_embed.engine import wire
from together_embed.engine.aftermath import Over
from together_embed.engine.batching import Batch
from together_embed.engine.plan import Plan
from together_embed.engine.stats import BatchStats, Tally
from together_embed.engine.wire import Answer
from together_embed.errors import EmbeddingsError

OnProgress = Callable[[int], object]
"""Is told how many texts more are done with."""
OnBatch = Callable[[BatchStats], object]
"""Is told of each batch once, when nothing else is left to do about it."""
OnEnd = Callable[[Tally], object]
"""Is told what the whole call has done."""


class Telling:
    """Whom a job tells; each may be None.

    Args:
        plan: What all jobs have in common.
        on_progress: See `OnProgress`.
        on_batch: See `OnBatch`.
        on_end: See `OnEnd`.
    """

    def __init__(
        self,
        plan: Plan,
        on_progress: OnProgress | None,
        on_batch: OnBatch | None,
        on_end: OnEnd | None,
    ) -> None:
        self._plan = plan
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._on_end = on_end

    def done(self, texts: int) -> None:
        """Tell that so many texts have their vectors, or will have none.

        Who raises is told nothing more: the call ends then, and has answers to keep.
        """
        tell = self._on_progress
        if tell is not None and texts:
            self._on_progress = None
            tell(texts)
            self._on_progress = tell

    def answered(
        self, batch: Batch, answer: Answer, width: int, duplicates: int, now: float
    ) -> None:
        """Tell that a batch is answered, by vectors of a width."""
        if self._on_batch is None:
            return
        packed = isinstance(answer.embeddings[0], bytes)
        self._settled(
            batch,
            now,
            status=200,
            encoding="base64" if packed else "float",
            model=answer.model and wire.excerpt(answer.model, self._plan.scrub),
            width=width,
            duplicates=duplicates,
            tokens=answer.tokens,
        )

    def failed(self, batch: Batch, over: Over, now: float) -> None:
        """Tell that a batch has failed for good."""
        error = over.error
        reason = type(error).__name__  # what others raise may hold a key
        if isinstance(error, EmbeddingsError):
            reason = error.message
        self._settled(batch, now, status=over.status, error=type(error), reason=reason)

    def ended(self, tally: Tally) -> None:
        """Tell that the call is over."""
        if self._on_end is not None:
            self._on_end(tally)

    def _settled(self, batch: Batch, now: float, **what: Any) -> None:
        tell, self._on_batch = self._on_batch, None  # as it is with progress
        if tell is None:
            return
        course = batch.course
        told = BatchStats(
            texts=batch.count,
            started_at=course.started_at,
            seconds=now - course.started_at,
            attempts=course.attempts,
            waited=course.waited,
            sent_bytes=course.sent,
            received_bytes=course.received,
            failures={**course.failures},
            asked_model=self._plan.model,
            asked_encoding=course.encoding,
            **what,
        )
        tell(told)
        self._on_batch = tell
