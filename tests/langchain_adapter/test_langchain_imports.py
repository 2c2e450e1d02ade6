"""What an import of the adapter costs, and what it says where LangChain is missing."""

import subprocess
import sys

import pytest


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_loads_nothing_that_only_some_calls_need():
    loaded = python(
        "import sys\n"
        "from langchain_core.embeddings import Embeddings\n"
        "before = set(sys.modules)\n"
        "import langchain_together_embed\n"
        "langchain_together_embed.TogetherEmbeddings(api_key='k')\n"
        "print(*set(sys.modules) - before)"
    ).split()
    roots = {name.partition(".")[0] for name in loaded}
    assert "langchain_together_embed" in roots
    assert not roots & {
        *("requests", "urllib3", "aiohttp", "httpx", "ssl", "tqdm", "numpy"),
        *("openai", "langsmith", "llama_index_together_embed", "sqlite3"),
    }
    assert len(loaded) < 80  # what it brings beyond langchain_core.embeddings


def test_an_import_without_langchain_says_what_to_install():
    said = python(
        "import sys\n"
        "sys.modules['langchain_core'] = None\n"
        "try:\n"
        "    import langchain_together_embed\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    assert 'pip install "together-embed[langchain]"' in said


def test_a_broken_langchain_is_not_called_a_missing_one():
    said = python(
        "import sys\n"
        "sys.modules['pydantic'] = None\n"
        "try:\n"
        "    import langchain_together_embed\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    assert "pydantic" in said
    assert "together-embed[langchain]" not in said


@pytest.mark.parametrize("name", ["TogetherEmbeddings"])
def test_the_package_exports_what_it_says(name):
    import langchain_together_embed

    assert langchain_together_embed.__all__ == [name]
    assert getattr(langchain_together_embed, name).__name__ == name
