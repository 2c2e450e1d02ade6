"""What is known is not asked again, and a limiter is asked once a request."""

import asyncio
from collections.abc import Callable
from time import sleep
from typing import Any

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index_together_embed import TogetherEmbedding
from together_embed.local import LocalEndpoint

limiters = pytest.importorskip("llama_index.core.rate_limiter")


def sync(model: TogetherEmbedding, texts: list[str]) -> list[list[float]]:
    return model.get_text_embedding_batch(texts)


def asynchronous(model: TogetherEmbedding, texts: list[str]) -> list[list[float]]:
    return asyncio.run(model.aget_text_embedding_batch(texts))


both = pytest.mark.parametrize("embed", [sync, asynchronous])
each = pytest.mark.parametrize(
    "kind",
    [limiters.TokenBucketRateLimiter, limiters.SlidingWindowRateLimiter],
)


def counting(kind: Callable[..., Any], **settings: Any) -> tuple[Any, list[int]]:
    """Make a limiter of LlamaIndex's that also writes down what it was asked for."""
    asked: list[int] = []

    class Counting(kind):  # type: ignore[misc, valid-type]
        def acquire(self, num_tokens: int = 0) -> None:
            asked.append(num_tokens)
            super().acquire(num_tokens)

        async def async_acquire(self, num_tokens: int = 0) -> None:
            asked.append(num_tokens)
            await super().async_acquire(num_tokens)

    return Counting(**settings), asked


@both
def test_what_is_in_the_cache_is_not_asked_again(make, endpoint, texts, vectors, embed):
    model = make(embeddings_cache=SimpleKVStore(), embed_batch_size=100)
    assert embed(model, texts[:150]) == vectors[:150]
    assert embed(model, texts) == vectors
    assert embed(model, texts) == vectors
    assert sorted(entry.texts for entry in endpoint.log) == [50, 50, 50, 100]


@both
def test_all_known_needs_no_key(make, monkeypatch, texts, vectors, embed):
    model = make(embeddings_cache=SimpleKVStore())
    embed(model, texts)
    monkeypatch.delenv("TOGETHER_API_KEY")
    assert embed(model, texts) == vectors


@both
def test_hits_and_misses_are_mixed_in_order(make, endpoint, texts, vectors, embed):
    model = make(embeddings_cache=SimpleKVStore(), embed_batch_size=10)
    embed(model, texts[::3])
    assert embed(model, texts) == vectors
    assert set(endpoint.seen.values()) == {1}


def test_single_texts_and_queries_are_cached_too(make, endpoint):
    model = make(embeddings_cache=SimpleKVStore())
    for _ in range(2):
        model.get_query_embedding("wind")
        model.get_text_embedding("water")
        asyncio.run(model.aget_query_embedding("wind"))
        asyncio.run(model.aget_text_embedding("water"))
        model.get_text_embedding_batch(["water"])
    assert endpoint.requests == 2


def test_two_models_share_a_cache_without_getting_each_others_vectors(make):
    cache = SimpleKVStore()
    with LocalEndpoint(dimension=8) as narrow, LocalEndpoint(dimension=16) as wide:
        one = make(api_base=narrow.base_url, embeddings_cache=cache)
        other = make(api_base=wide.base_url, embeddings_cache=cache)
        third = make(api_base=wide.base_url, model_name="n", embeddings_cache=cache)
        assert len(one.get_text_embedding("wind")) == 8
        assert len(other.get_text_embedding("wind")) == 16
        third.get_text_embedding("wind")
        assert (narrow.requests, wide.requests) == (1, 2)


def test_models_that_cut_long_texts_elsewhere_share_no_vector(make, endpoint):
    def words(text: str) -> int:
        return len(text.split())

    def letters(text: str) -> int:
        return len(text)

    cutting = {"on_long_input": "truncate", "max_input_tokens": 9}
    cache = SimpleKVStore()
    for count in (words, letters, words):
        model = make(embeddings_cache=cache, count_tokens=count, **cutting)
        model.get_text_embedding("wind")
    assert endpoint.requests == 2


class Prefixed(TogetherEmbedding):
    """A model with what its vectors depend on in fields of its own."""

    prefix: str = ""
    words: Any = None

    def _get_text_embedding(self, text: str) -> list[float]:
        return super()._get_text_embedding(f"{self.prefix}{text}")


def test_subclasses_whose_own_fields_differ_share_no_vector(endpoint):
    cache = SimpleKVStore()
    for prefix in ("passage: ", "title: ", "passage: "):
        model = Prefixed(
            "m",
            api_base=endpoint.base_url,
            embeddings_cache=cache,
            prefix=prefix,
            words={"no json"},
        )
        row = endpoint.embed(f"{prefix}wind")
        assert model.get_text_embedding("wind") == row
    assert endpoint.requests == 2


