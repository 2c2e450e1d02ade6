"""What is left of an embedding model on paper, in a pickle and in a copy."""

import copy
import json
import logging
import pickle
import threading
from typing import Any

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from pydantic import PrivateAttr

from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import AuthenticationError
from together_embed.local import LocalEndpoint

KEY = "canary-key-77aa"
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "X-Gateway": "canary-header",
    "X-Api-Key": KEY,
}
NODES = [TextNode(text="wind and water")]


def hashed(**settings) -> str:
    settings = {"model_name": "m", "api_base": "http://h.local", **settings}
    return get_transformation_hash(NODES, TogetherEmbedding(**settings))


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        lambda model: repr(model.client),
        lambda model: str(model.model_dump()),
        lambda model: model.model_dump_json(),
        lambda model: str(model.to_dict()),
        lambda model: model.to_json(),
        lambda model: str(model.to_payload()),
        lambda model: str(pickle.dumps(model)),
        lambda model: str(vars(model)["api_key"]),
    ],
)
def test_the_key_is_written_nowhere(shown):
    secrets = {"default_headers": HEADERS, "default_query": {"api-key": KEY}}
    model = TogetherEmbedding("m", KEY, **secrets)
    assert KEY not in shown(model)


@pytest.mark.parametrize("dump", [repr, lambda model: model.to_json()])
def test_neither_printing_nor_dumping_shows_a_header(dump):
    model = TogetherEmbedding(
        "m", default_headers=HEADERS, default_query={"k": "canary-query"}
    )
    assert "canary-" not in dump(model)


def test_a_model_dumps_to_json_whatever_objects_it_holds():
    from llama_index.core.storage.kvstore import SimpleKVStore

    model = TogetherEmbedding(
        "m", lambda: KEY, embeddings_cache=SimpleKVStore(), rate_limiter=object()
    )
    assert json.loads(model.to_json())["model_name"] == "m"


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": "another"},
        {"embed_batch_size": 7},
        {"num_workers": 3},
        {"timeout": 5.0},
        {"max_retries": 1},
        {"max_concurrency": 2},
        {"deadline": 100.0},
        {"default_headers": {"a": "b"}},
        {"encoding_format": "float"},
        {"api_base": "http://h.local/v1/"},
    ],
)
def test_a_pipeline_embeds_nothing_anew_when_only_the_way_there_changed(change):
    assert hashed(**change) == hashed()


@pytest.mark.parametrize(
    "change",
    [
        {"model_name": "n"},
        {"dimensions": 8},
        {"api_base": "http://other.local"},
        {"extra_body": {"truncate": True}},
        {"document_prefix": "passage: "},
        {"query_prefix": "query: "},
    ],
)
def test_a_pipeline_embeds_anew_when_the_vectors_are_others(change):
    assert hashed(**change) != hashed()


def test_a_pipeline_embeds_anew_when_a_models_instructions_are_asked_for():
    model = {"model_name": "BAAI/bge-base-en-v1.5"}
    assert hashed(**model, instructions="auto") != hashed(**model)


def test_a_dump_is_read_back_with_the_key_of_the_environment(endpoint, make, texts):
    model = make(dimensions=None, extra_body={})
    again = TogetherEmbedding.from_dict(model.to_dict())
    assert again.to_dict() == model.to_dict()
    assert TogetherEmbedding.from_json(model.to_json()).to_dict() == model.to_dict()
    assert TogetherEmbedding(**model.to_dict()).to_dict() == model.to_dict()
    assert again.get_text_embedding(texts[0]) == endpoint.embed(texts[0])
    assert endpoint.log[-1].bearer


def test_a_pickle_keeps_all_but_the_key(make):
    model = make(
        api_key=KEY,
        embed_batch_size=7,
        timeout=(1.0, 2.0),
        deadline=30.0,
        max_retries=3,
        max_concurrency=5,
        num_workers=2,
        encoding_format="float",
        default_headers=HEADERS,
        default_query={"a": "b"},
        dimensions=8,
        extra_body={"truncate": True},
        allow_insecure_http=True,
    )
    again = pickle.loads(pickle.dumps(model))
    for name in type(model).model_fields:
        if name not in ("api_key", "callback_manager", "default_headers"):
            assert getattr(again, name) == getattr(model, name), name
    assert again.api_key is None
    assert again.default_headers == {"X-Gateway": "canary-header"}
    assert again.client.settings.batch_size == 7


def test_pickling_takes_nothing_from_the_living_object(endpoint, make, caplog):
    limiter = Unpicklable()
    manager = CallbackManager([])
    manager.lock = threading.Lock()
    model = make(api_key=lambda: KEY, rate_limiter=limiter, callback_manager=manager)
    with caplog.at_level(logging.WARNING):
        again = pickle.loads(pickle.dumps(model))
    assert "rate_limiter cannot be pickled" in caplog.text
    assert again.rate_limiter is None
    assert isinstance(again.callback_manager, CallbackManager)
    assert model.rate_limiter is limiter
    assert model.callback_manager is manager
    assert model.get_query_embedding("wind") == endpoint.embed("wind")


