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
from together_embed.making import Made, OfFields
from together_embed.settings import OnBatch, public

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class TogetherEmbeddings(BaseModel, OfFields, Embeddings):
    """A model at Together AI, or at any server of its contract, as `Embeddings`.

    Takes what `langchain_together.TogetherEmbeddings` takes, whose arguments were in
    part without effect. Here `chunk_size` has one (its default is 100, not 1,000), a
    request is tried 8 times more, not twice, and has 60 seconds instead of no limit; an
    empty text is an error unless `skip_empty` is set. What cannot be honoured is
    refused.

    The key is in no dump and no pickle: there it is read from the environment again.
    Neither holds what of `default_headers` or `default_query` has a name that speaks
    of a secret.

    Args:
        model: The model's name.
        together_api_key: The key, a `SecretStr`, or a function that is asked for each
            request; `api_key` is the same. Without it `TOGETHER_API_KEY` is read.
        together_api_base: The server, with or without `/v1`; `base_url` is the same.
            Without it `TOGETHER_API_BASE`, then `TOGETHER_BASE_URL`, then
            `https://api.together.ai/v1`.
        dimensions: The width to ask for. An answer of another width is an error.
        chunk_size: Texts a request, at most. Many requests are in flight.
        request_timeout: Seconds a request may take; a pair (to connect, a request); an
            `httpx.Timeout`, read as such a pair; None: without end. `timeout` is the
            same.
        deadline: Seconds a whole call may take, retries and waits included.
        max_retries: Retries of a request after its first attempt.
        max_concurrency: Requests in flight, of all calls of this object together.
        requests_per_second: The same for requests a second; None: found out.
        tokens_per_minute: The same for tokens a minute, by an estimate.
        cut_to: How many numbers of each vector to keep, scaled to length 1; a cache
            keeps whole vectors.
        normalize: Whether each vector is scaled to length 1.
        encoding_format: "auto" asks for base64 until the server refuses it; "float"
            and "base64" ask for just that.
        model_kwargs: Further fields of every request's body. Keywords that nobody
            knows land here, with a warning.
        extra_body: The same, for servers that know more than the contract; it wins.
        default_headers: Further headers of every request.
        default_query: Further parameters of the address.
        query_prefix: What goes in front of each query; nothing, unless it is asked for.
        document_prefix: What goes in front of each document, likewise.
        instructions: "auto" takes the prefixes that the model's authors recommend.
        on_long_input: "error", "truncate" or "split" for texts over what the model
            reads; None leaves it to the server. See `EmbeddingsClient`, as for the next
            three.
        max_input_tokens: How many tokens the model reads.
        count_tokens: Counts the tokens of a text; not in dumps.
        tokenizer: The path of a `tokenizer.json` to count by.
        cache: The path of a file that keeps every vector, for later processes too.
        max_cache_bytes: Bytes of that file, at most; None: no bound.
        on_drift: "warn" or "error" where the model answers otherwise than when that
            file was filled.
        canary: Whether one fixed text is sent along, once a process, to see whether the
            weights are still those; None: where `on_drift` is "error".
        skip_empty: Whether an empty or blank text is no error, but gets the vector that
            the server gives to it. A list without it would pair texts wrongly.
        show_progress_bar: Whether `embed_documents` draws a bar, by tqdm.
        allow_insecure_http: Send the key over plain http to a public host.
        compression: "gzip" asks for packed answers, for slow networks.
        hedge: The share of requests, such as 0.05, that may be sent a second time since
            they take far longer than others.
        on_batch: Is called with a `together_embed.BatchStats` for each batch that was
            answered or has failed for good. It is in no dump and no pickle.

    Raises:
        ConfigurationError: A setting cannot work, or is of another adapter and cannot
            be honoured. It is a `ValueError`, as pydantic's `ValidationError` is.
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
        super().__init__(**arguments.settle(settings, type(self).model_fields))
        _ = self.client  # a setting that cannot work is refused here, not at first use

    # What LangChain calls.

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector for each text, in order, with many requests in flight.

        Raises:
            EmbeddingsError: The call failed, and no vector of it is returned.
        """
        texts = listed(texts)  # an iterator has no length to show
        with progress.bar(texts, shown=self.show_progress_bar) as moved:
            return self.client.embed(texts, role="document", on_progress=moved)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query.

        Warns where it is asked by a `CacheBackedEmbeddings` that mixes up queries and
        documents, since both have the same key and not the same prefix.
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

        For LangChain's `CacheBackedEmbeddings.from_bytes_store(namespace=...)`, whose
        usual namespace, the model's name, mixes servers, widths and prefixes.
        """
        return self.client.namespace("document")

    @property
    def query_namespace(self) -> str:
        """The same for queries, as `query_embedding_cache` needs a store of its own."""
        return self.client.namespace("query")

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **arguments.of_the_client(self)}

    # Values in the forms that users write them.

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
