"""What a text is for, and what a model wants to read in front of it.

A query and a document go out as prefix + text. No prefix is added unless the user asks
for one, by its words or by `instructions="auto"`: an index that was built without would
no longer fit. What is sent, prefix included, is what a stored vector is known by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from together_embed.errors import ConfigurationError

Role = Literal["query", "document"]

TASK = "Given a search query, find the passages that answer it"
"""What models with instructions are told; who has another writes a `query_prefix`."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of a model by its name.

    Attributes:
        width: Numbers in a vector.
        context: Tokens of a text, at most, those that the model adds included.
        query_prefix: What its authors put in front of a query. Documents get nothing.
        bytewise: Its tokenizer falls back to bytes, so that a character outside ASCII
            can take as many tokens as it has bytes in UTF-8.
    """

    width: int
    context: int
    query_prefix: str = ""
    bytewise: bool = False


_BGE = "Represent this sentence for searching relevant passages: "

PRESETS = {
    "intfloat/multilingual-e5-large-instruct": Preset(
        1024, 512, f"Instruct: {TASK}\nQuery: "
    ),
    "BAAI/bge-large-en-v1.5": Preset(1024, 512, _BGE),
    "BAAI/bge-base-en-v1.5": Preset(768, 512, _BGE),
    "WhereIsAI/UAE-Large-V1": Preset(1024, 512, _BGE),
    "Alibaba-NLP/gte-modernbert-base": Preset(768, 8192, bytewise=True),
    "togethercomputer/m2-bert-80M-2k-retrieval": Preset(768, 2048),
    "togethercomputer/m2-bert-80M-8k-retrieval": Preset(768, 8192),
    "togethercomputer/m2-bert-80M-32k-retrieval": Preset(768, 32768),
}
"""The embedding models that Together has served. Source: the models' own cards."""

# Servers of one's own know a model by the last part of its name, or in small letters.
_BY_NAME = {name.lower(): preset for name, preset in PRESETS.items()}
_BY_NAME |= {name.rpartition("/")[2]: preset for name, preset in _BY_NAME.items()}


def preset(model: str) -> Preset | None:
    """Return what is known of a model, None for a model that is not known.

    Raises:
        ConfigurationError: It is no name at all.
    """
    if not isinstance(model, str):
        raise ConfigurationError(f"model is a {type(model).__name__}, not a name")
    return _BY_NAME.get(model.lower())


@dataclass(frozen=True, slots=True)
class Roles:
    """The two prefixes of a client.

    Attributes:
        query_prefix: What goes in front of each query.
        document_prefix: What goes in front of each document.
    """

    query_prefix: str = ""
    document_prefix: str = ""

    def prefix(self, role: Role) -> str:
        """Return what goes in front of a text of this role.

        Raises:
            ConfigurationError: It is neither of the two.
        """
        if role not in ("query", "document"):
            raise ConfigurationError(f'role is {role!r}, not "query" or "document"')
        return self.query_prefix if role == "query" else self.document_prefix


def choose(
    model: str,
    *,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    instructions: Literal["auto"] | None = None,
) -> Roles:
    """Return the prefixes that the settings mean.

    Args:
        model: The model's name, for the preset.
        query_prefix: In front of queries; "" is none, and wins over a preset too.
        document_prefix: In front of documents, likewise.
        instructions: "auto" takes from the model's preset what is not given here.

    Raises:
        ConfigurationError: No preset is known for the model.
    """
    known = Preset(0, 0)
    if instructions == "auto":
        known = _known(model)
    elif instructions is not None:
        name = type(instructions).__name__
        said = repr(instructions) if isinstance(instructions, str) else f"a {name}"
        raise ConfigurationError(f'instructions is {said}, not "auto"')
    wanted = known.query_prefix if query_prefix is None else query_prefix
    return Roles(wanted, document_prefix or "")


def _known(model: str) -> Preset:
    found = preset(model)
    if found is None:
        raise ConfigurationError(
            f"no instructions are known for {model!r}; give query_prefix and "
            f"document_prefix, or one of these models: {', '.join(PRESETS)}"
        )
    return found
