"""Each argument of the two other adapters is honoured or refused, and none is ignored.

Both are asked for their fields, so that one which a later version of theirs adds is
missed here first.
"""

import inspect
from typing import Any

import httpx
import pytest

from langchain_together_embed import TogetherEmbeddings
from langchain_together_embed.arguments import Arguments
from together_embed.errors import ConfigurationError

HONOURED = {
    "model": "another",
    "dimensions": 64,
    "together_api_key": "another-key",
    "openai_api_key": "another-key",
    "api_key": "another-key",
    "together_api_base": "http://other.local",
    "openai_api_base": "http://other.local",
    "base_url": "http://other.local",
    "chunk_size": 7,
    "max_retries": 3,
    "request_timeout": 7.0,
    "timeout": 7.0,
    "model_kwargs": {"user": "u"},
    "skip_empty": True,
    "show_progress_bar": True,
    "default_headers": {"X-Team": "search"},
    "default_query": {"version": "2"},
}
"""Arguments that mean here what they mean there, and a value that shows it."""

REFUSED = {
    "client": object(),
    "async_client": object(),
    "http_client": httpx,
    "http_async_client": httpx,
    "embedding_ctx_length": 512,
    "check_embedding_ctx_length": True,
    "tiktoken_enabled": True,
    "tiktoken_model_name": "cl100k_base",
    "allowed_special": "all",
    "disallowed_special": {"<|endoftext|>"},
    "retry_min_seconds": 1,
    "retry_max_seconds": 9,
    "headers": {"a": "b"},
    "deployment": "d",
    "openai_api_type": "azure",
    "api_version": "1",
    "openai_api_version": "1",
    "organization": "o",
    "openai_organization": "o",
    "openai_proxy": "http://127.0.0.1:9",
}
"""Arguments that cannot be honoured, and a value that asks for something."""

OTHERS = [
    ("langchain_together", "TogetherEmbeddings"),
    ("langchain_openai", "OpenAIEmbeddings"),
]


def seen(model: TogetherEmbeddings) -> list[Any]:
    """Return all that decides what a model does."""
    settings = {**vars(model.client.settings)}
    return [settings.pop("key").reveal(), settings, model.show_progress_bar]


def test_two_models_of_the_same_arguments_do_the_same():
    assert seen(TogetherEmbeddings()) == seen(TogetherEmbeddings())


@pytest.mark.parametrize("name", HONOURED)
def test_what_is_honoured_changes_what_the_model_does(name):
    assert seen(TogetherEmbeddings(**{name: HONOURED[name]})) != seen(
        TogetherEmbeddings()
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_with_a_reason(name):
    with pytest.raises(ConfigurationError, match=f"{name} is not taken: ...."):
        TogetherEmbeddings(**{name: REFUSED[name]})


@pytest.mark.parametrize(
    "idle",
    [
        *({name: None} for name in REFUSED),
        {"embedding_ctx_length": 4096},
        {"embedding_ctx_length": 8191},
        {"allowed_special": set()},
        {"disallowed_special": "all"},
        {"check_embedding_ctx_length": False},
        {"tiktoken_enabled": False},
        {"base_url": None},
    ],
    ids=str,
)
def test_a_default_of_another_adapter_asks_for_nothing(idle):
    assert TogetherEmbeddings(**idle) == TogetherEmbeddings()


@pytest.mark.parametrize(("package", "name"), OTHERS)
def test_every_argument_of_the_other_adapter_is_known_here(package, name):
    other = getattr(pytest.importorskip(package), name)
    fields = other.model_fields
    theirs = {*fields, *filter(None, (field.alias for field in fields.values()))}
    unknown = sorted(theirs - {*HONOURED, *REFUSED})
    assert not unknown, (
        f"{package} has come to take {unknown}: honour each in arguments.py, or refuse "
        "it there with a reason, and add it to one of the tables of this module"
    )


@pytest.mark.parametrize(("package", "name"), OTHERS)
def test_every_method_of_the_other_adapter_is_here_too(package, name):
    other = getattr(pytest.importorskip(package), name)
    for method in (
        "embed_query",
        "aembed_query",
        "embed_documents",
        "aembed_documents",
    ):
        theirs = [*inspect.signature(getattr(other, method)).parameters][:2]
        ours = [*inspect.signature(getattr(TogetherEmbeddings, method)).parameters]
        assert ours == theirs  # what follows is chunk_size, which is a field here


def test_every_field_is_an_argument_that_type_checkers_know():
    known = {*Arguments.__annotations__}
    assert {*TogetherEmbeddings.model_fields} <= known
    assert known - {*TogetherEmbeddings.model_fields} <= {*HONOURED, *REFUSED}


def test_what_the_other_adapter_dumps_makes_ours():
    together = pytest.importorskip("langchain_together")
    old = together.TogetherEmbeddings(model="m", base_url="http://h.local/v1")
    new = TogetherEmbeddings(**old.model_dump())
    assert (new.model, new.together_api_base) == ("m", "http://h.local/v1")
    assert new.together_api_key == old.together_api_key
