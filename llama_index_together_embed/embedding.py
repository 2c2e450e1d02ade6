"""`TogetherEmbedding`: LlamaIndex's fields and methods on top of the core's client.

The fields are the truth. A client is made of them at first use, and anew once they have
changed: assigning a field, `model_copy(update=...)` and pickling mean what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding, dispatcher
from llama_index.core.bridge.pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
)
from llama_index.core.callbacks import CallbackManager

from llama_index_together_embed import arguments, carrying
from llama_index_together_embed.asking import (
    ain_turn,
    aone_by_one,
    in_turn,
    one_by_one,
)
from llama_index_together_embed.call import Call
from together_embed.address import base_url
from together_embed.key import KeySource
from together_embed.making import Made, OfFields, hidden

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class TogetherEmbedding(OfFields, BaseEmbedding):
    """A model at Together AI, or at any server of the same API, as an `embed_model`.

    `to_dict` contains what the vectors depend on: the model, the server, the width,
    additional fields of the request. It lacks `default_query`, which may hold a secret:
    pass it to `from_dict` again, and use an `IngestionCache` for each query by which a
    gateway chooses the model. The key is in no dump and no pickle: it is read from the
    environment again. A pickle keeps `default_headers` and `default_query`,
    except for those whose names suggest a secret.

    Args:
        model_name: The model's name. There is no default. `model` is the same.
        api_key: The key, a `SecretStr`, or a function that returns it and is called for
            each request. Default: `TOGETHER_API_KEY`.
        api_base: The server, with or without `/v1`; `base_url` is the same. Without
            it `TOGETHER_BASE_URL`, then `TOGETHER_API_BASE`, then
            `https://api.together.ai/v1`.
        embed_batch_size: Maximum number of texts in a request, 1 to 2048. Many requests
            are in flight.
        dimensions: Vector width to request. A response of another width is an error.
        extra_body: Additional fields in every request's body; `additional_kwargs` is
            the same.
        timeout: Seconds for a request; or a pair (to connect, a request). None is no
            limit.
        deadline: Seconds for a whole call, retries and waits included.
        max_retries: Retries of a request after its first attempt.
        max_concurrency: Maximum requests in flight, of all calls of this object
            together. With None, here and for the next two, the client adapts to what
            the server allows.
        requests_per_second: Maximum number of requests a second.
        tokens_per_minute: Maximum number of tokens a minute, by an estimate.
        cut_to: How many numbers of each vector to keep, scaled to length 1; a cache
            stores whole vectors.
        normalize: Whether each vector is scaled to length 1.
        encoding_format: "auto" asks for base64 unless the server refuses it; "float"
            and "base64" always ask for that.
        default_headers: Additional headers for every request.
        default_query: Additional parameters in the URL.
        query_prefix: Text to put before each query; the default is none.
        document_prefix: Text to put before each document; the default is none.
        instructions: "auto" uses the prefixes that the model's authors recommend.
        on_long_input: "error", "truncate" or "split" for texts that exceed the model's
            context; None leaves it to the server. See `EmbeddingsClient`, as for the
            next three.
        max_input_tokens: The model's context in tokens.
        count_tokens: A function that counts the tokens of a text; not in dumps.
        tokenizer: Path of a `tokenizer.json` to count with.
        cache: Path of a file that stores every vector, for later processes too.
        max_cache_bytes: Maximum size of that file in bytes; None is no limit.
        on_drift: "warn" or "error": what to do if the model is not the one that filled
            that file.
        canary: Whether to send one fixed text, once a process, to detect changed
            weights; None: if `on_drift` is "error".
        allow_blank: Whether an empty or blank text is no error, but gets the vector
            that the server gives to it.
        allow_insecure_http: Allow to send the key over plain http to a public host.
        compression: "gzip" asks for compressed responses, for slow networks.
        hedge: Share of requests, such as 0.05, that may be sent a second time when they
            take far longer than others.
        on_batch: A function that is called with a `together_embed.BatchStats` for each
            batch that was answered or has failed for good. It is in no dump or pickle.
        num_workers: Maximum number of batches of one async call in flight.
        callback_manager: Gets an event for the start and the end of each batch.
        embeddings_cache: A `BaseKVStore` of vectors. Its keys include the model, so
            that several models can share one.
        rate_limiter: Is acquired once for each batch that needs a request; one that
            counts tokens gets an estimate.

    Raises:
        ConfigurationError: A setting is wrong, or is of another adapter and not
            supported.
        TypeError: An argument is unknown, or the model's name is missing.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    embed_batch_size: int = Field(default=100, gt=0, le=2048, exclude=True)
    num_workers: int | None = Field(default=None, exclude=True)
    callback_manager: CallbackManager = Field(
        default_factory=lambda: CallbackManager([]), exclude=True, repr=False
    )
    embeddings_cache: Any | None = Field(default=None, exclude=True, repr=False)
    rate_limiter: Any | None = Field(default=None, exclude=True, repr=False)
    api_key: SecretStr | Any | None = Field(default=None, exclude=True, repr=False)
    api_base: str = Field(default_factory=lambda: base_url(None))
    dimensions: int | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict, repr=False)
    timeout: arguments.Seconds = Field(default=(10.0, 60.0), exclude=True)
    deadline: float | None = Field(default=None, exclude=True)
    max_retries: int = Field(default=8, exclude=True)
    max_concurrency: int | None = Field(default=None, exclude=True)
    requests_per_second: float | None = Field(default=None, exclude=True)
    tokens_per_minute: float | None = Field(default=None, exclude=True)
    cut_to: int | None = None
    normalize: bool = False
    encoding_format: Literal["auto", "float", "base64"] = Field(
        default="auto", exclude=True
    )
    default_headers: dict[str, str] | None = Field(
        default=None, exclude=True, repr=False
    )
    default_query: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    allow_blank: bool = Field(default=False, exclude=True)
    allow_insecure_http: bool = Field(default=False, exclude=True)
    compression: Literal["gzip"] | None = Field(default=None, exclude=True)
    hedge: float | None = Field(default=None, exclude=True)
    on_batch: Any | None = Field(default=None, exclude=True, repr=False)

    query_prefix: str | None = None
    document_prefix: str | None = None
    instructions: Literal["auto"] | None = None
    on_long_input: Literal["error", "truncate", "split"] | None = None
    max_input_tokens: int | None = None
    count_tokens: Any | None = Field(default=None, exclude=True, repr=False)
    tokenizer: str | None = None
    cache: str | None = Field(default=None, exclude=True)
    max_cache_bytes: int | None = Field(default=None, exclude=True)
    on_drift: Literal["warn", "error"] = Field(default="warn", exclude=True)
    canary: bool | None = Field(default=None, exclude=True)

    _made: Made = PrivateAttr(default_factory=Made)

    def __init__(
        self,
        model_name: str | None = None,
        api_key: KeySource = None,
        api_base: str | None = None,
        **settings: Unpack[arguments.Arguments],
    ) -> None:
        api_key = hidden(api_key)
        placed = {"model_name": model_name, "api_key": api_key, "api_base": api_base}
        super().__init__(**arguments.settle(placed, settings, type(self).model_fields))
        _ = self.client  # a setting that cannot work is refused here, not at first use

    @classmethod
    def class_name(cls) -> str:
        """Return the name that dumps carry."""
        return "TogetherEmbedding"

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **arguments.of_the_client(self)}

    def to_payload(self) -> dict[str, Any]:
        """Return what events contain about this model: nothing secret."""
        return {
            "class_name": self.class_name(),
            "model_name": self.model_name,
            "embed_batch_size": self.embed_batch_size,
        }

    # What LlamaIndex calls.

    @dispatcher.span
    def get_query_embedding(self, query: str) -> Embedding:
        """Return the vector of a query."""
        call = Call(self, [query], "query")
        return call.run(one_by_one(self._get_query_embedding))[0]

    @dispatcher.span
    async def aget_query_embedding(self, query: str) -> Embedding:
        """Return the vector of a query."""
        call = Call(self, [query], "query")
        return (await call.arun(aone_by_one(self._aget_query_embedding)))[0]

    @dispatcher.span
    def get_text_embedding(self, text: str) -> Embedding:
        """Return the vector of a document's text."""
        call = Call(self, [text], "text")
        return call.run(one_by_one(self._get_text_embedding))[0]

    @dispatcher.span
    async def aget_text_embedding(self, text: str) -> Embedding:
        """Return the vector of a document's text."""
        call = Call(self, [text], "text")
        return (await call.arun(aone_by_one(self._aget_text_embedding)))[0]

    @dispatcher.span
    def get_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **_: Any
    ) -> list[Embedding]:
        """Return one vector for each text, in order, with many requests in flight.

        Args:
            texts: Any number of texts, sent `embed_batch_size` at a time.
            show_progress: Show a progress bar that counts texts.
            _: Arguments that a pipeline passes to all of its transformations.

        Raises:
            EmbeddingsError: The call failed; `results` has the vectors that it did get.
        """
        call = Call(self, texts, "text", show_progress=show_progress)
        if not self._is_ours("_get_text_embeddings"):
            return call.run(in_turn(self._get_text_embeddings))
        ask = partial(self.client.embed_batches, role="document", on_error="return")
        return call.run(partial(ask, numbers=call.places))

    @dispatcher.span
    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **_: Any
    ) -> list[Embedding]:
        """Do what `get_text_embedding_batch` does, as a coroutine."""
        call = Call(self, texts, "text", show_progress=show_progress)
        if not self._is_ours("_aget_text_embeddings"):
            return await call.arun(ain_turn(self._aget_text_embeddings))
        ask = partial(self.client.aembed_batches, role="document", on_error="return")
        return await call.arun(partial(ask, numbers=call.places))

    def _is_ours(self, name: str) -> bool:
        """Tell whether a method is ours; another may add a prefix, or stand in for it.

        Ours are those of this file: a test may put its own into the class itself.
        """
        return getattr(type(self), name) is _OURS[name]

    def _get_query_embedding(self, query: str) -> Embedding:
        return self.client.embed([query], role="query")[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self.client.aembed([query], role="query"))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self.client.embed([text], role="document")[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self.client.aembed([text], role="document"))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self.client.embed(texts, role="document")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self.client.aembed(texts, role="document")

    # Copies and pickles.

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, hidden(value) if name == "api_key" else value)

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> Self:
        """Return a copy, with some fields changed."""
        twin = super().model_copy(update=update, deep=deep)
        twin.api_key = twin.api_key  # by way of `__setattr__`
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super().__deepcopy__(carrying.shared(self, memo))

    def __getstate__(self) -> dict[Any, Any]:
        return carrying.pickled(self)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        # By the constructor, if that takes all fields: it knows of nothing else.
        for name, value in state["__pydantic_private__"].items():
            setattr(self, name, value)


_OURS = {
    name: vars(TogetherEmbedding)[name]
    for name in ("_get_text_embeddings", "_aget_text_embeddings")
}
