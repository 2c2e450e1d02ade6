"""Prefixes of queries and documents: none unless asked for, then the right ones."""

from typing import Any

import pytest

from together_embed.engine.roles import PRESETS, TASK, Roles, choose, preset
from together_embed.errors import ConfigurationError

E5 = "intfloat/multilingual-e5-large-instruct"
BGE = "BAAI/bge-base-en-v1.5"
SENTENCE = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize("model", [*PRESETS, "my-project/my-endpoint"])
def test_nothing_is_put_in_front_unless_asked_for(model: str) -> None:
    assert choose(model) == Roles("", "")


def test_each_role_gets_its_own_prefix() -> None:
    roles = choose("any", query_prefix="query: ", document_prefix="passage: ")
    assert roles.prefix("query") == "query: "
    assert roles.prefix("document") == "passage: "


@pytest.mark.parametrize("role", ["passage", "Query", 1])
def test_a_role_that_nobody_knows_is_refused(role: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"role is {role!r}, not"):
        Roles().prefix(role)


@pytest.mark.parametrize(
    "model", [BGE, "BAAI/bge-large-en-v1.5", "WhereIsAI/UAE-Large-V1"]
)
def test_auto_puts_the_models_own_sentence_before_queries_only(model: str) -> None:
    assert choose(model, instructions="auto") == Roles(SENTENCE, "")


def test_auto_tells_an_instructed_model_its_task() -> None:
    plain = choose(E5, instructions="auto")
    assert plain == Roles(f"Instruct: {TASK}\nQuery: ", "")


@pytest.mark.parametrize(
    "model",
    [name for name in PRESETS if "m2-bert" in name or "modernbert" in name],
)
def test_auto_adds_nothing_for_models_that_want_nothing(model: str) -> None:
    assert choose(model, instructions="auto") == Roles("", "")


def test_a_prefix_of_the_users_wins_over_the_preset() -> None:
    assert choose(BGE, instructions="auto", query_prefix="q: ").query_prefix == "q: "
    assert choose(BGE, instructions="auto", query_prefix="").query_prefix == ""
    both = choose(BGE, instructions="auto", document_prefix="d: ")
    assert both == Roles(SENTENCE, "d: ")


def test_auto_for_a_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'me/mine'; give query_prefix"):
        choose("me/mine", instructions="auto")


def test_an_instruction_other_than_auto_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'always'"):
        choose(BGE, instructions="always")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["BAAI/bge-base-en-v1.5", "baai/BGE-base-en-v1.5", "bge-base-en-v1.5"]
)
def test_a_model_is_known_in_any_case_and_without_its_owner(name: str) -> None:
    assert preset(name) == PRESETS["BAAI/bge-base-en-v1.5"]


@pytest.mark.parametrize("name", ["", "BAAI", "base", "x/bge-base-en-v1.5", "m2-bert"])
def test_a_name_that_is_only_like_a_models_is_none(name: str) -> None:
    assert preset(name) is None
