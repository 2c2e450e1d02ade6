"""What users write to make a `TogetherEmbedding`, and what they get."""

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import resolve_embed_model
from pydantic import SecretStr

from llama_index_together_embed import TogetherEmbedding
from together_embed.errors import AuthenticationError, ConfigurationError
from together_embed.local import LocalEndpoint

HOST = "http://127.0.0.1:9/v1"


def test_it_is_an_embed_model_of_llama_index(make):
    model = make()
    assert isinstance(model, BaseEmbedding)
    manager = CallbackManager([])
    assert resolve_embed_model(model, callback_manager=manager) is model
    assert model.callback_manager is manager


def test_the_class_has_a_name_of_its_own():
    assert TogetherEmbedding.class_name() == "TogetherEmbedding"


def test_the_present_package_takes_the_same_three_arguments_by_place():
    model = TogetherEmbedding("m", "key", HOST)
    assert (model.model_name, model.api_base) == ("m", HOST)


def test_a_batch_holds_100_texts_unless_told():
    assert TogetherEmbedding("m").embed_batch_size == 100


def test_openai_users_write_model_for_the_name():
    assert TogetherEmbedding(model="m").model_name == "m"


def test_base_url_is_another_word_for_api_base():
    assert TogetherEmbedding("m", base_url=HOST).api_base == HOST


@pytest.mark.parametrize(
    "given",
    ["http://h.local", "http://h.local/", "http://h.local/v1/", "http://h.local/v1/v1"],
)
def test_one_server_has_one_address_however_it_is_written(given):
    assert TogetherEmbedding("m", api_base=given).api_base == "http://h.local/v1"


@pytest.mark.parametrize("variable", ["TOGETHER_BASE_URL", "TOGETHER_API_BASE"])
def test_the_server_is_read_from_the_environment(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://h.local")
    assert TogetherEmbedding("m").api_base == "http://h.local/v1"
    assert TogetherEmbedding("m", api_base=None).api_base == "http://h.local/v1"


def test_without_a_word_about_the_server_it_is_togethers():
    assert TogetherEmbedding("m").api_base == "https://api.together.ai/v1"


def test_a_model_must_be_named():
    with pytest.raises(TypeError, match="model_name is missing"):
        TogetherEmbedding()


def test_two_spellings_that_contradict_each_other_are_refused():
    with pytest.raises(TypeError, match="model_name and model"):
        TogetherEmbedding("m", model="n")
    with pytest.raises(TypeError, match="api_base and base_url"):
        TogetherEmbedding("m", api_base=HOST, base_url="http://h.local")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("embed_batchsize", "embed_batch_size"),
        ("max_retry", "max_retries"),
        ("modell", "model"),
        ("default_header", "default_headers"),
    ],
)
def test_an_unknown_argument_is_an_error_with_the_nearest_name(wrong, right):
    with pytest.raises(TypeError, match=f"{wrong!r}; did you mean {right!r}"):
        TogetherEmbedding("m", **{wrong: 1})


def test_an_argument_unlike_any_other_is_an_error_too():
    with pytest.raises(TypeError, match=r"'xyzzy'$"):
        TogetherEmbedding("m", xyzzy=1)


@pytest.mark.parametrize(
    "argument",
    [
        {"http_client": object()},
        {"async_http_client": object()},
        {"api_version": "2024-02-01"},
        {"mode": "similarity"},
        {"reuse_client": False},
        {"additional_kwargs": {"extra_headers": {"a": "b"}}},
        {"additional_kwargs": {"timeout": 3}},
    ],
)
def test_what_openai_users_write_and_we_cannot_honour_is_refused(argument):
    with pytest.raises(ConfigurationError):
        TogetherEmbedding("m", **argument)


@pytest.mark.parametrize("name", ["extra_body", "additional_kwargs"])
@pytest.mark.parametrize("wrong", ["user=u", 5])
def test_further_fields_that_are_no_mapping_are_refused_by_name(name, wrong):
    with pytest.raises(ConfigurationError, match=f"{name} is a .*not a mapping"):
        TogetherEmbedding("m", **{name: wrong})


def test_openais_defaults_written_out_are_no_error():
    TogetherEmbedding("m", reuse_client=True, http_client=None, api_version=None)


