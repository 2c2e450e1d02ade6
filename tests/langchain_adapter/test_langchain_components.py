"""LangChain's own components, filled and queried through these embeddings."""

import sys
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.stores import InMemoryByteStore, InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_together_embed import TogetherEmbeddings
from together_embed import BatchStats
from together_embed.errors import InvalidResponseError

FACTS = [
    "The heron waits for fish in shallow water.",
    "Granite forms when magma cools slowly below the ground.",
    "A sourdough starter needs flour, water and patience.",
    "Sailors steer by the pole star at night.",
]
QUESTIONS = {
    "What does the heron wait for?": 0,
    "How does granite form from magma?": 1,
    "What does a sourdough starter need?": 2,
    "Which star do sailors steer by?": 3,
}


def test_stores_that_ask_for_the_class_get_it():
    assert issubclass(TogetherEmbeddings, Embeddings)
    assert isinstance(TogetherEmbeddings(), Embeddings)


@pytest.mark.parametrize(("question", "place"), QUESTIONS.items())
async def test_a_vector_store_finds_the_passage(make, question, place):
    sync = InMemoryVectorStore.from_texts(FACTS, make())
    (found,) = sync.similarity_search(question, k=1)
    assert found.page_content == FACTS[place]
    other = await InMemoryVectorStore.afrom_texts(FACTS, make())
    (found,) = await other.asimilarity_search(question, k=1)
    assert found.page_content == FACTS[place]


def test_a_whole_corpus_handed_over_at_once_is_cut_into_requests(make, endpoint, texts):
    store = InMemoryVectorStore(make())
    store.add_documents([Document(page_content=text) for text in texts])
    assert endpoint.requests == 3
    (found,) = store.similarity_search(texts[123], k=1)
    assert found.page_content == texts[123]


async def test_a_retriever_runs_in_a_chain_over_threads_and_tasks(make):
    store = InMemoryVectorStore.from_texts(FACTS, make())
    chain = store.as_retriever(search_kwargs={"k": 1}) | RunnableLambda(
        lambda documents: FACTS.index(documents[0].page_content)
    )
    questions = [*QUESTIONS] * 4
    places = [*QUESTIONS.values()] * 4
    assert chain.batch(questions) == places
    assert await chain.abatch(questions) == places


def test_queries_mapped_over_threads_come_back_in_place(make, endpoint):
    ask = RunnableLambda(make().embed_query)
    assert ask.batch(FACTS) == [endpoint.embed(fact) for fact in FACTS]


def _cached(model: TogetherEmbeddings, store: InMemoryByteStore) -> Embeddings:
    cache = pytest.importorskip("langchain_classic.embeddings")
    return cache.CacheBackedEmbeddings.from_bytes_store(
        model, store, namespace=model.model, key_encoder="sha256"
    )


async def test_a_cache_asks_once_for_each_text_and_model(make, endpoint):
    store = InMemoryByteStore()
    right = [endpoint.embed(fact) for fact in FACTS]
    assert _cached(make(), store).embed_documents(FACTS) == right
    assert await _cached(make(), store).aembed_documents(FACTS) == right
    assert endpoint.requests == 1
    assert _cached(make(model="another"), store).embed_documents(FACTS) == right
    assert endpoint.requests == 2


async def test_a_cache_stores_nothing_of_an_answer_that_lacks_a_row(
    make, endpoint, embed
):
    store = InMemoryByteStore()
    endpoint.fail("short", times=None)
    with pytest.raises(InvalidResponseError):
        await embed(_cached(make(max_retries=0), store), FACTS)
    assert not list(store.yield_keys())


PREFIXES = {"query_prefix": "query: ", "document_prefix": "passage: "}