class Unpicklable:
    """A limiter as they all are: it has a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def acquire(self, num_tokens: int = 0) -> None:
        """Let everything pass."""


def test_unpickling_asks_nobody_and_needs_no_key(endpoint, make, monkeypatch):
    model = make()
    pickled = pickle.dumps(model)
    monkeypatch.delenv("TOGETHER_API_KEY")
    again = pickle.loads(pickled)
    assert (endpoint.connections, endpoint.requests) == (0, 0)
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert again.get_query_embedding("wind") == endpoint.embed("wind")


class Named(TogetherEmbedding):
    """One that knows its own model, and a field for its own."""

    prefix: str

    def __init__(self, **settings) -> None:
        super().__init__("m", **settings)


class OfTenant(TogetherEmbedding):
    """One with an argument that is no field, and a lock."""

    _tenant: str = PrivateAttr(default="")
    _lock: Any = PrivateAttr()

    def __init__(self, *placed, tenant: str = "", **settings) -> None:
        super().__init__(*placed, **settings)
        self._tenant = tenant
        self._lock = threading.Lock()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        with self._lock:
            return super()._get_text_embeddings([self._tenant + t for t in texts])


class Demanding(TogetherEmbedding):
    """One whose constructor does not take what it has."""

    _tenant: str = PrivateAttr()

    def __init__(self, tenant: str, address: str) -> None:
        super().__init__("m", api_base=address)
        self._tenant = tenant

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return super()._get_text_embeddings([self._tenant + t for t in texts])


@pytest.mark.parametrize(
    ("made", "prefix"),
    [
        (lambda address: Named(api_base=address, prefix="p", timeout=7.0), ""),
        (lambda address: OfTenant("m", api_base=address, tenant="us: "), "us: "),
        (lambda address: Demanding("us: ", address), "us: "),
    ],
    ids=["Named", "OfTenant", "Demanding"],
)
def test_a_subclass_is_pickled_whatever_its_constructor_takes(endpoint, made, prefix):
    # A pool's worker that cannot unpickle its task dies, and the pool waits for ever.
    model = made(endpoint.base_url)
    again = pickle.loads(pickle.dumps(model))
    right = [endpoint.embed(f"{prefix}wind")]
    assert model.get_text_embedding_batch(["wind"]) == right
    assert again.get_text_embedding_batch(["wind"]) == right
    assert again.timeout == model.timeout
    assert again.api_key is None


def test_models_are_equal_where_their_fields_are(make):
    manager = CallbackManager([])
    model, used = make(callback_manager=manager), make(callback_manager=manager)
    used.get_query_embedding("wind")
    assert model == used == used.model_copy()
    assert model != make(callback_manager=manager, model_name="n")


def test_a_model_that_was_constructed_without_checks_has_the_defaults(endpoint):
    given = {"api_base": endpoint.base_url, "callback_manager": CallbackManager([])}
    model = TogetherEmbedding.model_construct(model_name="m", **given)
    assert model.get_query_embedding("wind") == endpoint.embed("wind")
    assert model == TogetherEmbedding("m", **given)


def test_the_errors_survive_a_pickle():
    with LocalEndpoint(api_key="another") as endpoint:
        model = TogetherEmbedding("m", KEY, endpoint.base_url)
        with pytest.raises(AuthenticationError) as caught:
            model.get_text_embedding_batch(["wind", "water"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (AuthenticationError, str(caught.value))
    assert again.indices == (0, 1)
    assert KEY not in str(again)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, BaseEmbedding.model_copy])
def test_a_copy_in_this_process_keeps_the_key(copied):
    with LocalEndpoint(api_key=KEY) as endpoint:
        model = TogetherEmbedding("m", KEY, endpoint.base_url)
        model.get_query_embedding("wind")
        assert copied(model).get_query_embedding("wind") == endpoint.embed("wind")


def test_a_deep_copy_keeps_to_the_same_limiter_and_callbacks(make):
    model = make(rate_limiter=Unpicklable(), callback_manager=CallbackManager([]))
    twin = copy.deepcopy(model)
    assert twin.rate_limiter is model.rate_limiter
    assert twin.callback_manager is model.callback_manager
    twin.extra_body["truncate"] = True
    assert model.extra_body == {}


def test_a_copy_for_another_model_asks_for_the_other_model(make):
    with LocalEndpoint(models=["n"]) as endpoint:
        model = make(api_base=endpoint.base_url)
        other = model.model_copy(update={"model_name": "n"})
        assert other.get_query_embedding("wind") == endpoint.embed("wind")
