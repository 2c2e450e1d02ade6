"""One call's batches, and all that LlamaIndex wants to happen around each of them.

For each batch of `embed_batch_size` texts: a start event, a look into the cache, one
permit of the rate limiter where anything has to be asked, the answer, the cache again,
an end event. `ask` gets what is left to be asked, batch by batch, as it can put them to
use, and yields their vectors in order: so many requests are in flight while events
still come in pairs. `run` and `arun` do the same, and differ in what they wait for.
A call that fails hands over what it has, see `failing`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import Embedding, dispatcher
from llama_index.core.callbacks.base import EventContext
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.utils import get_tqdm_iterable

from llama_index_together_embed.asking import Ask, AsyncAsk, Rows, Told
from llama_index_together_embed.failing import Failing
from llama_index_together_embed.known import Known, Role
from together_embed.engine.batching import listed
from together_embed.errors import EmbeddingsError

if TYPE_CHECKING:
    from llama_index_together_embed.embedding import TogetherEmbedding

BYTES_A_TOKEN = 4
"""A usual estimate for English text; only a limiter on tokens is told."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Texts between their two events.

    Attributes:
        texts: All of them.
        event: What the callback manager was told of.
        asked: Those that a request is needed for; empty once it is answered.
    """

    texts: list[str]
    event: EventContext
    asked: list[str]


class Call:
    """The texts of one call to an embedding model, on their way.

    Args:
        model: Whose settings, cache, limiter and callbacks are used.
        texts: What to embed.
        role: What the vectors are for; queries and documents are cached apart.
        show_progress: Whether a bar counts the texts that are done.

    Attributes:
        places: Where the texts that were asked for so far stand first, in their order.

    Raises:
        TypeError, InputError: A text cannot be sent. Nothing was.
    """

    def __init__(
        self,
        model: TogetherEmbedding,
        texts: Sequence[str],
        role: Role,
        *,
        show_progress: bool = False,
    ) -> None:
        self._model = model
        self._texts = texts = listed(texts)
        self._failing = Failing(model, texts, role)
        self._failing.check()
        self._payload = model.to_payload()
        self._known = Known(model, role)
        self._first: dict[str, int] = {}  # where each text stands first
        self.places: list[int] = []
        self._vectors: dict[str, Embedding] = {}
        self._failed: dict[str, EmbeddingsError] = {}
        self._given: set[str] = set()
        self._open: deque[_Batch] = deque()
        self._results: Rows = []
        bar = get_tqdm_iterable(
            range(len(texts)), show_progress, "Generating embeddings"
        )
        self._progress = (done for done in bar)

    def run(self, ask: Ask) -> Rows:
        """Return a vector for each text, in order."""
        with self._told():
            with closing(ask(self._questions())) as answers:
                for rows in answers:
                    self._known.put(self._answer(rows))
                    self._finish()
            self._conclude()
        return self._results

    async def arun(self, ask: AsyncAsk) -> Rows:
        """Return a vector for each text, in order."""
        workers = self._model.num_workers
        free = asyncio.Semaphore(workers) if workers else None
        with self._told():
            questions = self._aquestions(free)
            async with aclosing(questions), aclosing(ask(questions)) as answers:
                async for rows in answers:
                    await self._known.aput(self._answer(rows))
                    self._finish()
                    if free is not None:
                        free.release()
            self._conclude()
        return self._results

    # What is asked.

    def _questions(self) -> Iterator[list[str]]:
        limiter = self._model.rate_limiter
        for batch, new in self._begin():
            for text in new:
                self._place(batch, text, self._known.get(text))
            if batch.asked:
                if limiter is not None:
                    limiter.acquire(*_tokens(limiter, batch.asked))
                yield batch.asked

    async def _aquestions(
        self, free: asyncio.Semaphore | None
    ) -> AsyncGenerator[list[str], None]:
        limiter = self._model.rate_limiter
        for batch, new in self._begin():
            for text in new:
                self._place(batch, text, await self._known.aget(text))
            if batch.asked:
                if free is not None:
                    await free.acquire()
                if limiter is not None:
                    await limiter.async_acquire(*_tokens(limiter, batch.asked))
                yield batch.asked

    def _begin(self) -> Iterator[tuple[_Batch, list[str]]]:
        """Open one batch after another, and say which of its texts are new."""
        size = self._model.embed_batch_size
        for start in range(0, len(self._texts), size):
            texts = list(self._texts[start : start + size])
            new = []
            for place, text in enumerate(texts, start):
                if self._first.setdefault(text, place) == place:
                    new.append(text)
            dispatcher.event(EmbeddingStartEvent(model_dict=self._payload))
            event = EventContext(self._model.callback_manager, CBEventType.EMBEDDING)
            batch = _Batch(texts, event, [])
            self._open.append(batch)
            event.on_start(payload={EventPayload.SERIALIZED: self._payload})
            yield batch, new

    def _place(self, batch: _Batch, text: str, row: Embedding | None) -> None:
        """Keep the vector that is known, or note that the text is to be asked for."""
        if row is not None:
            self._vectors[text] = row
        else:
            batch.asked.append(text)
            self.places.append(self._first[text])

    # What is known.

    def _answer(self, rows: Told) -> list[tuple[str, Embedding]]:
        """Take the vectors of the oldest question, and return what the cache lacks."""
        batch = next(batch for batch in self._open if batch.asked)
        pairs: list[tuple[str, Embedding]] = []
        for text, row in zip(batch.asked, rows, strict=True):
            if isinstance(row, EmbeddingsError):
                self._failed[text] = row
            else:
                pairs.append((text, row))
        self._vectors.update(pairs)
        batch.asked = []
        return pairs

    def _finish(self) -> None:
        """End the batches that are whole, in order; one with a failure ends as such."""
        while self._open and not self._open[0].asked:
            batch = self._open[0]
            if errors := [e for e in map(self._failed.get, batch.texts) if e]:
                self._end_with(batch, errors[0])
                self._open.popleft()
                continue
            rows = [self._give(text) for text in batch.texts]
            self._results.extend(rows)
            batch.event.on_end(
                payload={
                    EventPayload.CHUNKS: batch.texts,
                    EventPayload.EMBEDDINGS: rows,
                }
            )
            self._open.popleft()
            # Made empty and filled: pydantic would check each number, a third of all
            # work, and its way around that costs 0.5 ms an event.
            end = EmbeddingEndEvent(chunks=[], embeddings=[])
            end.chunks, end.embeddings = batch.texts, rows
            dispatcher.event(end)
            for _ in batch.texts:
                next(self._progress)

    def _conclude(self) -> None:
        """End what is left, and raise where a text was refused: all others are done."""
        self._finish()
        for error in self._failed.values():
            raise error

    def _end_with(self, batch: _Batch, error: BaseException) -> None:
        batch.event.on_end(payload={EventPayload.EXCEPTION: error})
        # LlamaIndex's mark that an enclosing trace need not tell it again.
        error.event_added = True  # type: ignore[attr-defined]

    def _give(self, text: str) -> Embedding:
        """Return the text's vector; equal texts get lists of their own."""
        row = self._vectors[text]
        if text in self._given:
            return list(row)
        self._given.add(text)
        return row

    @contextmanager
    def _told(self) -> Iterator[None]:
        """End what was begun, whatever happens, and number a failure's texts anew."""
        try:
            yield
            next(self._progress, None)  # lets a bar end at its whole length
        except BaseException as error:
            if isinstance(error, EmbeddingsError):
                asked = [self._texts[place] for place in self.places]
                self._failing.hand_over(error, asked, self._vectors, self._failed)
            for batch in self._open:
                self._end_with(batch, error)
            raise
        finally:
            self._progress.close()


def _tokens(limiter: Any, texts: list[str]) -> tuple[int, ...]:
    """Estimate the tokens of a request, for a limiter that counts them.

    Never more than it grants in a minute: it would wait for ever.
    """
    limit = getattr(limiter, "tokens_per_minute", None)
    if limit is None:
        return ()
    size = sum(len(text.encode()) for text in texts)
    return (min(-(-size // BYTES_A_TOKEN), int(limit)),)
