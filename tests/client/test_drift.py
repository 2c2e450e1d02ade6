"""A store tells when the model behind a name, or a prefix, is another than before."""

from __future__ import annotations

import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from together_embed import EmbeddingsClient
from together_embed.errors import (
    AuthenticationError,
    ConfigurationError,
    InputError,
    ModelDriftError,
    ModelDriftWarning,
    RoleDriftWarning,
)
from together_embed.local import LocalEndpoint
from together_embed.watch import CANARY, FAR

TEXTS = [f"text {number}" for number in range(40)]
MORE = [f"another {number}" for number in range(40)]


class Weights:
    """A model whose weights can be changed while it serves."""

    def __init__(self) -> None:
        self.shift = 0.0

    def __call__(self, text: str, width: int) -> list[float]:
        return [float(len(text)), float(sum(map(ord, text)) % 97) + 1.0, self.shift]


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def serving(weights: Weights) -> Iterator[LocalEndpoint]:
    with LocalEndpoint(embedder=weights, remember_texts=True) as running:
        yield running


@pytest.fixture
def make(serving: LocalEndpoint, tmp_path: Path) -> Callable[..., EmbeddingsClient]:
    def client(**settings: Any) -> EmbeddingsClient:
        chosen = {"canary": True, "cache": tmp_path / "vectors.db", **settings}
        return EmbeddingsClient("m", api_key="k", base_url=serving.base_url, **chosen)

    return client


def test_one_fixed_text_goes_along_once_a_process_and_is_not_handed_out(
    colour, make, serving, weights
) -> None:
    client = make()
    assert colour.embed(client, TEXTS) == [weights(text, 3) for text in TEXTS]
    assert colour.embed(client, [*MORE, "a"]) == [weights(t, 3) for t in [*MORE, "a"]]
    assert serving.seen[CANARY] == 1
    assert sum(serving.seen.values()) == len(TEXTS) + len(MORE) + 2
    assert client.stats.texts == len(TEXTS) + len(MORE) + 1
    assert serving.requests == 2  # none of its own


def test_nothing_is_sent_for_it_alone(colour, make, serving) -> None:
    colour.embed(make(), TEXTS)
    again = make()
    assert len(colour.embed(again, [*TEXTS, "text 3"])) == 41
    assert again.stats.requests == 0
    assert serving.seen[CANARY] == 1


def test_in_a_stream_it_goes_along_with_the_first_texts_that_are_sent(
    colour, make, serving, weights
) -> None:
    colour.embed(make(), TEXTS)
    batches = [TEXTS[:20], [], TEXTS[20:], MORE[:20], MORE[20:]]
    assert len(list(colour.batches(make(batch_size=20), batches))) == 5
    assert serving.seen[CANARY] == 2
    weights.shift = 99.0
    strict = make(batch_size=20, on_drift="error")
    with pytest.raises(ModelDriftError, match="other weights than when the cache"):
        list(colour.batches(strict, [*batches, ["one more"]]))


def test_texts_that_come_twice_keep_their_places_beside_it(
    colour, make, weights
) -> None:
    texts = ["b", "a", "b", "c", "a"]
    assert colour.embed(make(), texts) == [weights(text, 3) for text in texts]
    others = ["c", "d", "b", "d"]
    assert colour.embed(make(), others) == [weights(text, 3) for text in others]


def test_other_weights_under_one_name_are_told_of_and_not_kept(
    colour, make, weights, serving
) -> None:
    colour.embed(make(), TEXTS)
    weights.shift = 99.0
    client = make(batch_size=10)
    with pytest.warns(ModelDriftWarning, match="by a cosine distance of 0"):
        rows = colour.embed(client, MORE)
    assert rows == [weights(text, 3) for text in MORE]  # handed out untouched
    colour.embed(client, ["one more"])
    weights.shift = 0.0
    fresh = make()
    assert colour.embed(fresh, MORE) == [weights(text, 3) for text in MORE]
    assert fresh.stats.recalled == 0


def test_in_strict_mode_it_is_asked_for_and_is_an_error(colour, make, weights) -> None:
    strict = {"canary": None, "on_drift": "error"}
    colour.embed(make(**strict), TEXTS)
    weights.shift = 99.0
    client = make(**strict)
    for texts in (MORE, ["one more"], [*TEXTS, "another"]):
        with pytest.raises(ModelDriftError, match="has other weights") as told:
            colour.embed(client, texts)
        assert told.value.results == {}
    assert colour.embed(client, TEXTS) != [weights(text, 3) for text in TEXTS]


def test_unless_strict_or_asked_for_nothing_is_sent_that_the_user_did_not_send(
    colour, make, serving
) -> None:
    colour.embed(make(canary=None), TEXTS)
    colour.embed(make(canary=False, on_drift="error"), MORE)
    assert CANARY not in serving.seen


def test_what_calls_kept_before_it_was_known_is_taken_back(
    make, weights, serving, monkeypatch
) -> None:
    make().embed(TEXTS)
    weights.shift = 99.0
    client = make()
    memory = client._calls.here().memory
    keep, over = memory.keep, threading.Event()

    def late(texts: Any, *answer: Any) -> None:
        assert CANARY not in texts or over.wait(60)
        keep(texts, *answer)

    monkeypatch.setattr(memory, "keep", late)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.embed, ["the first call"])
        while serving.requests < 2:
            time.sleep(0.001)
        client.embed(MORE)
        with pytest.warns(ModelDriftWarning):  # noqa: PT031 - listen, then let go
            over.set()
            first.result()
    fresh = make(canary=False)
    fresh.embed(MORE)
    assert fresh.stats.recalled == 0


