"""What the type checkers were told of the user's program is what it does."""

import asyncio
from pathlib import Path

import llama_index.core
import pytest
import users_program as program

from together_embed import EmbeddingsClient
from together_embed.local import LocalEndpoint


def test_the_program_that_is_typed_runs(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LlamaIndex brings its tokenizer's table along, and else fetches it anew.
    tables = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tables))
    url = endpoint.base_url
    program.core(url)
    asyncio.run(program.acore(url))
    assert [document.page_content for document in program.langchain(url)]
    assert len(asyncio.run(program.alangchain(url))) == 2
    assert len(program.llama_index(url).docstore.docs) == 2
    assert len(asyncio.run(program.allama_index(url))) == 2
    assert program.subclasses(url) == ["p: ", "p: "]
    with EmbeddingsClient(program.MODEL, api_key="key", base_url=url) as client:
        assert program.rows_or_why(client) == program.rows_and_failures(client)
    assert program.local() > 0
