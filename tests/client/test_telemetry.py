"""What OpenTelemetry gets of a call: spans and metrics, by its conventions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from tests.conftest import KEY, Colour
from together_embed import EmbeddingsClient
from together_embed.errors import (
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
)
from together_embed.local import Fault, LocalEndpoint

sdk = pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry import metrics  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from together_embed.telemetry import Telemetry  # noqa: E402

DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"


class Observed:
    """A telemetry, and what became of what it was told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracers = sdk.TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider([self._reader])
        self.tracer = self._tracers.get_tracer("the user's own")
        self.telemetry = Telemetry(
            tracer_provider=self._tracers, meter_provider=self._meters
        )

    def spans(self, *, own: bool = False) -> list[Any]:
        """Return what has ended: our spans, or the user's own."""
        ended = self._exporter.get_finished_spans()
        ours = "together_embed"
        return [s for s in ended if (s.instrumentation_scope.name == ours) != own]

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        found = data.resource_metrics[0].scope_metrics[0].metrics if data else []
        return [p for m in found if m.name == name for p in m.data.data_points]

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def observed() -> Any:
    made = Observed()
    yield made
    made.close()


@pytest.fixture
def counting() -> Any:
    """An endpoint whose answers say how many tokens they took."""
    with LocalEndpoint(dimension=8, usage=True, answer_model="m-2") as running:
        yield running


@pytest.fixture
def make(
    counting: LocalEndpoint, observed: Observed, make_client: Callable[..., Any]
) -> Callable[..., EmbeddingsClient]:
    def client(**settings: Any) -> EmbeddingsClient:
        settings = {"base_url": counting.base_url, **settings}
        made: EmbeddingsClient = make_client(on_batch=observed.telemetry, **settings)
        return made

    return client


def test_each_batch_is_a_span_that_says_what_was_asked_and_answered(
    make: Any, observed: Observed, counting: LocalEndpoint, colour: Colour
) -> None:
    colour.embed(make(batch_size=2), ["one text", "another text", "a third"])
    spans = observed.spans()
    assert [(span.name, span.kind) for span in spans] == [
        ("embeddings m", SpanKind.CLIENT)
    ] * 2
    assert sorted(dict(span.attributes)["together_embed.texts"] for span in spans) == [
        1,
        2,
    ]
    (of_two,) = (s for s in spans if s.attributes["together_embed.texts"] == 2)
    assert dict(of_two.attributes) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "together_ai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2",
        "gen_ai.request.encoding_formats": ("base64",),
        "gen_ai.embeddings.dimension.count": 8,
        "gen_ai.usage.input_tokens": 4,
        "server.address": "127.0.0.1",
        "server.port": counting.port,
        "together_embed.texts": 2,
        "together_embed.attempts": 1,
    }
    assert of_two.status.status_code is StatusCode.UNSET
    assert 0 < of_two.end_time - of_two.start_time < 60e9


def test_what_nobody_said_is_left_out(
    endpoint: LocalEndpoint, make: Any, observed: Observed
) -> None:
    make(base_url=endpoint.base_url, encoding_format="float").embed(["a text"])
    (span,) = observed.spans()
    assert "gen_ai.usage.input_tokens" not in span.attributes
    assert "gen_ai.request.encoding_formats" not in span.attributes
    assert observed.points(TOKENS) == []
    assert len(observed.points(DURATION)) == 1


def test_a_refused_encoding_is_not_told_as_the_one_that_was_asked_for_at_last(
    make: Any, observed: Observed
) -> None:
    with LocalEndpoint(dimension=8, base64="refuse") as plain:
        make(base_url=plain.base_url).embed(["a text"])
    (span,) = observed.spans()
    assert "gen_ai.request.encoding_formats" not in span.attributes
    assert span.attributes["together_embed.attempts"] == 2


def test_the_metrics_have_the_advised_buckets_and_the_spans_duration(
    make: Any, observed: Observed, colour: Colour
) -> None:
    colour.embed(make(), ["one text", "another text"])
    (span,) = observed.spans()
    (took,) = observed.points(DURATION)
    (tokens,) = observed.points(TOKENS)
    assert took.sum == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-6)
    assert (tokens.sum, tokens.count) == (4, 1)
    assert took.explicit_bounds == pytest.approx(
        [
            *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
            *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
        ]
    )
    assert tokens.explicit_bounds[:4] == (1, 4, 16, 64)
    assert tokens.explicit_bounds[-1] == 67108864
    shared = {**took.attributes}
    assert {**tokens.attributes} == {**shared, "gen_ai.token.type": "input"}
    assert shared == {name: span.attributes[name] for name in shared}
    assert "gen_ai.request.model" in shared


