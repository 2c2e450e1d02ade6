"""What the client promises holds on each of the six ways, not in the core alone."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from math import hypot
from pathlib import Path
from typing import Any

import pytest

from together_embed import errors
from together_embed.engine.roles import PRESETS
from together_embed.local import LocalEndpoint
from together_embed.store import StoreWarning

from .raw import RawServer, right
from .ways import WAYS, Rows, Way

TEXTS = [f"text {n}" for n in range(40)]
FRAMEWORKS = pytest.mark.parametrize("way", WAYS[2:], ids=lambda way: way.name)


@pytest.fixture
def endpoint() -> Any:
    with LocalEndpoint(dimension=8, remember_texts=True) as running:
        yield running


def as_documents(way: Way, model: Any, texts: list[str]) -> Rows:
    if not way.name.startswith("core"):
        return way.embed(model, texts)  # its method stands for the role
    rows: Any = getattr(model, way.method)(texts, role="document")
    return asyncio.run(rows) if asyncio.iscoroutine(rows) else rows


def as_query(way: Way, model: Any, text: str) -> list[float]:
    method = way.method.replace("documents", "query")
    method = method.replace("text_embedding_batch", "query_embedding")
    row: Any = getattr(model, method)(text)
    return asyncio.run(row) if asyncio.iscoroutine(row) else row


# The key


def test_a_function_is_asked_for_the_key_of_each_request(way: Way, make: Any) -> None:
    keys = [f"key-{number}-0123456789" for number in range(4)]
    left = [*keys]
    with RawServer() as server:
        model = make(way, server.url, api_key=left.pop, batch_size=10)
        assert way.embed(model, TEXTS) == right(TEXTS)
        heads = "\n".join(server.heads)
    assert sorted(re.findall(r"(?i)authorization: bearer (\S+)", heads)) == keys
    assert left == []


def test_another_vendors_key_is_never_sent(
    way: Way, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for vendor in ("OPENAI", "COHERE", "MISTRAL", "VOYAGE", "HF", "GOOGLE", "AZURE"):
        monkeypatch.setenv(f"{vendor}_API_KEY", "another-vendors-key")
        monkeypatch.setenv(f"{vendor}_TOKEN", "another-vendors-key")
    with RawServer() as server:
        model = make(way, server.url, api_key=None)
        assert way.embed(model, TEXTS) == right(TEXTS)
        heads = "".join(server.heads).lower()
    assert "another-vendors-key" not in heads
    assert "authorization" not in heads


def test_an_address_with_credentials_is_refused_and_not_shown(way: Way) -> None:
    with pytest.raises(errors.ConfigurationError, match="credentials") as raised:
        way.make("http://somebody:their-password@127.0.0.1:9/v1")
    assert "their-password" not in f"{raised.value!r}{raised.value.__cause__!r}"


def test_no_redirect_is_followed(way: Way, make: Any, endpoint: LocalEndpoint) -> None:
    endpoint.script([301, 302, 303, 307, 308])
    model = make(way, endpoint.base_url)
    for status in (301, 302, 303, 307, 308):
        with pytest.raises(errors.RedirectError) as raised:
            way.embed(model, TEXTS[:2])
        assert raised.value.status == status
    assert endpoint.requests == 5


# Blank texts


def test_blank_texts_are_all_named_at_once(
    way: Way, make: Any, endpoint: LocalEndpoint
) -> None:
    texts = ["a", " ", "b", "", "c", " "]
    with pytest.raises(errors.InputError) as raised:
        way.embed(make(way, endpoint.base_url), texts)
    assert raised.value.indices == (1, 3, 5)
    assert set(raised.value.failures) == {1, 3, 5}
    assert raised.value.remaining == (0, 2, 4)
    assert endpoint.requests == 0


# Long texts


@pytest.mark.parametrize(
    ("on_long", "sent"),
    [("truncate", ["a b c"]), ("split", ["a b c", "d e f", "g"]), ("error", None)],
)
def test_long_texts_are_handled_as_asked_and_never_in_silence(
    way: Way,
    make: Any,
    endpoint: LocalEndpoint,
    on_long: str,
    sent: list[str] | None,
) -> None:
    measured = {"max_input_tokens": 3, "count_tokens": lambda text: len(text.split())}
    model = make(way, endpoint.base_url, on_long_input=on_long, **measured)
    texts = ["x y", "a b c d e f g"]
    if sent is None:
        with pytest.raises(errors.InputError, match="over the 3 tokens") as raised:
            way.embed(model, texts)
        assert raised.value.indices == (1,)
        assert endpoint.requests == 0
        return
    with pytest.warns(errors.LongInputWarning, match="input 1$"):
        short, long = way.embed(model, texts)
    parts = [endpoint.embed(text) for text in sent]
    weights = [len(text.split()) for text in sent]
    columns = zip(*parts, strict=True)
    mean = [sum(map(float.__mul__, map(float, weights), column)) for column in columns]
    assert short == endpoint.embed("x y")
    assert long == pytest.approx([x / hypot(*mean) for x in mean])
    assert set(endpoint.seen) == {"x y", *sent}


# Roles


@FRAMEWORKS
@pytest.mark.parametrize("name", PRESETS)
def test_the_authors_prefixes_go_before_questions_where_they_are_asked_for(
    way: Way, make: Any, endpoint: LocalEndpoint, name: str
) -> None:
    plain = make(way, endpoint.base_url, model=name)
    asked = make(way, endpoint.base_url, model=name, instructions="auto")
    prefix = PRESETS[name].query_prefix
    for model, before in ((plain, ""), (asked, prefix)):
        assert as_query(way, model, "who?") == endpoint.embed(f"{before}who?")
        assert way.embed(model, ["they"]) == [endpoint.embed("they")]
    assert set(endpoint.seen) == {"who?", f"{prefix}who?", "they"}


def test_an_index_that_was_built_with_another_prefix_is_told_of(
    way: Way, make: Any, endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    cache = str(tmp_path / "vectors.db")
    first = make(way, endpoint.base_url, cache=cache, document_prefix="passage: ")
    as_documents(way, first, TEXTS)
    model = make(way, endpoint.base_url, cache=cache)
    with pytest.warns(errors.RoleDriftWarning, match="role 'document'"):
        rows = as_documents(way, model, TEXTS)
    assert rows == [endpoint.embed(text) for text in TEXTS]


# The store


@FRAMEWORKS
def test_queries_and_documents_share_what_was_sent_and_nothing_else(
    way: Way, make: Any, endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    cache = str(tmp_path / "vectors.db")
    model = make(way, endpoint.base_url, cache=cache, query_prefix="query: ")
    document = way.embed(model, ["a", "query: a"])
    assert as_query(way, model, "a") == document[1] != document[0]
    settings = {"cache": cache, "api_key": "a-new-key", "batch_size": 7}
    again = make(way, endpoint.base_url, query_prefix="query: ", **settings)
    assert way.embed(again, ["query: a", "a"]) == document[::-1]
    assert as_query(way, again, "a") == document[1]
    assert endpoint.seen == {"a": 1, "query: a": 1}


def test_other_weights_under_one_name_are_told_of_or_are_an_error(
    way: Way, make: Any, tmp_path: Path
) -> None:
    weights = [1.0, 0.0]
    with LocalEndpoint(embedder=lambda text, width: [*weights, 0.5]) as endpoint:
        told = {"cache": str(tmp_path / "vectors.db"), "canary": True}
        way.embed(make(way, endpoint.base_url, **told), TEXTS[:10])
        weights.reverse()
        strict = make(way, endpoint.base_url, on_drift="error", **told)
        with pytest.raises(errors.ModelDriftError, match="has other weights"):
            way.embed(strict, TEXTS)
        model = make(way, endpoint.base_url, **told)
        with pytest.warns(errors.ModelDriftWarning, match="has other weights"):
            rows = way.embed(model, TEXTS[10:])
        assert rows == [[0.0, 1.0, 0.5]] * 30
        again = make(way, endpoint.base_url, **{**told, "canary": False})
        assert way.embed(again, TEXTS[:10]) == [[1.0, 0.0, 0.5]] * 10
        assert way.client(again).stats.requests == 0


def of_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


def full(path: Path) -> str:
    return "PRAGMA max_page_count = 1"  # SQLite then says what it says of a full disk


def read_only(path: Path) -> str:
    return "PRAGMA query_only = 1"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (of_a_newer_version, "newer version"),
        (damaged, "is damaged"),
        (full, "the disk is full"),
        (read_only, "cannot be written to"),
    ],
)
def test_a_store_in_any_state_costs_a_warning_and_no_vector(
    way: Way,
    make: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], str | None],
    words: str,
) -> None:
    path = tmp_path / "vectors.db"
    with LocalEndpoint(dimension=512, remember_texts=True) as endpoint:
        first = make(way, endpoint.base_url, cache=str(path))
        way.embed(first, TEXTS[:20])
        way.close(first)
        connect, pragma = sqlite3.connect, spoil(path)

        def hindered(name: str, **settings: Any) -> sqlite3.Connection:
            link = connect(name, **settings)
            link.execute(pragma or "SELECT 1")
            return link

        monkeypatch.setattr(sqlite3, "connect", hindered)
        model = make(way, endpoint.base_url, cache=str(path), batch_size=5)
        with pytest.warns(StoreWarning, match=words) as warned:
            rows = way.embed(model, TEXTS)
        assert rows == [endpoint.embed(text) for text in TEXTS]
        assert len(warned) == 1
        if pragma:  # what it holds is still read
            assert set(endpoint.seen.values()) == {1}
