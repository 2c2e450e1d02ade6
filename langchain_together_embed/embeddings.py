"""`TogetherEmbeddings`: LangChain's fields and methods on top of the core's client.

The fields are the truth. A client is made of them when the object is, and anew once
they have changed: assigning a field and `model_copy(update=...)` mean what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.embeddings import Embeddings
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_serializer,
    field_validator,
)
from pydantic.json_schema import SkipJsonSchema

from langchain_together_embed import arguments, caching, progress, values
from together_embed import key
from together_embed.engine.batching import listed
from together_embed.engine.telling import OnBatch
from together_embed.making import Made, OfFields, hidden
from together_embed.settings import public

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class TogetherEmbeddings(BaseModel, OfFields, Embeddings):
    """A model at Together AI, or at any server of the same API, as `Embeddings`.

    Takes the arguments of `langchain_together.TogetherEmbeddings`, some of which have
    no effect there. Here `chunk_size` has one (default 100, not 1,000), a request is
    retried 8 times, not twice, and takes 60 seconds at most; an empty text is an error
    unless `skip_empty` is set. An argument that is not supported is an error.

    The key is in no dump and no pickle: it is read from the environment again. The same
    holds for `default_headers` and `default_query` whose names suggest a secret.

    Args:
        model: The model's name.
        together_api_key: The key, a `SecretStr`, or a function that returns it and is
            called for each request; `api_key` is the same. Default: `TOGETHER_API_KEY`.
        together_api_base: The server, with or without `/v1`; `base_url` is the same.
            Without it `TOGETHER_API_BASE`, then `TOGETHER_BASE_URL`, then
            `https://api.together.ai/v1`.
        dimensions: Vector width to request. A response of another width is an error.
        chunk_size: Maximum number of texts in a request. Many requests are in flight.
        request_timeout: Seconds for a request; or a pair (to connect, a request); or an
            `httpx.Timeout`, read as such a pair; None is no limit. `timeout` is the
            same.
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
        model_kwargs: Additional fields in every request's body. Unknown keywords are
            put here, with a warning.
        extra_body: The same, for servers with fields of their own; it takes precedence.
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
        skip_empty: Send empty and blank texts, and return the vectors that the server
            gives them. By default, one is an error.
        show_progress_bar: Whether `embed_documents` shows a tqdm bar.
        allow_insecure_http: Allow to send the key over plain http to a public host.
        compression: "gzip" asks for compressed responses, for slow networks.
        hedge: Share of requests, such as 0.05, that may be sent a second time when they
            take far longer than others.
        on_batch: A function that is called with a `together_embed.BatchStats` for each
            batch that was answered or has failed for good. It is in no dump or pickle.

    Raises:
        ConfigurationError: A setting is wrong, or is of another adapter and not
            supported. It is a `ValueError`, as pydantic's `ValidationError` is.
    """

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        protected_namespaces=(),
        validate_assignment=True,
    )

    model: str = "intfloat/multilingual-e5-large-instruct"
    together_api_key: SecretStr | Callable[[], str] | None = Field(
        default_factory=values.key_from_environment, repr=False
    )
    together_api_base: str = Field(default_factory=values.base_url_from_environment)
    dimensions: int | None = None
    chunk_size: int = Field(default=100, gt=0)
    request_timeout: Any = (10.0, 60.0)
    deadline: float | None = Field(default=None, gt=0)
    max_retries: int = Field(default=8, ge=0)
    max_concurrency: int | None = Field(default=None, gt=0)
    requests_per_second: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    cut_to: int | None = Field(default=None, gt=0)
    normalize: bool = False
    encoding_format: Literal["auto", "float", "base64"] = "auto"
    model_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False)
    extra_body: dict[str, Any] | None = Field(default=None, repr=False)
    default_headers: Mapping[str, str] | None = Field(default=None, repr=False)
    default_query: Mapping[str, Any] | None = Field(default=None, repr=False)
    query_prefix: str | None = None
    document_prefix: str | None = None
    instructions: Literal["auto"] | None = None
    on_long_input: Literal["error", "truncate", "split"] | None = None
    max_input_tokens: int | None = Field(default=None, gt=0)
    count_tokens: SkipJsonSchema[Callable[[str], int]] | None = Field(
        default=None, exclude=True, repr=False
    )
    tokenizer: values.FilePath | None = None
    cache: values.FilePath | None = None
    max_cache_bytes: int | None = Field(default=None, gt=0)
    on_drift: Literal["warn", "error"] = "warn"
    canary: bool | None = None
    skip_empty: bool = False
    show_progress_bar: bool = False
    allow_insecure_http: bool = False
    compression: Literal["gzip"] | None = None
    hedge: float | None = Field(default=None, gt=0, le=1)
    on_batch: SkipJsonSchema[OnBatch] | None = Field(
        default=None, exclude=True, repr=False
    )

    _made: Made = PrivateAttr(default_factory=Made)

    def __init__(self, **settings: Unpack[arguments.Arguments]) -> None:
        arguments.hide_key(settings)
        super().__init__(**arguments.settle(settings, type(self).model_fields))
        _ = self.client  # a setting that cannot work is refused here, not at first use

    # What LangChain calls.

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector for each text, in order, with many requests in flight.

        Raises:
            EmbeddingsError: The call failed; `results` has the vectors that it did get.
        """
        texts = listed(texts)  # an iterator has no length to show
        with progress.bar(texts, shown=self.show_progress_bar) as moved:
            return self.client.embed(texts, role="document", on_progress=moved)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query.

        Warns if a `CacheBackedEmbeddings` calls it that stores queries and documents
        under the same keys, although their prefixes differ.

        Raises:
            EmbeddingsError: The call failed.
        """
        client = self.client
        caching.look_at_the_caller(self, client.settings.roles)
        return client.embed([text], role="query")[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Do what `embed_documents` does, as a coroutine on the running loop."""
        texts = listed(texts)
        with progress.bar(texts, shown=self.show_progress_bar) as moved:
            return await self.client.aembed(texts, role="document", on_progress=moved)

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        client = self.client
        caching.look_at_the_caller(self, client.settings.roles)
        return (await client.aembed([text], role="query"))[0]

    @property
    def namespace(self) -> str:
        """A name for all that the vectors of documents depend on.

        For LangChain's `CacheBackedEmbeddings.from_bytes_store(namespace=...)`: the
        model's name, which is usual there, would mix servers, widths and prefixes.
        """
        return self.client.namespace("document")

    @property
    def query_namespace(self) -> str:
        """The same for queries, for a `query_embedding_cache` of their own."""
        return self.client.namespace("query")

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **arguments.of_the_client(self)}

    # Values in the forms that users write them.

    _hidden_key = field_validator("together_api_key", mode="before")(hidden)
    _checked_key = field_validator("together_api_key")(key.checked)
    _read_timeout = field_validator("request_timeout")(values.seconds)

    @field_validator("show_progress_bar")
    @classmethod
    def _drawable(cls, wanted: bool) -> bool:
        if wanted:
            progress.needs_tqdm()
        return wanted

    # Copies, dumps and pickles.

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> Self:
        """Return a copy, with some fields assigned anew, by either of their names."""
        twin = super().model_copy(deep=deep)
        for name, value in (update or {}).items():
            setattr(twin, arguments.ALIASES.get(name, name), value)
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        for shared in (self.together_api_key, self.on_batch, self.count_tokens):
            memo[id(shared)] = shared  # may hold locks
        return super().__deepcopy__(memo)

    @field_serializer("together_api_key", when_used="json")
    def _no_key(self, _: Any) -> None:
        """Leave the key out of JSON, where a row of stars would pass for one later."""

    @field_serializer("default_headers", "default_query")
    def _no_secret(self, named: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if named is None else public(named)

    def __getstate__(self) -> dict[Any, Any]:
        state: dict[Any, Any] = super().__getstate__()
        fields = {**state["__dict__"], "together_api_key": None, "on_batch": None}
        for name in ("default_headers", "default_query"):
            fields[name] = self._no_secret(fields[name])
        return {**state, "__dict__": fields}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        vars(self)["together_api_key"] = values.key_from_environment()