def test_the_order_of_further_fields_makes_no_other_vector(make, endpoint):
    cache = SimpleKVStore()
    for fields in ({"user": "u", "seed": 1}, {"seed": 1, "user": "u"}):
        make(embeddings_cache=cache, extra_body=fields).get_text_embedding("wind")
    assert endpoint.requests == 1


def test_a_query_does_not_get_the_documents_vector_from_the_cache(make, endpoint):
    model = make(embeddings_cache=SimpleKVStore())
    model.get_text_embedding("wind")
    model.get_query_embedding("wind")
    assert endpoint.requests == 2


def test_a_cache_that_was_saved_still_holds_under_another_key(
    make, endpoint, texts, vectors, tmp_path
):
    cache = SimpleKVStore()
    make(api_key="old", embeddings_cache=cache).get_text_embedding_batch(texts)
    cache.persist(str(tmp_path / "cache.json"))
    asked = endpoint.requests
    again = SimpleKVStore.from_persist_path(str(tmp_path / "cache.json"))
    model = make(api_key="new", embeddings_cache=again, embed_batch_size=7)
    assert model.get_text_embedding_batch(texts) == vectors
    assert endpoint.requests == asked


def test_what_is_no_store_is_refused_as_a_cache(make):
    with pytest.raises(TypeError, match="BaseKVStore"):
        make(embeddings_cache={})


@both
@each
def test_the_limiter_is_asked_once_a_request(make, endpoint, texts, embed, kind):
    limiter, asked = counting(kind, requests_per_minute=1000)
    embed(make(rate_limiter=limiter, embed_batch_size=10), texts)
    assert len(asked) == endpoint.requests == 25


@both
@each
def test_the_limiter_is_asked_with_a_cache_too_and_for_misses_alone(
    make, endpoint, texts, embed, kind
):
    limiter, asked = counting(kind, requests_per_minute=1000)
    model = make(
        rate_limiter=limiter, embeddings_cache=SimpleKVStore(), embed_batch_size=10
    )
    embed(model, texts[:100])
    assert len(asked) == endpoint.requests == 10
    embed(model, texts)
    assert len(asked) == endpoint.requests == 25


@each
def test_the_limiter_is_asked_for_single_texts(make, kind):
    limiter, asked = counting(kind, requests_per_minute=1000)
    model = make(rate_limiter=limiter)
    model.get_query_embedding("wind")
    model.get_text_embedding("wind")
    asyncio.run(model.aget_query_embedding("wind"))
    asyncio.run(model.aget_text_embedding("wind"))
    assert len(asked) == 4


@both
@each
def test_a_limiter_on_tokens_is_told_an_estimate(make, embed, kind):
    limiter, asked = counting(kind, tokens_per_minute=100_000)
    embed(make(rate_limiter=limiter, embed_batch_size=2), ["a" * 400, "b" * 40, "cd"])
    assert asked == [110, 1]


@both
@each
def test_a_request_over_the_limit_on_tokens_goes_out_in_the_end(make, embed, kind):
    limiter, asked = counting(kind, tokens_per_minute=50)
    assert len(embed(make(rate_limiter=limiter), ["a" * 4000])) == 1
    assert asked == [50]


@both
def test_an_exhausted_limiter_holds_requests_back(make, endpoint, texts, embed):
    class Exhausted(limiters.BaseRateLimiter):  # type: ignore[misc, name-defined]
        left = 3

        def acquire(self, num_tokens: int = 0) -> None:
            asyncio.run(self.async_acquire(num_tokens))

        async def async_acquire(self, num_tokens: int = 0) -> None:
            self.left -= 1
            if self.left < 0:
                while endpoint.requests < 3:
                    await asyncio.sleep(0.005)
                raise TimeoutError("no permit")

    model = make(rate_limiter=Exhausted(), embed_batch_size=10)
    with pytest.raises(TimeoutError, match="no permit"):
        embed(model, texts)
    assert endpoint.requests == 3


@both
def test_a_limiter_that_waits_longer_than_a_request_may_take_costs_no_request(
    make, endpoint, embed
):
    class Slow(limiters.BaseRateLimiter):  # type: ignore[misc, name-defined]
        def acquire(self, num_tokens: int = 0) -> None:
            sleep(0.4)

        async def async_acquire(self, num_tokens: int = 0) -> None:
            await asyncio.sleep(0.4)

    model = make(rate_limiter=Slow(), timeout=0.3, embed_batch_size=1)
    assert len(embed(model, ["wind", "water", "bread"])) == 3
    assert endpoint.requests == 3