def _cache_of(model: TogetherEmbeddings, **options: Any) -> Any:
    cache = pytest.importorskip("langchain_classic.embeddings")
    options = {"namespace": model.namespace, "key_encoder": "sha256", **options}
    return cache.CacheBackedEmbeddings.from_bytes_store(
        model, options.pop("documents", InMemoryByteStore()), **options
    )


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    """Embed a query on either path."""

    async def asked(model: Embeddings, text: str) -> list[float]:
        if request.param == "sync":
            return model.embed_query(text)
        return await model.aembed_query(text)

    return asked


@pytest.mark.parametrize("apart", [False, True], ids=["one name", "one place"])
async def test_a_cache_that_mixes_up_queries_and_documents_is_warned_of(
    make, ask, apart
):
    store = InMemoryByteStore()
    kept = store if apart else True
    cached = _cache_of(make(**PREFIXES), documents=store, query_embedding_cache=kept)
    with pytest.warns(UserWarning, match="query_embedding_cache= a store") as seen:
        await ask(cached, "wind")
    assert [warning.filename for warning in seen] == [__file__]  # not ours, nor theirs


class _Stripping(TogetherEmbeddings):
    def embed_query(self, text: str) -> list[float]:
        return super().embed_query(text.strip())

    async def aembed_query(self, text: str) -> list[float]:
        return await super().aembed_query(text.strip())


async def test_the_cache_of_a_subclass_is_warned_of_too(endpoint, ask):
    model = _Stripping(base_url=endpoint.base_url, **PREFIXES)
    with pytest.warns(UserWarning, match="query_embedding_cache= a store"):
        await ask(_cache_of(model, query_embedding_cache=True), "wind ")


async def test_plain_stores_are_places_of_their_own(make, endpoint, ask):
    cache = pytest.importorskip("langchain_classic.embeddings").CacheBackedEmbeddings
    model, store = make(**PREFIXES), InMemoryStore()
    apart = cache(model, store, query_embedding_store=InMemoryStore())
    assert await ask(apart, "wind") == endpoint.embed("query: wind")
    with pytest.warns(UserWarning, match="query_embedding_cache= a store"):
        await ask(cache(model, store, query_embedding_store=store), "wind")


class _OwnCache(Embeddings):
    """A cache of documents that a user wrote, whose fields have LangChain's name."""

    def __init__(self, model: Embeddings) -> None:
        self.underlying_embeddings = model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.underlying_embeddings.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.underlying_embeddings.embed_query(text)


async def test_a_cache_that_keeps_no_queries_is_left_alone(make, endpoint, ask):
    for cached in (_cache_of(make(**PREFIXES)), _OwnCache(make(**PREFIXES))):
        assert await ask(cached, "wind") == endpoint.embed("query: wind")


async def test_a_cache_with_a_place_for_queries_keeps_both_apart(make, endpoint, ask):
    cached = _cache_of(make(**PREFIXES), query_embedding_cache=InMemoryByteStore())
    for _ in range(2):
        assert cached.embed_documents(["wind"]) == [endpoint.embed("passage: wind")]
        assert await ask(cached, "wind") == endpoint.embed("query: wind")
    assert endpoint.seen == {"passage: wind": 1, "query: wind": 1}


async def test_a_cache_whose_names_are_the_adapters_keeps_both_apart_in_one_place(
    make, endpoint, ask
):
    cache = pytest.importorskip("langchain_classic.embeddings").CacheBackedEmbeddings
    model, place = make(**PREFIXES), InMemoryByteStore()
    of_documents, of_queries = (
        _cache_of(model, documents=place, namespace=name).document_embedding_store
        for name in (model.namespace, model.query_namespace)
    )
    cached = cache(model, of_documents, query_embedding_store=of_queries)
    for _ in range(2):
        assert cached.embed_documents(["wind"]) == [endpoint.embed("passage: wind")]
        assert await ask(cached, "wind") == endpoint.embed("query: wind")
    assert len(list(place.yield_keys())) == endpoint.requests == 2


@pytest.mark.parametrize("cached", [False, True])
async def test_without_prefixes_one_place_for_both_is_right(
    make, endpoint, ask, cached
):
    model = _cache_of(make(), query_embedding_cache=cached)
    assert await ask(model, "wind") == endpoint.embed("wind")
    assert model.embed_documents(["wind"]) == [endpoint.embed("wind")]


