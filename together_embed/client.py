"""Settings in, vectors out: what a user of the core sees of a client."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, overload

from together_embed.address import base_url as canonical
from together_embed.call import Calls
from together_embed.closing import Closing
from together_embed.counting import limit_of, spelled
from together_embed.engine import batching
from together_embed.engine.lengths import OnLong
from together_embed.engine.roles import Role, choose
from together_embed.engine.rows import LISTS, Arrays, Row
from together_embed.engine.shape import Shape
from together_embed.engine.stats import Stats
from together_embed.engine.telling import OnBatch, OnProgress
from together_embed.errors import EmbeddingsError
from together_embed.key import Key, KeySource
from together_embed.partial import OnError, Partial, handed_over, may_return
from together_embed.settings import Settings, mapping, parameters
from together_embed.streams import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingsClient(Streams, Closing):
    """A client of one model at one embeddings endpoint, for any thread and event loop.

    All calls of a client share its connections, its limit on requests in flight, and
    the pause after a refusal. It works after a fork, and can be copied and pickled; a
    pickle leaves out the key, which is read from the environment again.

    Args:
        model: The model's name, sent as it is. There is no default.
        api_key: The key; a pydantic `SecretStr`; or a callable that returns the key,
            asked for each request. Without it `TOGETHER_API_KEY` is read. Hosts other
            than Together's may go without one.
        base_url: The server, with or without `/v1`. Without it `TOGETHER_BASE_URL`,
            then `TOGETHER_API_BASE`, then `https://api.together.ai/v1`.
        batch_size: Maximum number of texts in a request. 100 is the vendor's guidance.
        max_batch_bytes: Maximum size of a request's body, in bytes; a longer text is
            sent alone.
        timeout: Seconds for a request, from sending it to the end of the response; or a
            pair (seconds to connect, seconds for a request). Waiting for a free place
            in flight does not count. None is no limit.
        deadline: Seconds for a whole call, retries and waits included. None is no
            limit.
        max_retries: Retries of a request after its first attempt.
        max_concurrency: Maximum number of requests in flight, of all calls of this
            client together. With None, here and for the next two, the client adapts to
            what the server allows.
        requests_per_second: Maximum number of requests a second, evenly spaced.
        tokens_per_minute: Maximum number of tokens a minute, evenly spaced; estimated
            as a token for four bytes of text, which is about right for English.
        dimensions: Vector width to request. A response of another width is an error.
        cut_to: How many numbers of each vector to keep, from its beginning, scaled to
            length 1: for models trained for it (Matryoshka), on servers that do not
            support `dimensions`. The cache stores whole vectors.
        normalize: Scale each vector to length 1. A vector of zeros stays as it is.
        encoding_format: "auto" asks for base64, half the bytes and less work, and stops
            asking if the server refuses it; "float" and "base64" always ask for that.
        headers: Additional headers for every request.
        query: Additional parameters in the URL.
        extra_body: Additional fields in every request's body.
        query_prefix: Text to put before each text of role "query". The default is no
            prefix, as existing indexes were built without.
        document_prefix: The same for role "document".
        instructions: "auto" uses the prefixes that the model's authors recommend, where
            they are known (`together_embed.engine.roles.PRESETS`).
        on_long_input: What to do with texts that exceed the model's context: "error"
            before anything is sent; "truncate", send only the beginning; "split", send
            pieces, and return the mean of their vectors, weighted by tokens and scaled
            to their length. The latter two give a `LongInputWarning`. None leaves it to
            the server, which may truncate silently.
        max_input_tokens: The model's context in tokens, including the prefix and the
            tokens that the model adds. Known for the models in `PRESETS`.
        count_tokens: A function that counts the tokens of a text, prefix included. For
            a client that is to be pickled, it must be picklable too.
        tokenizer: Path of a `tokenizer.json` to count with; needs the extra
            `tokenizers`. Without either, tokens are estimated.
        cache: Path of a file that stores every vector, for this and later processes.
            Each checked batch is on disk before the call continues; a text whose vector
            is there is not sent again.
        max_cache_bytes: Maximum size of that file in bytes, a million or more. The
            least recently used vectors are deleted first. None is no limit.
        on_drift: What to do if the server answers with another model's name or width
            than when the file was filled: "warn" (and store nothing), or "error".
        canary: Whether to send one fixed text with the first texts that a process
            sends, and compare its vector with the one in the file: only this detects
            changed weights under the same name. None: if `on_drift` is "error".
        allow_blank: Send empty and blank texts. By default, one is an error before
            anything is sent.
        allow_insecure_http: Allow to send the key over plain http to a public host.
        compression: "gzip" asks for compressed responses: half the bytes on a slow
            network, but on a fast one more work than it saves. None: not compressed.
        hedge: Share of requests, such as 0.05, that may be sent a second time when they
            take far longer than others of their size; the first valid response counts,
            and the server may do that work twice. None turns it off.
        on_batch: A function that is called with a `BatchStats` for each batch that was
            answered or has failed for good, in the thread or task of the call. An
            exception in it becomes a warning. A pickle leaves it out.

    Raises:
        ConfigurationError: A setting is wrong.
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
        cut_to: int | None = None,
        normalize: bool = False,
        encoding_format: Literal["auto", "float", "base64"] = "auto",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        instructions: Literal["auto"] | None = None,
        on_long_input: OnLong | None = None,
        max_input_tokens: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        max_cache_bytes: int | None = None,
        on_drift: Literal["warn", "error"] = "warn",
        canary: bool | None = None,
        allow_blank: bool = False,
        allow_insecure_http: bool = False,
        compression: Literal["gzip"] | None = None,
        hedge: float | None = None,
        on_batch: OnBatch | None = None,
    ) -> None:
        key = Key(api_key)
        del api_key  # reports of errors show a frame's variables
        settings = Settings(
            model=model,
            key=key,
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
            headers=mapping("headers", headers),
            query=parameters(query),
            extra_body=mapping("extra_body", extra_body),
            roles=choose(
                model,
                query_prefix=query_prefix,
                document_prefix=document_prefix,
                instructions=instructions,
            ),
            limit=limit_of(
                model, on_long_input, max_input_tokens, count_tokens, tokenizer
            ),
            shape=Shape(cut_to, normalize),
            cache=_whole(cache),
            max_cache_bytes=max_cache_bytes,
            on_drift=on_drift,
            canary=canary,
            allow_blank=allow_blank,
            allow_insecure_http=allow_insecure_http,
            compression=compression,
            hedge=hedge,
            on_batch=on_batch,
        )
        self._set_up(settings)

    @property
    def settings(self) -> Settings:
        """The settings of this client, checked and in their canonical form."""
        return self._settings

    @property
    def stats(self) -> Stats:
        """What this process has sent with this client so far."""
        return self._calls.here().stats

    @property
    def last_stats(self) -> Stats | None:
        """The same for the call that ended last, in any thread, failed or not.

        With concurrent calls it may be another call than yours; `on_batch` is called
        for each batch in the thread or task of its own call. A stream ends when its
        iterator does. None if no call has ended in this process.
        """
        return self._calls.here().last_stats

    def bound(
        self,
        *,
        max_concurrency: int | None = None,
        requests_per_second: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        """Replace all three limits, for running calls too.

        For programs that share a rate limit with others, when their share changes.

        Args:
            max_concurrency: Maximum requests in flight; None lets the client adapt.
            requests_per_second: Maximum requests a second; None lets the client adapt.
            tokens_per_minute: Maximum tokens a minute; None lets the client adapt.

        Raises:
            ConfigurationError: A limit is not a positive number.
        """
        self._settings = replace(
            self._settings,
            max_concurrency=max_concurrency,
            requests_per_second=requests_per_second,
            tokens_per_minute=tokens_per_minute,
        )
        self._calls.rebound(self._settings)

    def namespace(self, role: Role | None = None) -> str:
        """Return a name for all that a role's vectors depend on, for other caches.

        Two clients have the same name if the same text gets the same vector from both:
        the same server, model, additional fields, width and prefix. It consists of
        letters, digits and hyphens, and does not depend on the key.
        """
        prefix = self._settings.roles.prefix(role) if role else ""
        parts = (
            self._settings.place,
            self._settings.model,
            self._settings.dimensions,
            prefix,
            json.dumps(self._settings.deciding_fields, sort_keys=True),
            *self._handling(),
        )
        digest = blake2b(repr(parts).encode(), digest_size=8).hexdigest()
        name = re.sub(r"[^A-Za-z0-9]+", "-", self._settings.model).strip("-")
        return f"{name}-{digest}"

    def _handling(self) -> list[object]:
        """Name what else decides what comes out, where it was asked for."""
        limit, shape = self._settings.limit, self._settings.shape
        said = [spelled(limit)] if limit and limit.on_long != "error" else []
        return [*said, *([shape] if shape else [])]

    def check(self, texts: Sequence[str], *, role: Role | None = None) -> None:
        """Check texts as `embed` does before it sends them, without sending any.

        Raises:
            TypeError: `texts` is a bare string, or an element is not a string.
            InputError: A text is blank, contains a lone surrogate, or exceeds the
                model's context and `on_long_input` is "error".
        """
        texts = batching.listed(texts)
        batching.check(texts, blank=self._settings.allow_blank)
        limit = self._settings.limit
        if limit is not None and limit.on_long == "error":
            fit = limit.fit(texts, self._settings.roles.prefix(role) if role else "")
            if fit.long:
                raise limit.error(fit.long)

    @overload
    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        on_progress: OnProgress | None = None,
    ) -> list[list[float]]: ...

    @overload
    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        on_progress: OnProgress | None = None,
    ) -> Partial: ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        on_progress: OnProgress | None = None,
    ) -> list[list[float]] | Partial:
        """Return one embedding for each text, in order.

        Args:
            texts: Any number of texts. They are sent in batches, with many requests in
                flight; a text that occurs twice is sent once.
            role: "query" or "document": which of the client's prefixes to put before
                each text; None is no prefix.
            on_error: "return" always returns a `Partial`, complete or not, instead of
                raising errors of requests and texts.
            on_progress: A function that is called with the number of texts that have
                just been embedded, batch by batch, in the caller's thread.

        Returns:
            `len(texts)` lists of floats, all of one width.

        Raises:
            TypeError: `texts` is a bare string, or an element is not a string.
            ConfigurationError: There is no key, and the host is Together's.
            InputError: A text is blank, contains a lone surrogate, or exceeds the
                model's context and `on_long_input` is "error". Nothing was sent.
            RequestError: A batch failed for good; the error names its texts. If the
                server refused a text, all others were embedded: `results` has them.
            DeadlineExceededError: The deadline was over before all texts were embedded.
            ModelDriftError: The model is not the one that filled the cache, and
                `on_drift` is "error".
        """
        returns = may_return(on_error)
        try:
            rows: list[Row] = self._calls.embed(texts, LISTS, role, on_progress)
        except EmbeddingsError as error:
            return handed_over(error, on_error)
        return Partial.whole(rows) if returns else rows

    @overload
    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
        on_progress: OnProgress | None = None,
    ) -> list[list[float]]: ...

    @overload
    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
        on_progress: OnProgress | None = None,
    ) -> Partial: ...

    async def aembed(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
        on_progress: OnProgress | None = None,
    ) -> list[list[float]] | Partial:
        """Do what `embed` does, as a coroutine on the running loop."""
        returns = may_return(on_error)
        try:
            rows: list[Row] = await self._calls.aembed(texts, LISTS, role, on_progress)
        except EmbeddingsError as error:
            return handed_over(error, on_error)
        return Partial.whole(rows) if returns else rows

    @overload
    def embed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> NDArray[np.float32]: ...

    @overload
    def embed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
    ) -> Partial: ...

    def embed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
    ) -> NDArray[np.float32] | Partial:
        """Return the embeddings of `embed` as one array, in order.

        Needs numpy (the extra `arrays`). With base64 responses, no number ever becomes
        a Python float.

        Returns:
            An array of shape (len(texts), width) and type float32; of shape (0, 0) for
            no texts.

        Raises:
            EmbeddingsError: As for `embed`.
        """
        returns = may_return(on_error)
        try:
            rows: NDArray[np.float32] = self._calls.embed(texts, Arrays(), role)
        except EmbeddingsError as error:
            return handed_over(error, on_error)
        return Partial.whole(rows) if returns else rows

    @overload
    async def aembed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> NDArray[np.float32]: ...

    @overload
    async def aembed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: Literal["return"],
    ) -> Partial: ...

    async def aembed_array(
        self,
        texts: Sequence[str],
        *,
        role: Role | None = None,
        on_error: OnError = "raise",
    ) -> NDArray[np.float32] | Partial:
        """Do what `embed_array` does, as a coroutine on the running loop."""
        returns = may_return(on_error)
        try:
            rows: NDArray[np.float32] = await self._calls.aembed(texts, Arrays(), role)
        except EmbeddingsError as error:
            return handed_over(error, on_error)
        return Partial.whole(rows) if returns else rows

    def close(self) -> None:
        """Close the connections. The client opens new ones if it is used again."""
        self._calls.here().close()

    async def aclose(self) -> None:
        """Close the connections, those of the running loop before this returns."""
        here = self._calls.here()
        if here.by_aiohttp:
            await here.by_aiohttp.aclose()
        here.close()

    def __repr__(self) -> str:
        if "_settings" not in vars(self):  # as a traceback with locals may show it
            return "EmbeddingsClient(not made)"
        return (
            f"EmbeddingsClient({self._settings.model!r}, {self._settings.base_url!r})"
        )

    def __getstate__(self) -> Settings:
        return self._settings.without_secrets()

    def __setstate__(self, settings: Settings) -> None:
        self._set_up(settings)

    def __copy__(self) -> EmbeddingsClient:
        twin = object.__new__(type(self))
        twin._set_up(self._settings)
        return twin

    def __deepcopy__(self, memo: object) -> EmbeddingsClient:
        return self.__copy__()

    def _set_up(self, settings: Settings) -> None:
        self._settings = settings
        self._calls = Calls(settings)


def _whole(path: str | os.PathLike[str] | None) -> str | None:
    """Return a path that leads to the same file from any folder."""
    if path is None:
        return None
    from together_embed.store.place import absolute  # SQLite is loaded only then

    return absolute(path)
