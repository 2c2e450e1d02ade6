"""Each argument of the two other adapters is honoured or refused, and none is ignored.

Both are asked for their fields and arguments, so that one which a later version of
theirs adds is missed here first.
"""

import inspect
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index_together_embed import TogetherEmbedding
from llama_index_together_embed.arguments import ALIASES, Arguments
from together_embed.errors import ConfigurationError

HONOURED = {
    "model_name": "another",
    "model": "another",
    "api_key": "another-key",
    "api_base": "http://other.local",
    "embed_batch_size": 7,
    "dimensions": 64,
    "additional_kwargs": {"user": "u"},
    "max_retries": 3,
    "timeout": 7.0,
    "default_headers": {"X-Team": "search"},
}
"""Arguments that mean here what they mean there, and a value that shows it."""

OF_LLAMA_INDEX = {
    "callback_manager": CallbackManager([]),
    "num_workers": 3,
    "embeddings_cache": SimpleKVStore(),
    "rate_limiter": object(),
}
"""Arguments of every embedding model; what each does is tested elsewhere."""

REFUSED = {
    "mode": "similarity",
    "api_version": "2024-02-01",
    "http_client": object(),
    "async_http_client": object(),
    "reuse_client": False,
}
"""Arguments that cannot be honoured, and a value that asks for something."""

OTHERS = [
    ("llama_index.embeddings.together", "TogetherEmbedding"),
    ("llama_index.embeddings.openai", "OpenAIEmbedding"),
]


def seen(model: TogetherEmbedding) -> list[Any]:
    """Return all that decides what the client does."""
    settings = {**vars(model.client.settings)}
    return [settings.pop("key").reveal(), settings]


def made(**settings: Any) -> TogetherEmbedding:
    named = {"model", "model_name"} & settings.keys()
    return TogetherEmbedding(**({} if named else {"model_name": "m"}), **settings)


def test_two_models_of_the_same_arguments_do_the_same():
    assert seen(made()) == seen(made())


@pytest.mark.parametrize("name", HONOURED)
def test_what_is_honoured_changes_what_the_model_does(name):
    assert seen(made(**{name: HONOURED[name]})) != seen(made())


@pytest.mark.parametrize("name", OF_LLAMA_INDEX)
def test_what_llama_index_gives_to_every_model_is_kept(name):
    assert getattr(made(**{name: OF_LLAMA_INDEX[name]}), name) is OF_LLAMA_INDEX[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_with_a_reason(name):
    with pytest.raises(ConfigurationError, match=f"{name}.* is not .{{20}}"):
        made(**{name: REFUSED[name]})


@pytest.mark.parametrize(("package", "name"), OTHERS)
def test_every_argument_of_the_other_adapter_is_known_here(package, name):
    other = getattr(pytest.importorskip(package), name)
    written = inspect.signature(other.__init__).parameters
    theirs = {*other.model_fields, *written} - {"self", "kwargs"}
    unknown = sorted(theirs - {*HONOURED, *OF_LLAMA_INDEX, *REFUSED})
    assert not unknown, (
        f"{package} has come to take {unknown}: honour each in embedding.py, or refuse "
        "it in arguments.py with a reason, and add it to a table of this module"
    )


@pytest.mark.parametrize(("package", "name"), OTHERS)
def test_every_method_of_the_other_adapter_takes_the_same_here(package, name):
    other = getattr(pytest.importorskip(package), name)
    for method in dir(other):
        if method.startswith(("get_", "aget_")) and "embedding" in method:
            theirs = inspect.signature(getattr(other, method)).parameters
            ours = inspect.signature(getattr(TogetherEmbedding, method)).parameters
            assert [*ours][: len(theirs) - 1] == [*theirs][: len(theirs) - 1], method


def test_every_field_is_an_argument_that_type_checkers_know():
    written = inspect.signature(TogetherEmbedding.__init__).parameters
    known = {*written, *Arguments.__annotations__}
    assert {*TogetherEmbedding.model_fields} <= known
    assert known - {*TogetherEmbedding.model_fields} == {"self", "settings", *ALIASES}


def test_what_the_other_adapter_dumps_makes_ours():
    together = pytest.importorskip("llama_index.embeddings.together")
    old = together.TogetherEmbedding("m", "a-key", "http://h.local/v1")
    new = TogetherEmbedding.from_dict(old.to_dict())
    assert (new.model_name, new.api_base) == ("m", "http://h.local/v1")
    assert new.client.settings.key.reveal() == "a-key"