async def test_the_cache_of_the_adapter_itself_keeps_both_apart(
    make, endpoint, ask, tmp_path
):
    for _ in range(2):
        model = make(**PREFIXES, cache=str(tmp_path / "vectors"))
        assert model.embed_documents(["wind"]) == [endpoint.embed("passage: wind")]
        assert await ask(model, "wind") == endpoint.embed("query: wind")
    assert set(endpoint.seen.values()) == {1}
    model.client.close()


def test_a_retriever_is_tagged_with_the_name_of_the_class(make):
    retriever = InMemoryVectorStore(make()).as_retriever()
    assert retriever.tags == ["InMemoryVectorStore", "TogetherEmbeddings"]


class Traces(BaseCallbackHandler):
    """Writes down the runs of a trace: their names, and how deep they lie."""

    def __init__(self) -> None:
        self.depths: dict[Any, int] = {}
        self.begun: list[tuple[str, int]] = []
        self.ended: list[int] = []

    def _begin(self, name: str, run_id: Any, parent_run_id: Any) -> None:
        self.depths[run_id] = self.depths.get(parent_run_id, -1) + 1
        self.begun.append((name, self.depths[run_id]))

    def on_chain_start(self, *_: Any, run_id: Any, **more: Any) -> None:
        self._begin(more.get("name") or "chain", run_id, more["parent_run_id"])

    def on_retriever_start(self, *_: Any, run_id: Any, **more: Any) -> None:
        self._begin("retriever", run_id, more["parent_run_id"])

    def on_chain_end(self, *_: Any, run_id: Any, **more: Any) -> None:
        self.ended.append(self.depths[run_id])

    on_retriever_end = on_chain_end


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_hook_leaves_a_trace_as_it_is_and_runs_within_it(
    make, endpoint, colour
):
    runs: list[Any] = []

    def note(batch: BatchStats) -> None:
        runs.append(var_child_runnable_config.get())

    async def traced(model: TogetherEmbeddings) -> Traces:
        traces = Traces()
        store = InMemoryVectorStore.from_texts(FACTS, model)
        chain = store.as_retriever() | RunnableLambda(len)
        config: Any = {"callbacks": [traces], "run_name": "mine"}
        if colour == "sync":
            assert chain.invoke("wind", config) == 4
        else:
            assert await chain.ainvoke("wind", config) == 4
        return traces

    plain, told = await traced(make()), await traced(make(on_batch=note))
    assert told.begun == plain.begun
    assert plain.begun[:2] == [("mine", 0), ("retriever", 1)]
    assert told.ended == plain.ended
    assert len(runs) == 2  # the texts, outside of any run; the query, within one
    assert not runs[0]
    if colour == "sync" or sys.version_info >= (3, 11):  # before, tasks take no context
        assert runs[1]["callbacks"].parent_run_id is not None


async def test_a_chain_goes_on_where_a_hook_fails(make):
    def broken(batch: BatchStats) -> None:
        raise KeyError("no such metric")

    store = InMemoryVectorStore.from_texts(FACTS, make())
    store.embedding = make(on_batch=broken)
    with pytest.warns(RuntimeWarning, match="on_batch raised KeyError"):
        (found,) = await store.as_retriever(search_kwargs={"k": 1}).ainvoke(
            next(iter(QUESTIONS))
        )
    assert found.page_content == FACTS[0]


async def test_the_last_call_can_be_read_off_the_model(make, endpoint, texts):
    model = make()
    assert model.last_stats is None
    InMemoryVectorStore.from_texts(texts, model)
    assert (model.last_stats.texts, model.last_stats.requests) == (250, 3)
    await model.aembed_query("wind")
    assert (model.last_stats.texts, model.last_stats.requests) == (1, 1)
    assert model.client.stats.requests == endpoint.requests