def test_what_is_written_while_another_call_finds_out_is_taken_back(
    make, weights, monkeypatch
) -> None:
    make().embed(TEXTS)
    weights.shift = 99.0
    memory = make()._calls.here().memory
    put = memory._store.put_packed

    def late(rows: Any) -> None:
        monkeypatch.setattr(memory._store, "put_packed", put)
        memory.keep([CANARY], [weights(CANARY, 3)], "m")
        put([*rows])

    monkeypatch.setattr(memory._store, "put_packed", late)
    with pytest.warns(ModelDriftWarning):
        memory.keep(["a text"], [weights("a text", 3)], "m")
    assert memory.recall(["a text", TEXTS[0]])[0] is None
    assert memory.recall(["a text", TEXTS[0]])[1] is not None


def test_differences_as_between_batches_are_no_drift(colour, make, weights) -> None:
    colour.embed(make(), TEXTS)
    weights.shift = 1.0  # a distance of about 1e-4
    assert FAR > 1e-3
    colour.embed(make(), MORE)


def test_a_store_that_was_filled_without_it_takes_it_from_now_on(
    colour, make, weights
) -> None:
    colour.embed(make(canary=False), TEXTS)
    colour.embed(make(), MORE)
    weights.shift = 99.0
    with pytest.warns(ModelDriftWarning):
        colour.embed(make(), ["one more"])


def test_where_the_call_fails_the_next_one_sends_it(colour, make, serving) -> None:
    client = make()
    serving.fail(401)
    colour.embed(client, TEXTS, on_error="return")
    assert len(colour.embed(client, TEXTS)) == 40
    assert serving.seen[CANARY] == 1


def test_where_it_is_alone_in_a_request_that_ends_the_call_no_text_has_its_vector(
    colour, make, serving, weights
) -> None:
    client = make(batch_size=1, max_concurrency=1)
    serving.fail(401, times=2)
    partial = colour.embed(client, TEXTS, on_error="return")
    assert list(partial.failures) == [*range(40)]
    with pytest.raises(AuthenticationError) as raised:
        colour.resume(partial)
    assert raised.value.indices == tuple(range(40))
    assert colour.resume(raised.value) == [weights(text, 3) for text in TEXTS]


def test_a_server_that_refuses_it_costs_no_text_its_vector(colour, tmp_path) -> None:
    with LocalEndpoint(dimension=4, max_chars=len(CANARY) - 1) as endpoint:
        client = EmbeddingsClient(
            "m",
            api_key="k",
            base_url=endpoint.base_url,
            cache=tmp_path / "v.db",
            canary=True,
        )
        assert len(colour.embed(client, TEXTS)) == 40


def test_a_server_that_refuses_it_is_not_taken_for_one_that_refuses_all(
    colour, tmp_path
) -> None:
    with LocalEndpoint(dimension=4, max_chars=len(CANARY) - 1) as endpoint:
        given = {"api_key": "k", "base_url": endpoint.base_url, "batch_size": 1}
        cache = {"cache": tmp_path / "v.db", "canary": True}
        client = EmbeddingsClient("m", max_concurrency=1, **given, **cache)
        texts = ["too long " * 9, *TEXTS, "far too long " * 9]
        partial = colour.embed(client, texts, on_error="return")
    assert list(partial.failures) == [0, 41]
    assert len(partial.results) == 40


def test_a_call_whose_texts_are_refused_leaves_it_to_the_next(
    colour, make, serving
) -> None:
    client = make()
    with pytest.raises(InputError):
        colour.embed(client, ["a text", ""])
    assert len(colour.embed(client, TEXTS)) == 40
    assert serving.seen[CANARY] == 1


def test_a_canary_without_a_store_has_no_effect_and_is_refused(serving) -> None:
    with pytest.raises(ConfigurationError, match="without a cache"):
        EmbeddingsClient("m", base_url=serving.base_url, canary=True)


def test_other_prefixes_than_the_store_was_filled_with_are_told_of_once(
    colour, make
) -> None:
    first = make(document_prefix="passage: ")
    colour.embed(first, TEXTS, role="document")
    other = make()
    with pytest.warns(
        RoleDriftWarning, match="the cache.* role 'document'.*document_prefix"
    ):
        colour.embed(other, TEXTS, role="document")
    colour.embed(other, MORE, role="document")
    colour.embed(pickle.loads(pickle.dumps(first)), [], role="document")


def test_the_same_prefixes_and_roles_that_are_new_are_no_news(colour, make) -> None:
    settings = {"query_prefix": "query: ", "document_prefix": "passage: "}
    colour.embed(make(document_prefix="passage: "), TEXTS, role="document")
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            colour.embed(make(**settings), TEXTS, role="document")
            colour.embed(make(**settings), ["a question"], role="query")
            colour.embed(make(**settings), ["neither"])
    with pytest.warns(RoleDriftWarning, match="role 'query'"):
        colour.embed(make(document_prefix="passage: "), ["b"], role="query")


def test_the_file_holds_no_prefix(make, tmp_path: Path) -> None:
    client = make(document_prefix="a prefix to look for: ")
    client.embed(TEXTS, role="document")
    client.close()
    assert b"a prefix to look for" not in (tmp_path / "vectors.db").read_bytes()


def test_a_user_who_sends_the_fixed_text_gets_its_vector(colour, make, weights) -> None:
    colour.embed(make(), TEXTS)
    texts = [*TEXTS, CANARY]
    assert colour.embed(make(), texts) == [weights(text, 3) for text in texts]
