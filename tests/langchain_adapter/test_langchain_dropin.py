"""A user of langchain-together changes the import, and nothing else.

Also what a user of langchain-openai with a `base_url` writes: each argument means what
it meant, or says why it cannot.
"""

from types import MappingProxyType
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from langchain_together_embed import TogetherEmbeddings
from together_embed.errors import (
    AuthenticationError,
    ConfigurationError,
    InputError,
)
from together_embed.local import LocalEndpoint

KEY = "canary-key-6b1f"


def settings_of(**given: Any) -> Any:
    return TogetherEmbeddings(**given).client.settings


def test_a_key_in_the_environment_is_all_that_is_needed():
    model = TogetherEmbeddings()
    assert model.model == "intfloat/multilingual-e5-large-instruct"
    assert isinstance(model.together_api_key, SecretStr)
    assert model.together_api_key.get_secret_value() == KEY
    assert model.together_api_base == "https://api.together.ai/v1"


@pytest.mark.parametrize("name", ["api_key", "together_api_key", "openai_api_key"])
@pytest.mark.parametrize("key", ["another", SecretStr("another")])
def test_a_key_can_be_passed_by_each_of_its_names(name, key):
    model = TogetherEmbeddings(**{name: key})
    assert model.together_api_key == SecretStr("another")
    assert model.client.settings.key.reveal() == "another"


@pytest.mark.parametrize("name", ["base_url", "together_api_base", "openai_api_base"])
def test_a_base_url_is_kept_as_it_was_written(name):
    model = TogetherEmbeddings(**{name: "http://127.0.0.1:9/v1//"})
    assert model.together_api_base == "http://127.0.0.1:9/v1//"
    assert model.client.settings.base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("name", ["timeout", "request_timeout"])
@pytest.mark.parametrize(
    ("given", "connect", "read"),
    [
        (7, 7, 7),
        (2.5, 2.5, 2.5),
        ((3.0, 30.0), 3.0, 30.0),
        (None, None, None),
        (httpx.Timeout(9.0), 9.0, 9.0),
        (httpx.Timeout(60.0, connect=5.0), 5.0, 60.0),
        (httpx.Timeout(None), None, None),
        ((5.0, 60.0, 60.0, 60.0), 5.0, 60.0),
    ],
)
def test_a_timeout_is_taken_in_every_form(name, given, connect, read):
    settings = settings_of(**{name: given})
    assert (settings.connect_seconds, settings.read_seconds) == (connect, read)


@pytest.mark.parametrize(
    "given",
    [
        "soon",
        (1.0, 2.0, 3.0),
        httpx.Timeout(60.0, write=1.0),
        httpx.Timeout(60.0, pool=1.0),
    ],
)
def test_a_timeout_that_cannot_be_kept_is_refused(given):
    with pytest.raises(ValueError, match="timeout"):
        TogetherEmbeddings(timeout=given)


@pytest.mark.parametrize(
    ("argument", "setting", "value"),
    [
        ("model", "model", "another"),
        ("chunk_size", "batch_size", 7),
        ("max_retries", "max_retries", 0),
        ("dimensions", "dimensions", 64),
        ("default_headers", "headers", {"X-Team": "search"}),
        ("default_query", "query", {"version": "2"}),
        ("extra_body", "extra_body", {"truncate": True}),
        ("model_kwargs", "extra_body", {"user": "u"}),
        ("deadline", "deadline", 5.0),
        ("max_concurrency", "max_concurrency", 3),
        ("encoding_format", "encoding_format", "float"),
        ("allow_insecure_http", "allow_insecure_http", True),
    ],
)
def test_an_argument_reaches_the_client(argument, setting, value):
    model = TogetherEmbeddings(**{argument: value})
    assert getattr(model, argument) == value
    assert getattr(model.client.settings, setting) == value


def test_numbers_and_truth_values_of_a_query_are_spelled_out():
    given = {"n": 2, "beta": True, "name": "X"}
    assert settings_of(default_query=given).query == {
        "n": "2",
        "beta": "true",
        "name": "X",
    }


def test_extra_body_wins_over_model_kwargs():
    settings = settings_of(model_kwargs={"a": 1, "b": 1}, extra_body={"b": 2})
    assert settings.extra_body == {"a": 1, "b": 2}


async def test_an_unknown_keyword_warns_and_goes_into_every_request(
    make, embed, endpoint
):
    with pytest.warns(UserWarning, match="purpose is not default parameter"):
        model = make(purpose="search")
    assert model.model_kwargs == {"purpose": "search"}
    await embed(model, ["a"])
    assert "purpose" in endpoint.log[-1].fields


def test_the_warning_of_a_keyword_names_the_line_where_it_was_written():
    with pytest.warns(UserWarning, match="purpose") as seen:
        TogetherEmbeddings(purpose="search")
    assert seen[0].filename == __file__


def test_a_keyword_joins_model_kwargs_whose_mapping_stays_the_users_own():
    own = {"user": "u"}
    with pytest.warns(UserWarning, match="purpose"):
        model = TogetherEmbeddings(model_kwargs=own, purpose="search")
    assert model.model_kwargs == {"user": "u", "purpose": "search"}
    assert own == {"user": "u"}
    assert TogetherEmbeddings(model_kwargs=MappingProxyType(own)).model_kwargs == own


