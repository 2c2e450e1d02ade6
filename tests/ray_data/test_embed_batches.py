"""Batches of rows through `EmbedBatches`, in each form; no Ray takes part."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from together_embed.errors import AuthenticationError, ConfigurationError
from together_embed.local import LocalEndpoint
from together_embed.ray import EmbedBatches

pytestmark = pytest.mark.usefixtures("no_leaks")
KEY = "canary-key-0123456789"
TEXTS = ["one", None, "three", "  ", "five", "one"]
BAD = {1, 3}


@pytest.fixture
def embed(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    made: list[EmbedBatches] = []

    def make(**settings: Any) -> EmbedBatches:
        made.append(EmbedBatches("m", base_url=endpoint.base_url, **settings))
        return made[-1]

    yield make
    for one in made:
        one.client.close()


def check(endpoint: LocalEndpoint, rows: list[Any], errors: list[Any]) -> None:
    for place, text in enumerate(TEXTS):
        if place in BAD:
            assert errors[place].startswith("InputError: ")
        else:
            assert list(rows[place]) == endpoint.embed(str(text))
            assert errors[place] is None


def test_an_arrow_table_gets_lists_of_one_size(
    embed: Any, endpoint: LocalEndpoint
) -> None:
    table = pa.table({"id": range(6), "text": TEXTS})
    out = embed()(table)
    assert out.column_names == ["id", "text", "embedding", "error"]
    assert out.schema.field("embedding").type == pa.list_(pa.float32(), 8)
    assert out.select(["id", "text"]) == table
    rows, errors = out["embedding"].to_pylist(), out["error"].to_pylist()
    check(endpoint, rows, errors)
    assert {place for place, row in enumerate(rows) if row is None} == BAD


def test_numpy_arrays_get_one_array(embed: Any, endpoint: LocalEndpoint) -> None:
    out = embed()({"id": np.arange(6), "text": np.array(TEXTS, dtype=object)})
    assert out["embedding"].shape == (6, 8)
    assert out["embedding"].dtype == np.float32
    check(endpoint, out["embedding"], out["error"])
    assert np.isnan(out["embedding"][sorted(BAD)]).all()
    assert out["id"].tolist() == list(range(6))


def test_a_pandas_frame_gets_arrays(embed: Any, endpoint: LocalEndpoint) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": range(6), "text": TEXTS}, index=list("uvwxyz"))
    out = embed()(frame)
    errors = out["error"].astype(object).where(out["error"].notna(), None)
    check(endpoint, out["embedding"].tolist(), errors.tolist())
    assert out["embedding"].isna().tolist() == [n in BAD for n in range(6)]
    assert list(out.index) == list("uvwxyz")
    assert "embedding" not in frame


def test_columns_have_the_names_that_were_asked_for(embed: Any) -> None:
    table = pa.table({"body": ["one"], "why": ["an earlier run's"], "error": [1]})
    out = embed(text="body", embedding="vector", error="why")(table)
    assert out.column_names == ["body", "error", "vector", "why"]
    assert out["why"].to_pylist() == [None]


def test_a_refused_text_is_a_row_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    long = "x" * 400
    with LocalEndpoint(dimension=8, max_chars=300) as endpoint:
        embed = EmbedBatches("m", base_url=endpoint.base_url)
        out = embed(pa.table({"text": ["one", long, "three"]}))
        embed.client.close()
    assert out["embedding"].to_pylist() == [
        endpoint.embed("one"),
        None,
        endpoint.embed("three"),
    ]
    (reason,) = filter(None, out["error"].to_pylist())
    assert reason.startswith("UnprocessableError: 422")
    assert "input 1" not in reason  # its number in the batch is nobody's
    assert long not in reason


def test_what_no_text_is_to_blame_for_is_raised(
    embed: Any, endpoint: LocalEndpoint
) -> None:
    endpoint.fail(401)
    with pytest.raises(AuthenticationError):
        embed()(pa.table({"text": ["one"]}))


def test_a_batch_without_a_good_row_is_no_trouble(embed: Any) -> None:
    bad, none = pa.table({"text": [None, " "]}), pa.table({"text": pa.array([], "str")})
    assert embed()(bad)["embedding"].type == pa.null()
    assert embed()(none).num_rows == 0
    knowing = embed()
    knowing(pa.table({"text": ["one"]}))
    for table in (bad, none):
        assert knowing(table)["embedding"].type == pa.list_(pa.float32(), 8)
    assert embed(dimensions=4)(bad)["embedding"].type == pa.list_(pa.float32(), 4)


def test_a_pickle_holds_no_key_and_works(embed: Any, endpoint: LocalEndpoint) -> None:
    first = embed(query_prefix="q: ", role="query", actors=4, requests_per_second=8.0)
    pickled = pickle.dumps(first)
    assert KEY.encode() not in pickled
    twin = pickle.loads(pickled)
    assert twin.client.settings.base_url == endpoint.base_url
    assert twin.client.settings.requests_per_second == 2.0
    (row,) = twin(pa.table({"text": ["one"]}))["embedding"].to_pylist()
    assert row == endpoint.embed("q: one")
    twin.client.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": KEY},
        {"headers": {"X-Api-Key": KEY}},
        {"query": {"api_key": KEY}},
        {"actors": 0},
        {"actors": 9, "max_concurrency": 8},
        {"batch_size": 0},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_would_be_pickled_or_cannot_work_is_refused(
    embed: Any, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as error:
        embed(**settings)
    assert KEY not in str(error.value)


def key() -> str:
    return KEY


def test_a_function_that_returns_the_key_is_taken_along(
    endpoint: LocalEndpoint,
) -> None:
    first = EmbedBatches("m", base_url=endpoint.base_url, api_key=key)
    pickled = pickle.dumps(first)
    assert KEY.encode() not in pickled
    twin = pickle.loads(pickled)
    twin(pa.table({"text": ["one"]}))
    assert endpoint.log[-1].bearer
    assert KEY not in repr(twin)
    twin.client.close()


def test_nothing_here_loads_ray_before_it_is_needed() -> None:
    code = (
        "import sys, together_embed; from together_embed.ray import EmbedBatches; "
        "EmbedBatches('m', base_url='http://localhost'); "
        "assert not {'ray', 'pyarrow', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_without_numpy_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "try:\n    import together_embed.ray\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert 'pip install "together-embed[ray]"' in done.stdout, done.stderr
