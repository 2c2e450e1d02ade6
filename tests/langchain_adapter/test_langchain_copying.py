"""What is left of embeddings on paper, in a pickle and in a copy."""

import copy
import json
import pickle
import socket
import threading
from typing import Any

import pytest
from pydantic import BaseModel, PrivateAttr, ValidationError

from langchain_together_embed import TogetherEmbeddings
from together_embed.errors import AuthenticationError
from together_embed.local import LocalEndpoint

KEY = "canary-key-77aa"
HEADERS = {"authorization": f"Bearer {KEY}", "X-Team": "search", "X-Api-Key": KEY}


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        lambda model: repr(model.client),
        lambda model: repr(model.client.settings),
        lambda model: str(model.model_dump()),
        lambda model: model.model_dump_json(),
        lambda model: str(model.model_json_schema()),
        lambda model: str(pickle.dumps(model)),
        lambda model: str(pickle.dumps(model.client)),
        lambda model: str(vars(model)["together_api_key"]),
        lambda model: repr(model.model_copy(update={"api_key": KEY})),
    ],
)
def test_the_key_is_written_nowhere(shown):
    model = TogetherEmbeddings(api_key=KEY)
    assert KEY not in shown(model)


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        lambda model: str(model.model_dump()),
        lambda model: model.model_dump_json(),
        lambda model: str(pickle.dumps(model)),
    ],
)
def test_a_key_among_headers_or_parameters_is_written_nowhere(shown):
    secrets = {"default_headers": HEADERS, "default_query": {"api-key": KEY}}
    assert KEY not in shown(TogetherEmbeddings(**secrets))


def test_the_key_is_not_in_the_error_of_a_server_that_repeats_it(make, endpoint):
    endpoint.fail("echo")
    with pytest.raises(AuthenticationError) as raised:
        make(api_key=KEY).embed_query("a")
    assert KEY not in f"{raised.value!r} {raised.value} {vars(raised.value)}"


def test_a_dump_makes_the_same_embeddings_again():
    model = TogetherEmbeddings(
        api_key=KEY,
        default_headers={"X-Team": "search"},
        timeout=5,
        extra_body={"a": 1},
    )
    assert TogetherEmbeddings(**model.model_dump()) == model


def test_embeddings_from_json_read_the_key_from_the_environment(make, endpoint):
    model = make(api_key=KEY, timeout=(1, 2))
    again = TogetherEmbeddings.model_validate_json(model.model_dump_json())
    assert again.together_api_key is None
    assert again.request_timeout == (1, 2)
    assert again.embed_query("a") == endpoint.embed("a")
    assert endpoint.log[-1].bearer


def test_a_pickle_leaves_the_key_behind_and_finds_that_of_the_environment(
    make, monkeypatch
):
    model = make(api_key=KEY, chunk_size=7, default_headers=HEADERS)
    pickled = pickle.dumps(model)
    assert model.together_api_key.get_secret_value() == KEY  # the living one keeps it
    monkeypatch.setenv("TOGETHER_API_KEY", "rotated")
    again = pickle.loads(pickled)
    assert again.together_api_key.get_secret_value() == "rotated"
    assert again.client.settings.key.reveal() == "rotated"
    assert again.chunk_size == 7
    assert again.default_headers == {"X-Team": "search"}


def test_a_pickle_may_wait_for_its_key(make, monkeypatch, endpoint):
    monkeypatch.delenv("TOGETHER_API_KEY")
    again = pickle.loads(pickle.dumps(make(api_key=KEY)))
    assert again.together_api_key is None
    monkeypatch.setenv("TOGETHER_API_KEY", "late")
    again.embed_query("a")
    assert endpoint.log[-1].bearer


def test_to_unpickle_opens_no_connection(make, monkeypatch):
    pickled = pickle.dumps(make())

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert pickle.loads(pickled).client.settings.model


class _Prefixed(TogetherEmbeddings):
    prefix: str = "passage: "
    _calls: int = PrivateAttr(default=0)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._calls += 1
        return super().embed_documents([self.prefix + text for text in texts])


def test_a_subclass_with_parts_of_its_own_can_be_pickled(make, endpoint):
    model = _Prefixed(base_url=endpoint.base_url, prefix="query: ")
    model.embed_documents(["a"])
    again = pickle.loads(pickle.dumps(model))
    assert again.embed_documents(["a"]) == [endpoint.embed("query: a")]
    assert again._calls == 2


def test_models_are_equal_where_their_fields_are(make):
    model, used = make(), make()
    used.embed_query("a")
    again = pickle.loads(pickle.dumps(used))
    changed = make()
    changed.model = "n"
    assert changed.client.settings.model == "n"
    assert changed != model
    changed.model = model.model
    assert model == used == again == changed


class _Holder:
    """A source of keys that, like many, cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self) -> str:
        with self.lock:
            return KEY


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        TogetherEmbeddings.model_copy,
        lambda model: model.model_copy(deep=True),
        lambda model: copy.deepcopy([model])[0],
    ],
)
@pytest.mark.parametrize("source", [KEY, _Holder()], ids=["string", "function"])
def test_a_copy_keeps_the_key_and_works(copied, source):
    with LocalEndpoint(dimension=4, api_key=KEY) as strict:
        model = TogetherEmbeddings(base_url=strict.base_url, api_key=source)
        model.embed_query("a")
        twin = copied(model)
        assert twin == model
        assert twin.embed_query("b") == strict.embed("b")
        assert model.embed_query("c") == strict.embed("c")


def test_a_deep_copy_shares_the_functions_of_the_user():
    holder, counts = _Holder(), _Holder()
    limit: Any = {"on_long_input": "error", "max_input_tokens": 8}
    model = TogetherEmbeddings(on_batch=holder, count_tokens=counts, **limit)
    twin = copy.deepcopy(model)
    assert twin.on_batch is holder
    assert twin.count_tokens is counts


def test_a_pickle_leaves_the_hook_behind(make, endpoint):
    seen: list[Any] = []
    model = make(on_batch=lambda batch: seen.append(batch))
    again = pickle.loads(pickle.dumps(model))
    assert again.on_batch is None
    assert again.embed_query("a") == endpoint.embed("a")
    assert not seen


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: model.model_copy(deep=True)]
)
def test_a_deep_copy_goes_its_own_way(copied):
    model = TogetherEmbeddings(model_kwargs={"user": "u"})
    assert model.model_copy().model_kwargs is model.model_kwargs  # one that is not deep
    twin = copied(model)
    twin.model_kwargs["user"] = "v"
    assert model.model_kwargs == {"user": "u"}
    assert twin != model


def test_a_copy_with_changes_means_them_by_either_name():
    model = TogetherEmbeddings(model="m")
    twin = model.model_copy(
        update={"timeout": 3, "model": "n", "together_api_key": KEY}
    )
    assert twin.request_timeout == 3
    assert twin.client.settings.model == "n"
    assert twin.client.settings.key.reveal() == KEY
    assert model.model == "m"
    with pytest.raises(ValidationError):
        model.model_copy(update={"no_such_field": 1})


def test_embeddings_can_be_a_field_of_another_model():
    class Chain(BaseModel):
        embeddings: TogetherEmbeddings

    model = TogetherEmbeddings(model="m", api_key=KEY)
    assert Chain(embeddings=model).embeddings is model
    nested = Chain.model_validate({"embeddings": {"model": "m", "api_key": KEY}})
    assert nested.embeddings == model
    assert KEY not in json.dumps(nested.model_dump(mode="json"))
