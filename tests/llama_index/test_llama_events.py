"""What observers of LlamaIndex see of a call."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.embedding import (
    EmbeddingEndEvent,
    EmbeddingStartEvent,
)
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.storage.kvstore import SimpleKVStore

from llama_index_together_embed import TogetherEmbedding
from together_embed import BatchStats

KEY = "canary-key-2f0b"


def sync(model: TogetherEmbedding, texts: list[str]) -> list[list[float]]:
    return model.get_text_embedding_batch(texts)


def asynchronous(model: TogetherEmbedding, texts: list[str]) -> list[list[float]]:
    return asyncio.run(model.aget_text_embedding_batch(texts))


both = pytest.mark.parametrize("embed", [sync, asynchronous])


class Recorder(BaseCallbackHandler):
    """Writes down the events of the callback manager."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, dict[str, Any]] = {}

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        assert event_type is CBEventType.EMBEDDING
        self.started[event_id] = payload or {}
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        assert event_id in self.started
        assert event_id not in self.ended
        self.ended[event_id] = payload or {}

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing to write down."""

    def end_trace(
        self,
        trace_id: str | None = None,
        trace_map: dict[str, list[str]] | None = None,
    ) -> None:
        """Nothing to write down."""


class Listener(BaseEventHandler):
    """Writes down the events of the instrumentation."""

    events: list[Any] = []  # noqa: RUF012  # a field of pydantic's, copied for each

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def listener() -> Iterator[Listener]:
    root, listener = get_dispatcher(), Listener()
    root.add_event_handler(listener)
    yield listener
    root.event_handlers.remove(listener)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@both
def test_callbacks_get_a_start_and_an_end_for_each_batch(
    make, recorder, texts, vectors, embed
):
    embed(
        make(embed_batch_size=100, callback_manager=CallbackManager([recorder])), texts
    )
    assert list(recorder.started) == list(recorder.ended)
    ends = list(recorder.ended.values())
    assert [end[EventPayload.CHUNKS] for end in ends] == [
        texts[:100],
        texts[100:200],
        texts[200:],
    ]
    assert [end[EventPayload.EMBEDDINGS] for end in ends] == [
        vectors[:100],
        vectors[100:200],
        vectors[200:],
    ]
    for start in recorder.started.values():
        assert start[EventPayload.SERIALIZED]["model_name"] == "m"


@both
def test_instrumentation_gets_a_start_and_an_end_for_each_batch(
    make, listener, texts, vectors, embed
):
    embed(make(embed_batch_size=100), texts)
    starts = [e for e in listener.events if isinstance(e, EmbeddingStartEvent)]
    ends = [e for e in listener.events if isinstance(e, EmbeddingEndEvent)]
    assert len(starts) == 3
    assert [len(end.chunks) for end in ends] == [100, 100, 50]
    assert [row for end in ends for row in end.embeddings] == vectors
    assert starts[0].model_dict == {
        "class_name": "TogetherEmbedding",
        "model_name": "m",
        "embed_batch_size": 100,
    }


def test_single_texts_have_their_pair_of_events(make, listener, recorder, endpoint):
    model = make(callback_manager=CallbackManager([recorder]))
    model.get_query_embedding("wind")
    model.get_text_embedding("wind")
    asyncio.run(model.aget_query_embedding("wind"))
    asyncio.run(model.aget_text_embedding("wind"))
    kinds = [type(event).__name__ for event in listener.events]
    assert kinds == ["EmbeddingStartEvent", "EmbeddingEndEvent"] * 4
    assert [end[EventPayload.CHUNKS] for end in recorder.ended.values()] == [
        ["wind"]
    ] * 4


@both
def test_vectors_from_the_cache_have_their_events(
    make, recorder, texts, vectors, embed
):
    model = make(embeddings_cache=SimpleKVStore(), embed_batch_size=100)
    embed(model, texts)
    model.callback_manager = CallbackManager([recorder])
    embed(model, texts)
    ends = recorder.ended.values()
    assert [row for end in ends for row in end[EventPayload.EMBEDDINGS]] == vectors


@both
def test_a_failure_ends_every_event_that_was_begun(
    make, endpoint, recorder, texts, embed
):
    endpoint.fail(403, times=None)
    endpoint.slow(0.05)  # all are on their way when the first answer comes
    model = make(embed_batch_size=10, callback_manager=CallbackManager([recorder]))
    with pytest.raises(Exception, match="403") as caught:
        embed(model, texts)
    assert recorder.started
    assert set(recorder.started) == set(recorder.ended)
    for end in recorder.ended.values():
        assert end[EventPayload.EXCEPTION] is caught.value


@both
def test_a_failure_within_a_trace_is_told_once(make, endpoint, recorder, embed):
    endpoint.fail(403, times=None)
    manager = CallbackManager([recorder])
    with pytest.raises(Exception, match="403"), manager.as_trace("index"):
        embed(make(callback_manager=manager), ["wind"])
    assert len(recorder.ended) == 1


@both
def test_a_call_is_a_span_and_its_events_lie_in_it(make, spans, listener, texts, embed):
    embed(make(embed_batch_size=100), texts)
    names = [span.id_.split("-")[0] for span in _closed(spans)]
    assert any("get_text_embedding_batch" in name for name in names)
    assert {event.span_id for event in listener.events} <= {
        span.id_ for span in _closed(spans)
    }


def _closed(handler: SimpleSpanHandler) -> list[BaseSpan]:
    return list(handler.completed_spans)


@both
def test_no_event_tells_the_key(make, listener, recorder, texts, embed):
    model = make(
        api_key=KEY,
        default_headers={"Authorization": f"Bearer {KEY}"},
        callback_manager=CallbackManager([recorder]),
    )
    embed(model, texts[:3])
    assert KEY not in f"{listener.events}{recorder.started}{recorder.ended}"


@both
def test_a_hook_leaves_the_events_as_they_are(make, recorder, listener, texts, embed):
    told: list[BatchStats] = []
    for on_batch in (None, told.append):
        model = make(
            embed_batch_size=100,
            on_batch=on_batch,
            callback_manager=CallbackManager([recorder]),
        )
        embed(model, texts)
    kinds = [type(event).__name__ for event in listener.events]
    assert kinds.count("EmbeddingStartEvent") == kinds.count("EmbeddingEndEvent") == 6
    assert len(recorder.started) == len(recorder.ended) == 6
    assert sorted(batch.texts for batch in told) == [50, 100, 100]


@both
def test_the_last_call_can_be_read_off_the_model(make, texts, embed):
    model = make(embeddings_cache=SimpleKVStore(), embed_batch_size=100)
    assert model.last_stats is None
    embed(model, texts)
    assert (model.last_stats.texts, model.last_stats.requests) == (250, 3)
    embed(model, ["wind", *texts])
    assert (model.last_stats.texts, model.last_stats.requests) == (1, 1)