@pytest.mark.parametrize(
    ("held", "parameter"),
    [
        ({"model": "m"}, "model="),
        ({"api_key": "k"}, "together_api_key="),
        ({"openai_api_base": "http://h.local"}, "together_api_base="),
        ({"chunk_size": 1}, "chunk_size="),
        ({"extra_headers": {}}, "default_headers="),
        ({"extra_query": {}}, "default_query="),
        ({"extra_body": {}}, "extra_body="),
        ({"timeout": 5}, "request_timeout="),
        ({"http_client": object()}, "http_client is not taken"),
    ],
)
def test_model_kwargs_may_not_hold_what_has_a_parameter(held, parameter):
    with pytest.raises(ValueError, match=parameter):
        TogetherEmbeddings(model_kwargs=held)


@pytest.mark.parametrize("wrong", ["user=u", [("user", "u")], 5])
def test_model_kwargs_that_are_no_mapping_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=r"model_kwargs is a .*not a mapping"):
        TogetherEmbeddings(model_kwargs=wrong)


def test_a_keyword_given_twice_is_refused():
    with pytest.raises(ValueError, match="supplied twice"):
        TogetherEmbeddings(purpose="a", model_kwargs={"purpose": "b"})
    here, there = (
        {"base_url": "http://a.local"},
        {"together_api_base": "http://b.local"},
    )
    for given in ({**here, **there}, {**there, **here}):
        words = " and ".join(given)
        with pytest.raises(ValueError, match=f"^{words} are one setting"):
            TogetherEmbeddings(**given)


def test_an_encoding_in_model_kwargs_is_what_is_asked_for(make, endpoint):
    make(model_kwargs={"encoding_format": "float"}).embed_query("a")
    assert endpoint.log[-1].fields.count("encoding_format") == 1
    assert endpoint.requests == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_size": 0},
        {"max_retries": -1},
        {"max_concurrency": 0},
        {"dimensions": 0},
        {"deadline": 0},
        {"timeout": -1},
        {"encoding_format": "hex"},
        {"base_url": "somewhere"},
        {"base_url": f"https://user:{KEY}@h.local"},
        {"api_key": f"{KEY} {KEY}"},
        {"model": ""},
        {"default_query": {"a": [KEY]}},
        {"default_headers": {"Authorization": [KEY]}},
        {"api_key": 5, "default_headers": {"Authorization": KEY}},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_a_setting_that_cannot_work_is_a_value_error_that_hides_the_key(wrong):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        TogetherEmbeddings(**wrong)
    assert KEY not in f"{raised.value!r} {raised.value}"


def test_a_key_is_asked_for_at_each_request_where_a_function_tells_it(make):
    keys = ["old"]
    with LocalEndpoint(dimension=4, api_key="new") as strict:
        model = make(base_url=strict.base_url, api_key=lambda: keys[-1])
        with pytest.raises(AuthenticationError):
            model.embed_query("a")
        keys.append("new")
        assert len(model.embed_query("a")) == 4


async def _later() -> str:
    return KEY


class _Later:
    async def __call__(self) -> str:
        return KEY


@pytest.mark.parametrize("source", [_later, _Later()])
def test_a_key_that_only_a_coroutine_can_tell_is_refused(source):
    with pytest.raises(ValueError, match="async function"):
        TogetherEmbeddings(api_key=source)


def test_the_variable_of_langchain_together_comes_first(monkeypatch):
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://second.local")
    assert TogetherEmbeddings().together_api_base == "http://second.local"
    monkeypatch.setenv("TOGETHER_API_BASE", "http://first.local/v1/")
    assert TogetherEmbeddings().together_api_base == "http://first.local/v1/"


async def test_another_vendors_key_is_never_sent(monkeypatch, make, embed):
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-vendor")
    with LocalEndpoint(dimension=4, require_key=False) as open_to_all:
        await embed(make(base_url=open_to_all.base_url), ["a"])
        assert not open_to_all.log[-1].bearer
    with pytest.raises(ConfigurationError, match="TOGETHER_API_KEY"):
        await embed(TogetherEmbeddings(), ["a"])


async def test_an_empty_text_is_an_error_and_nothing_is_sent(make, endpoint, embed):
    with pytest.raises(InputError) as raised:
        await embed(make(), ["a", " \n", "b"])
    assert raised.value.indices == (1,)
    assert endpoint.requests == 0


async def test_an_empty_list_needs_no_request_and_no_key(monkeypatch, embed):
    monkeypatch.delenv("TOGETHER_API_KEY")
    assert await embed(TogetherEmbeddings(), []) == []


@pytest.mark.parametrize(
    ("texts", "words"), [("bare", "bare str"), (["a", 5], r"texts\[1\] is a int")]
)
async def test_what_is_no_list_of_texts_is_a_type_error(make, embed, texts, words):
    with pytest.raises(TypeError, match=words):
        await embed(make(), texts)


def test_an_assigned_field_takes_effect(make, endpoint, texts):
    model = make()
    model.embed_documents(texts)
    assert endpoint.requests == 3
    model.chunk_size = 125
    model.embed_documents(texts)
    assert endpoint.requests == 5
    model.model_kwargs["user"] = "u"
    assert model.client.settings.extra_body == {"user": "u"}
    model.extra_body = {"options": {"cut": False}}
    assert model.client.settings.extra_body["options"] == {"cut": False}
    model.extra_body["options"]["cut"] = True
    assert model.client.settings.extra_body["options"] == {"cut": True}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_size", 0),
        ("request_timeout", "x"),
        ("api_key", "k"),
        ("chunk_size", "many"),
    ],
)
def test_an_assignment_that_cannot_take_effect_is_refused(make, name, value):
    model = make()
    before = model.model_dump()
    with pytest.raises(ValidationError):
        setattr(model, name, value)
    assert model.model_dump() == before
