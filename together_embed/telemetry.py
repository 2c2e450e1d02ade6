"""Spans and metrics of OpenTelemetry, by its conventions for generative AI.

An operation in the sense of the conventions is a batch: from its first request until
its vectors are there, or it has failed for good, its retries included. What a cache
answered is none. Needs the extra `otel`, which brings the API alone: the SDK, and where
it sends what it gets, are the application's to choose.

Names and buckets are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/,
status "Development", as of November 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from together_embed.engine.stats import BatchStats
from together_embed.errors import StatusError

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as error:
    raise ImportError(
        "together_embed.telemetry needs OpenTelemetry: "
        'pip install "together-embed[otel]"'
    ) from error

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    Attributes = dict[str, str | int | list[str]]

SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
"""The first in which a provider has a name, rather than a system."""
DURATIONS = [0.01 * 2**step for step in range(14)]
"""Bounds of the buckets of a duration, in seconds, as the conventions advise."""
TOKENS = [4**step for step in range(14)]
"""The same for tokens."""


class Telemetry:
    """An `on_batch` that makes a span and two measurements of each batch.

    A span is a child of the one that is current where the call is made: in its thread,
    or its task. Spans and metrics hold no text, no vector and no key.

    Args:
        provider: What `gen_ai.provider.name` says. The conventions have no word of
            their own for Together; name another server here.
        tracer_provider: Where spans go; the global one if None.
        meter_provider: Where metrics go; the global one if None.
    """

    def __init__(
        self,
        *,
        provider: str = "together_ai",
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        name = "together_embed"
        meter = metrics.get_meter(
            name, meter_provider=meter_provider, schema_url=SCHEMA
        )
        self._provider = provider
        self._tracer = trace.get_tracer(
            name, tracer_provider=tracer_provider, schema_url=SCHEMA
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="From a batch's first request until it is settled.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a batch, as the server counted them.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )

    def __call__(self, batch: BatchStats) -> None:
        """Tell OpenTelemetry of a batch."""
        shared = _shared(batch, self._provider)
        span = self._tracer.start_span(
            f"embeddings {batch.asked_model}",
            kind=trace.SpanKind.CLIENT,
            attributes={**shared, **_details(batch)},
            start_time=_nanoseconds(batch.started_at),
        )
        if batch.error is not None:
            span.set_status(trace.StatusCode.ERROR, batch.reason)
        self._measure(batch, shared, span)
        span.end(_nanoseconds(batch.started_at + batch.seconds))

    def _measure(self, batch: BatchStats, shared: Attributes, span: Span) -> None:
        within = trace.set_span_in_context(span)  # what an exemplar points to
        self._duration.record(batch.seconds, shared, within)
        # A failure's tokens are left out: the conventions want it so.
        if batch.tokens is not None and batch.error is None:
            kind = {"gen_ai.token.type": "input"}
            self._tokens.record(batch.tokens, {**shared, **kind}, within)


def _shared(batch: BatchStats, provider: str) -> Attributes:
    """Return what spans and metrics have in common: few different values each."""
    server = urlsplit(batch.server)
    port = server.port or (443 if server.scheme == "https" else 80)
    found: Attributes = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": batch.asked_model,
        "server.address": server.hostname or "",
        "server.port": port,
    }
    if batch.model is not None:
        found["gen_ai.response.model"] = batch.model
    if batch.error is not None:
        found["error.type"] = _kind(batch, batch.error)
    return found


def _details(batch: BatchStats) -> Attributes:
    """Return what a span alone has; the conventions know no word for the last two."""
    found: Attributes = {}
    if batch.asked_encoding is not None:
        found["gen_ai.request.encoding_formats"] = [batch.asked_encoding]
    if batch.width is not None:
        found["gen_ai.embeddings.dimension.count"] = batch.width
    if batch.tokens is not None:
        found["gen_ai.usage.input_tokens"] = batch.tokens
    found["together_embed.texts"] = batch.texts
    found["together_embed.attempts"] = batch.attempts
    return found


def _kind(batch: BatchStats, error: type[BaseException]) -> str:
    """Name a failure by its status, or by its class where it has none."""
    if issubclass(error, StatusError) and batch.status is not None:
        return str(batch.status)
    return error.__name__


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
