"""Settings in, vectors out: the client wires settings, engine and drivers together."""

from __future__ import annotations

import os
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from hashlib import blake2b
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from together_embed import source
from together_embed.engine import batching
from together_embed.engine.flow import Counts
from together_embed.engine.job import Job
from together_embed.engine.roles import Role, choose
from together_embed.engine.rows import LISTS, Arrays, Form, Row
from together_embed.errors import EmbeddingsError
from together_embed.partial import Partial
from together_embed.process import Process
from together_embed.settings import Key, KeySource, Settings
from together_embed.settings import base_url as canonical
from together_embed.transports.drive import Tasks, Threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self


OnProgress = Callable[[int], object] | None
OnError = Literal["raise", "return"]


class EmbeddingsClient:
    """A client of one model at one embeddings endpoint, for any thread and event loop.

    All calls of a client share one cap on requests in flight, one brake when the server
    refuses, and their connections. It survives a fork, can be copied and pickled; the
    key is left out of a pickle and read from the environment again.

    Args:
        model: The model's name, sent as it is. There is no default.
        api_key: The key; a pydantic `SecretStr`; or a callable that returns the key,
            asked for each request. Without it `TOGETHER_API_KEY` is read. Hosts other
            than Together's may go without one.
        base_url: The server, with or without `/v1`. Without it `TOGETHER_BASE_URL`,
            then `TOGETHER_API_BASE`, then `https://api.together.ai/v1`.
        batch_size: Texts a request, at most. 100 is the vendor's own guidance.
        max_batch_bytes: Bytes of a request's body, at most; a longer text goes alone.
        timeout: Seconds a request may take, from sending it to its whole answer; or a
            pair (seconds to connect, seconds a request). The wait for a free place does
            not count. None waits without end.
        deadline: Seconds a whole call may take, retries and waits included.
        max_retries: Retries of a request after its first attempt.
        max_concurrency: Requests in flight, at most, of all calls of this client
            together. Without it, as with the next two, the client finds out what the
            server carries, and keeps to that.
        requests_per_second: Requests a second, at most, evenly spaced.
        tokens_per_minute: Tokens a minute, at most, evenly spaced; one is counted for
            four bytes of text, which is about right for English.
        dimensions: The width to ask for. An answer of another width is an error.
        encoding_format: "auto" asks for base64, a fifth of the work, and drops it for
            good where the server refuses it; "float" and "base64" ask for just that.
        headers: Further headers of every request.
        query: Further parameters of the address.
        extra_body: Further fields of every request's body.
        query_prefix: What goes in front of each text of role "query". No prefix is
            added unless it is asked for: existing indexes were built without.
        document_prefix: The same for role "document".
        instructions: "auto" takes the prefixes that the model's authors recommend,
            where they are known (`together_embed.engine.roles.PRESETS`).
        cache: The path of a file that keeps every vector, for this and later processes.
            Each checked batch is on disk before the call goes on; what is there is not
            asked for again.
        on_drift: What to do where the server answers under another model's name or
            width than when the file was filled: "warn" (and keep nothing), or "error".
        allow_blank: Send empty and blank texts, and let the server say what they get;
            else one is an error before anything is sent.
        allow_insecure_http: Send the key over plain http to a public host.

    Raises:
        ConfigurationError: A setting cannot work.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: KeySource = None,
        base_url: str | None = None,
        batch_size: int = 100,
        max_batch_bytes: int = 2_000_000,
        timeout: float | tuple[float | None, float | None] | None = (10.0, 60.0),
        deadline: float | None = None,
        max_retries: int = 8,
        max_concurrency: int | None = None,
        requests_per_second: float | None = None,
        tokens_per_minute: float | None = None,
        dimensions: int | None = None,
        encoding_format: Literal["auto", "float", "base64"] = "auto",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        instructions: Literal["auto"] | None = None,
        cache: str | os.PathLike[str] | None = None,
        on_drift: Literal["warn", "error"] = "warn",
        allow_blank: bool = False,
        allow_insecure_http: bool = False,
    ) -> None:
        settings = Settings(
            model=model,
            key=Key(api_key),
            base_url=canonical(base_url),
            batch_size=batch_size,
            max_batch_bytes=max_batch_bytes,
            timeout=timeout,
            deadline=deadline,
            max_retries=max_retries,
            max_concurrency=max_concurrency,
            requests_per_second=requests_per_second,
            tokens_per_minute=tokens_per_minute,
            dimensions=dimensions,
            encoding_format=encoding_format,
            headers=dict(headers or {}),
            query=dict(query or {}),
            extra_body=dict(extra_body or {}),
            roles=choose(
                model,
                query_prefix=query_prefix,
                document_prefix=document_prefix,
                instructions=instructions,
            ),
            cache=None if cache is None else os.path.abspath(os.fspath(cache)),
            on_drift=on_drift,
            allow_blank=allow_blank,
            allow_insecure_http=allow_insecure_http,
        )
        self._set_up(settings)

    @property
    def settings(self) -> Settings:
        """What the client was told, checked and canonical."""
        return self._settings

    @property
    def counts(self) -> Counts:
        """What this process has sent with this client so far."""
        return self._here().flow.counts

    def namespace(self, role: Role | None = None) -> str:
        """Name what the vectors of a role depend on, for caches of other libraries.

        Two clients have the same name exactly where the same text gets the same vector:
        the same server, model, further fields, width and prefix. Letters, digits and
        hyphens; the key is no part of it.
        """
        prefix = self._settings.roles.prefix(role) if role else ""
        extra = {**self._settings.extra_body}
        extra.pop("encoding_format", None)
        parts = (
            self._settings.base_url,
            self._settings.model,
            self._settings.dimensions,
            prefix,
            sorted(extra.items()),
        )
        digest = blake2b(repr(parts).encode(), digest_size=8).hexdigest()
        name = re.sub(r"[^A-Za-z0-9]+", "-", self._settings.model).strip("-")
        return f"{name}-{digest}"

    def check(self, texts: Sequence[str]) -> None:
        """Refuse what `embed` would refuse of these texts, without sending any.

        Raises:
            TypeError: `texts` is a bare string, or an element is no string.
            InputError: A text is blank or holds a lone surrogate.
        """
        batching.check(texts, blank=self._settings.allow_blank)

    @overload
    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        on_progress: OnProgress = None,
    ) -> list[list[float]]: ...

    @overload
    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        on_progress: OnProgress = None,
    ) -> Partial: ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        on_progress: OnProgress = None,
    ) -> list[list[float]] | Partial:
        """Return one embedding for each text, in order.

        Args:
            texts: Any number of texts; they are sent in batches, many at once, equal
                ones only once.
            role: "query" or "document": which of the client's prefixes goes in front of
                each text; None is none.
            on_error: "return" gives a `Partial` in any case, whole or not, instead of
                raising what befell a request or a text.
            on_progress: Is called with the number of texts that have just become
                vectors, batch by batch, in the caller's thread.

        Returns:
            `len(texts)` lists of floats, all of one width.

        Raises:
            TypeError: `texts` is a bare string, or an element is no string.
            InputError: A text is blank or holds a lone surrogate. Nothing was sent.
            RequestError: A batch failed for good; the error names its texts. Where the
                server refused a text, all others were embedded: `results` has them.
            DeadlineExceededError: The call's time was over before its work.
        """
        try:
            rows: list[Row] = self._embed(texts, LISTS, role, on_progress)
        except EmbeddingsError as error:
            if on_error == "raise" or error.partial is None:
                raise
            return error.partial
        return rows if on_error == "raise" else Partial(dict(enumerate(rows)), {})

    @overload
    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        on_progress: OnProgress = None,
    ) -> list[list[float]]: ...

    @overload
    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        on_progress: OnProgress = None,
    ) -> Partial: ...

    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        on_progress: OnProgress = None,
    ) -> list[list[float]] | Partial:
        """Do what `embed` does, as a coroutine on the running loop."""
        try:
            rows: list[Row] = await self._aembed(texts, LISTS, role, on_progress)
        except EmbeddingsError as error:
            if on_error == "raise" or error.partial is None:
                raise
            return error.partial
        return rows if on_error == "raise" else Partial(dict(enumerate(rows)), {})

    def embed_array(
        self, texts: Sequence[str], *, role: Role | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of `embed` as one array, in order.

        Needs numpy (the extra `arrays`). Where the answers are base64, no number is
        ever a Python float.

        Returns:
            An array of shape (len(texts), width) and type float32; of shape (0, 0) for
            no texts.

        Raises:
            EmbeddingsError: As for `embed`.
        """
        rows: NDArray[np.float32] = self._embed(texts, Arrays(), role)
        return rows

    async def aembed_array(
        self, texts: Sequence[str], *, role: Role | None = None
    ) -> NDArray[np.float32]:
        """Do what `embed_array` does, as a coroutine on the running loop."""
        rows: NDArray[np.float32] = await self._aembed(texts, Arrays(), role)
        return rows

    def embed_batches(
        self, batches: Iterable[Sequence[str]], *, role: Role | None = None
    ) -> Iterator[list[list[float]]]:
        """Yield the embeddings of each batch in order, with many requests in flight.

        Batches are taken from the iterable as they can be put to use, so that memory
        holds what is in flight. One over `batch_size` is sent in several requests.

        Args:
            batches: Any iterable of sequences of texts.
            role: As for `embed`.

        Raises:
            EmbeddingsError: As for `embed`; what was yielded before remains right.
        """
        for _, rows in self._stream(batches, LISTS, role, ordered=True):
            yield rows

    async def aembed_batches(
        self,
        batches: Iterable[Sequence[str]] | AsyncIterable[Sequence[str]],
        *,
        role: Role | None = None,
    ) -> AsyncIterator[list[list[float]]]:
        """Do what `embed_batches` does on the running loop, from either iterable."""
        run = self._astream(source.each(batches), LISTS, role, ordered=True)
        async with aclosing(run) as groups:
            async for _, rows in groups:
                yield rows

    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[int, list[float]]]:
        """Yield the number and the embedding of each text of an endless iterable.

        Texts are taken as they can be put to use, `batch_size` at a time: memory holds
        what is in flight. Equal texts go out once a batch.

        Args:
            texts: Any iterable of texts. Where it blocks, answers wait for it;
                `astream` with an async iterable does not.
            role: As for `embed`.
            ordered: Whether texts come out in order, or as they are completed.

        Raises:
            EmbeddingsError: As for `embed`; what was yielded before remains right.
        """
        batches = source.batched(texts, self._settings.batch_size)
        for start, rows in self._stream(batches, LISTS, role, ordered=ordered):
            yield from enumerate(rows, start)

    async def astream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        role: Role | None = None,
        ordered: bool = True,
    ) -> AsyncIterator[tuple[int, list[float]]]:
        """Do what `stream` does on the running loop, from either iterable."""
        batches = source.abatched(texts, self._settings.batch_size)
        run = self._astream(batches, LISTS, role, ordered=ordered)
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
            ordered: Whether texts come out in order, or as they are completed.
            on_error: With "return", a text that the server refuses ends nothing: its
                error is yielded in its place.

        Yields:
            The number of a text, and an array of shape (texts from there, width); or
            the number of a text and its error.

        Raises:
            EmbeddingsError: As for `embed`.
        """
        batches = source.batched(texts, self._settings.batch_size)
        lenient = on_error == "return"
        yield from self._stream(
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
        lenient = on_error == "return"
        run = self._astream(batches, Arrays(), role, ordered=ordered, lenient=lenient)
        async with aclosing(run) as groups:
            async for group in groups:
                yield group

    def close(self) -> None:
        """Close the connections. The client opens new ones when it is used again."""
        self._here().close()

    async def aclose(self) -> None:
        """Close the connections, those of the running loop before this returns."""
        here = self._here()
        if here.by_aiohttp:
            await here.by_aiohttp.aclose()
        here.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return (
            f"EmbeddingsClient({self._settings.model!r}, {self._settings.base_url!r})"
        )

    def __getstate__(self) -> Settings:
        return self._settings.without_secrets()

    def __setstate__(self, settings: Settings) -> None:
        self._set_up(settings)

    def __deepcopy__(self, memo: object) -> EmbeddingsClient:
        twin = object.__new__(type(self))
        twin._set_up(self._settings)
        return twin

    def _embed(
        self,
        texts: Sequence[str],
        form: Form,
        role: Role | None,
        on_progress: OnProgress = None,
    ) -> Any:
        if not _some(texts):
            return form.empty(0, 0)
        here = self._here()
        driver = Threads(here.sync(), here.memory)
        job = here.job(driver.wake, form, role, on_progress=on_progress)
        try:
            driver.feed(job, texts)
            job.complete()
            ((_, rows),) = driver.run(job, iter(()))
        except EmbeddingsError as error:
            raise self._explained(error, job, texts, role) from None
        return rows

    async def _aembed(
        self,
        texts: Sequence[str],
        form: Form,
        role: Role | None,
        on_progress: OnProgress = None,
    ) -> Any:
        if not _some(texts):
            return form.empty(0, 0)
        here = self._here()
        driver = Tasks(here.asynchronous(), here.memory)
        job = here.job(driver.wake, form, role, on_progress=on_progress)
        try:
            await driver.feed(job, texts)
            job.complete()
            async with aclosing(driver.run(job, source.nothing())) as groups:
                ((_, rows),) = [group async for group in groups]
        except EmbeddingsError as error:
            raise self._explained(error, job, texts, role) from None
        return rows

    def _explained(
        self,
        error: EmbeddingsError,
        job: Job,
        texts: Sequence[str],
        role: Role | None,
    ) -> EmbeddingsError:
        """Let an error carry what the call has done all the same."""
        error.partial = self._partial(job, texts, role)
        return error

    def _partial(self, job: Job, texts: Sequence[str], role: Role | None) -> Partial:
        def again(numbers: list[int]) -> Partial:
            left = [texts[number] for number in numbers]
            return self.embed(left, role=role, on_error="return")

        async def aagain(numbers: list[int]) -> Partial:
            left = [texts[number] for number in numbers]
            return await self.aembed(left, role=role, on_error="return")

        return Partial(*job.partial(), again, aagain)

    def _stream(
        self,
        batches: Iterable[Sequence[str]],
        form: Form,
        role: Role | None,
        *,
        ordered: bool,
        lenient: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        here = self._here()
        driver = Threads(here.sync(), here.memory)
        job = here.job(driver.wake, form, role, ordered=ordered, lenient=lenient)
        yield from driver.run(job, iter(batches))

    async def _astream(
        self,
        batches: AsyncIterator[Sequence[str]],
        form: Form,
        role: Role | None,
        *,
        ordered: bool,
        lenient: bool = False,
    ) -> AsyncGenerator[tuple[int, Any], None]:
        here = self._here()
        driver = Tasks(here.asynchronous(), here.memory)
        job = here.job(driver.wake, form, role, ordered=ordered, lenient=lenient)
        async with aclosing(driver.run(job, batches)) as groups:
            async for group in groups:
                yield group

    def _set_up(self, settings: Settings) -> None:
        self._settings = settings
        self._process = Process(settings)

    def _here(self) -> Process:
        """Return what belongs to this process; a forked child starts with its own."""
        process = self._process
        if process.pid != os.getpid():
            # The parent's stays referenced: its sockets are the parent's to close.
            process = self._process = Process(self._settings, process)
        return process


def _some(texts: Sequence[str]) -> bool:
    """Tell whether there is anything to do; numpy arrays have no truth of their own."""
    return isinstance(texts, str) or len(texts) > 0
