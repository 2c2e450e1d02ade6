"""LangChain's own components, filled and queried through these embeddings."""

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_together_embed import TogetherEmbeddings
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