def test_a_batch_that_failed_is_a_span_with_its_status_and_no_tokens(
    make: Any, observed: Observed, counting: LocalEndpoint, colour: Colour
) -> None:
    counting.fail(401)
    with pytest.raises(AuthenticationError):
        colour.embed(make(), ["a text"])
    (span,) = observed.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "401"
    (took,) = observed.points(DURATION)
    assert took.attributes["error.type"] == "401"
    assert observed.points(TOKENS) == []


def test_a_failure_without_a_status_is_named_by_its_class(
    make: Any, observed: Observed, counting: LocalEndpoint
) -> None:
    counting.fail("short", times=None)
    with pytest.raises(InvalidResponseError):
        make(max_retries=0).embed(["one", "two"])
    (span,) = observed.spans()
    assert span.attributes["error.type"] == "InvalidResponseError"


def test_retries_are_within_the_span_of_their_batch(
    make: Any, observed: Observed, counting: LocalEndpoint, colour: Colour
) -> None:
    counting.script([500, 500])
    colour.embed(make(), ["a text"])
    (span,) = observed.spans()
    assert span.attributes["together_embed.attempts"] == 3
    assert "error.type" not in span.attributes


def test_what_the_store_knows_is_no_span(
    make: Any, observed: Observed, tmp_path: Any
) -> None:
    client = make(cache=tmp_path / "vectors")
    client.embed(["a text"])
    client.embed(["a text"])
    assert len(observed.spans()) == 1


def test_a_span_is_a_child_of_the_one_around_the_call(
    make: Any, observed: Observed
) -> None:
    client = make(batch_size=1)

    def sync(number: int) -> None:
        with observed.tracer.start_as_current_span("sync"):
            client.embed([f"text {number}", f"another {number}"])

    async def asynchronous(number: int) -> None:
        with observed.tracer.start_as_current_span("async"):
            await client.aembed([f"text {number}", f"another {number}"])

    async def side_by_side() -> None:
        await asyncio.gather(*map(asynchronous, range(4)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sync, range(4)))
    asyncio.run(side_by_side())
    parents = [span.context.span_id for span in observed.spans(own=True)]
    children = [span.parent.span_id for span in observed.spans()]
    assert len(parents) == 8
    assert sorted(children) == sorted(parents * 2)


def test_both_adapters_take_it_and_keep_it_in_copies(
    counting: LocalEndpoint, observed: Observed
) -> None:
    chain = TogetherEmbeddings(
        model="m",
        base_url=counting.base_url,
        api_key=KEY,
        on_batch=observed.telemetry,
    )
    index = TogetherEmbedding("m", KEY, counting.base_url, on_batch=observed.telemetry)
    with observed.tracer.start_as_current_span("mine"):
        chain.embed_documents(["a text"])
        asyncio.run(chain.model_copy(deep=True).aembed_query("a text"))
        index.get_text_embedding_batch(["a text"])
        asyncio.run(index.model_copy(deep=True).aget_query_embedding("a text"))
    (mine,) = observed.spans(own=True)
    parents = [span.parent.span_id for span in observed.spans()]
    assert parents == [mine.context.span_id] * 4


def test_neither_a_text_nor_the_key_is_told(
    make: Any, observed: Observed, counting: LocalEndpoint
) -> None:
    text = "a text that nobody but its owner should read"
    client = make()
    client.embed([text])
    wrong = Fault("status", 400, message=f"{KEY} cannot have {text}")
    counting.fail(wrong, times=2)  # the second without base64
    with pytest.raises(BadRequestError):
        client.embed([text])
    told = f"{[span.to_json() for span in observed.spans()]}{observed.points(DURATION)}"
    assert "cannot have" in told
    assert KEY not in told
    assert text not in told


def test_without_a_word_it_goes_to_the_global_providers_and_costs_nothing_there(
    make_client: Any,
) -> None:
    assert isinstance(metrics.get_meter_provider(), metrics.MeterProvider)
    with make_client(on_batch=Telemetry(provider="of my own")) as client:
        assert len(client.embed(["a text"])) == 1


def test_without_opentelemetry_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import together_embed\n"  # which needs none of it
        "try:\n    import together_embed.telemetry\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert 'pip install "together-embed[otel]"' in done.stdout, done.stderr
