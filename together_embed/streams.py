"""Many texts, one after another: the calls that yield as answers come."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, overload

from together_embed import source
from together_embed.call import Calls
from together_embed.engine.roles import Role
from together_embed.engine.rows import LISTS, Arrays
from together_embed.errors import EmbeddingsError
from together_embed.partial import OnError, may_return
from together_embed.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Streams:
    """The part of a client that never holds more than what is in flight."""

    _calls: Calls
    _settings: Settings

    @overload
    def embed_batches(
        self,
        batches: Iterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        numbers: Sequence[int] | None = None,
    ) -> Generator[list[list[float]], None, None]: ...

    @overload
    def embed_batches(
        self,
        batches: Iterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        numbers: Sequence[int] | None = None,
    ) -> Generator[list[list[float] | EmbeddingsError], None, None]: ...

    def embed_batches(
        self,
        batches: Iterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        numbers: Sequence[int] | None = None,
    ) -> Generator[list[Any], None, None]:
        """Yield the embeddings of each batch in order, with many requests in flight.

        Batches are taken from the iterable only as requests can be sent, so that memory
        holds no more than what is in flight. A batch of more than `batch_size` texts is
        sent in several requests.

        Args:
            batches: Any iterable of sequences of texts.
            role: As for `embed`.
            on_error: With "return", a text that is blank, or that the server refuses,
                does not end the call: its error takes the place of its embedding.
            numbers: What warnings call the texts, where these are some of a longer list
                that you cut into batches; it may grow as they are taken.

        Raises:
            EmbeddingsError: As for `embed`; what was yielded before remains valid, and
                `results` has the vectors that were not yielded yet.
        """
        lenient = may_return(on_error)
        for _, rows in self._calls.stream(
            batches, LISTS, role, ordered=True, lenient=lenient, numbers=numbers
        ):
            yield rows

    @overload
    def aembed_batches(
        self,
        batches: Iterable[Sequence[str]] | AsyncIterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        numbers: Sequence[int] | None = None,
    ) -> AsyncGenerator[list[list[float]], None]: ...

    @overload
    def aembed_batches(
        self,
        batches: Iterable[Sequence[str]] | AsyncIterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        numbers: Sequence[int] | None = None,
    ) -> AsyncGenerator[list[list[float] | EmbeddingsError], None]: ...

    async def aembed_batches(
        self,
        batches: Iterable[Sequence[str]] | AsyncIterable[Sequence[str]],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        numbers: Sequence[int] | None = None,
    ) -> AsyncGenerator[list[Any], None]:
        """Do what `embed_batches` does on the running loop, from either iterable."""
        lenient = may_return(on_error)
        each = source.each(batches)
        run = self._calls.astream(
            each, LISTS, role, ordered=True, lenient=lenient, numbers=numbers
        )
        async with aclosing(run) as groups:
            async for _, rows in groups:
                yield rows

    @overload
    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> Iterator[tuple[int, list[float]]]: ...

    @overload
    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> Iterator[tuple[int, list[float] | EmbeddingsError]]: ...

    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
    ) -> Iterator[tuple[int, Any]]:
        """Yield the index and the embedding of each text of an iterable of any length.

        Texts are taken only as requests can be sent, `batch_size` at a time: memory
        holds no more than what is in flight. A text that occurs twice in a batch is
        sent once.

        Args:
            texts: Any iterable of texts. While it blocks, responses are not processed;
                with `astream` and an async iterable they are.
            role: As for `embed`.
            ordered: Whether to yield texts in order, or as they complete.
            on_error: With "return", a text that is blank, or that the server refuses,
                does not end the call: its error takes the place of its embedding.

        Raises:
            EmbeddingsError: As for `embed`; what was yielded before remains valid.
            Exception: What the iterable raised, after the vectors of all that it gave.
        """
        batches = source.batched(texts, self._settings.batch_size)
        lenient = may_return(on_error)
        for start, rows in self._calls.stream(
            batches, LISTS, role, ordered=ordered, lenient=lenient
        ):
            yield from enumerate(rows, start)

    @overload
    def astream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> AsyncIterator[tuple[int, list[float]]]: ...

    @overload
    def astream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> AsyncIterator[tuple[int, list[float] | EmbeddingsError]]: ...

    async def astream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
    ) -> AsyncIterator[tuple[int, Any]]:
        """Do what `stream` does on the running loop, from either iterable."""
        batches = source.abatched(texts, self._settings.batch_size)
        lenient = may_return(on_error)
        run = self._calls.astream(
            batches, LISTS, role, ordered=ordered, lenient=lenient
        )
        async with aclosing(run) as groups:
            async for start, rows in groups:
                for number, row in enumerate(rows, start):
                    yield number, row

    @overload
    def stream_arrays(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> Iterator[tuple[int, NDArray[np.float32]]]: ...

    @overload
    def stream_arrays(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> Iterator[tuple[int, NDArray[np.float32] | EmbeddingsError]]: ...

    def stream_arrays(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
    ) -> Iterator[tuple[int, Any]]:
        """Do what `stream` does, a batch at a time and as arrays. Needs numpy.

        Args:
            texts: Any iterable of texts.
            role: As for `embed`.
            ordered: Whether to yield texts in order, or as they complete.
            on_error: With "return", a text that is blank, or that the server refuses,
                does not end the call: its error is yielded in its place.

        Yields:
            The index of a text, and an array of shape (number of texts from there,
            width); or the index of a text and its error.

        Raises:
            EmbeddingsError: As for `embed`.
        """
        batches = source.batched(texts, self._settings.batch_size)
        lenient = may_return(on_error)
        yield from self._calls.stream(
            batches, Arrays(), role, ordered=ordered, lenient=lenient
        )

    @overload
    def astream_arrays(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
    ) -> AsyncIterator[tuple[int, NDArray[np.float32]]]: ...

    @overload
    def astream_arrays(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: Literal["return"],
    ) -> AsyncIterator[tuple[int, NDArray[np.float32] | EmbeddingsError]]: ...

    async def astream_arrays(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
    ) -> AsyncIterator[tuple[int, Any]]:
        """Do what `stream_arrays` does on the running loop, from either iterable."""
        batches = source.abatched(texts, self._settings.batch_size)
        lenient = may_return(on_error)
        run = self._calls.astream(
            batches, Arrays(), role, ordered=ordered, lenient=lenient
        )
        async with aclosing(run) as groups:
            async for group in groups:
                yield group