@pytest.mark.parametrize(
    "setting",
    [
        {"embed_batch_size": 0},
        {"max_retries": -1},
        {"max_concurrency": 0},
        {"timeout": 0},
        {"encoding_format": "hex"},
        {"api_base": "no address"},
        {"dimensions": 0},
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(setting):
    with pytest.raises(ValueError, match=r"."):
        TogetherEmbedding("m", **setting)


def test_a_setting_that_cannot_work_does_not_show_the_others(make):
    with pytest.raises(ValueError, match="embed_batch_size") as caught:
        make(api_key="canary-key-1", embed_batch_size="canary-size")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    ["right", SecretStr("right"), lambda: "right", "  'right' ", "Bearer right"],
)
def test_the_key_comes_as_a_string_a_secret_or_a_function(given):
    with LocalEndpoint(api_key="right") as endpoint:
        model = TogetherEmbedding("m", given, endpoint.base_url)
        assert len(model.get_query_embedding("wind")) > 0


def test_a_key_that_was_given_as_a_string_is_kept_as_a_secret():
    assert TogetherEmbedding("m", "canary-key-1").api_key == SecretStr("canary-key-1")


def test_the_key_is_read_from_the_environment_when_it_is_needed(monkeypatch):
    with LocalEndpoint(api_key="right") as endpoint:
        model = TogetherEmbedding("m", api_base=endpoint.base_url)
        with pytest.raises(AuthenticationError):
            model.get_query_embedding("wind")
        monkeypatch.setenv("TOGETHER_API_KEY", "right")
        model.get_query_embedding("wind")


def test_without_a_key_it_can_be_made_and_the_first_use_names_the_variable(monkeypatch):
    monkeypatch.delenv("TOGETHER_API_KEY")
    model = TogetherEmbedding("m")
    assert model.get_text_embedding_batch([]) == []
    with pytest.raises(ConfigurationError, match="TOGETHER_API_KEY"):
        model.get_query_embedding("wind")


def test_another_vendors_key_is_never_sent(monkeypatch, endpoint, make):
    monkeypatch.delenv("TOGETHER_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "of another vendor")
    with pytest.raises(AuthenticationError):
        make().get_query_embedding("wind")
    assert not endpoint.log[-1].bearer


def test_headers_go_with_every_request(endpoint, make):
    make(default_headers={"X-Team": "reading"}).get_query_embedding("wind")
    assert endpoint.log[-1].headers["x-team"] == "reading"


@pytest.mark.parametrize("name", ["extra_body", "additional_kwargs"])
def test_further_fields_go_into_the_request(name):
    with LocalEndpoint() as endpoint:
        model = TogetherEmbedding(
            "m", api_base=endpoint.base_url, **{name: {"truncate": True}}
        )
        model.get_query_embedding("wind")
        assert "truncate" in endpoint.log[-1].fields


def test_the_width_in_two_places_has_to_be_one():
    with pytest.raises(TypeError, match=r"dimensions and additional_kwargs\['dim"):
        TogetherEmbedding("m", dimensions=8, additional_kwargs={"dimensions": 4})
    twice = TogetherEmbedding("m", dimensions=8, additional_kwargs={"dimensions": 8})
    assert (twice.dimensions, twice.extra_body) == (8, {})


def test_extra_body_wins_over_additional_kwargs():
    fields = {"additional_kwargs": {"a": 1, "b": 1}, "extra_body": {"b": 2}}
    assert TogetherEmbedding("m", **fields).extra_body == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "setting", [{"dimensions": 8}, {"additional_kwargs": {"dimensions": 8}}]
)
def test_the_width_can_be_asked_for_in_both_of_openais_places(setting):
    with LocalEndpoint(dimension=32, dimensions="honour") as endpoint:
        model = TogetherEmbedding("m", api_base=endpoint.base_url, **setting)
        assert model.dimensions == 8
        assert len(model.get_query_embedding("wind")) == 8


def test_the_user_decides_how_often_a_request_is_tried(endpoint, make):
    endpoint.fail(500, times=None)
    with pytest.raises(Exception, match="500"):
        make(max_retries=0).get_query_embedding("wind")
    assert endpoint.requests == 1


def test_a_callback_manager_can_be_given_and_assigned(make):
    manager, other = CallbackManager([]), CallbackManager([])
    model = make(callback_manager=manager)
    assert model.callback_manager is manager
    model.callback_manager = other
    assert model.callback_manager is other
    for without in (make(), make(callback_manager=None)):
        assert isinstance(without.callback_manager, CallbackManager)


def test_a_field_that_is_assigned_holds_from_the_next_call_on(endpoint, make, texts):
    model = make()
    model.get_text_embedding_batch(texts[:100])
    assert endpoint.requests == 1
    model.embed_batch_size = 10
    model.default_headers = {"X-Team": "writing"}
    model.get_text_embedding_batch(texts[:100])
    assert endpoint.requests == 11
    assert endpoint.log[-1].headers["x-team"] == "writing"
    model.api_key = None
    model.api_base = "http://127.0.0.1:9"
    assert model.client.settings.base_url == HOST


def test_a_subclass_may_have_fields_of_its_own():
    class Prefixed(TogetherEmbedding):
        prefix: str = ""

    assert Prefixed("m", prefix="passage: ").prefix == "passage: "
    with pytest.raises(TypeError, match="did you mean 'prefix'"):
        Prefixed("m", prefixx="passage: ")
