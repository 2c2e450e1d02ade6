"""One question to a server: one request by the client's own transport, and no retry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from together_embed.engine import wire
from together_embed.engine.outcome import Cause, Lost
from together_embed.engine.rows import LISTS, InvalidReply
from together_embed.errors import (
    ConnectionFailedError,
    EmbeddingsError,
    InvalidResponseError,
    RequestTimeoutError,
)
from together_embed.settings import Settings
from together_embed.transports.route import Route
from together_embed.transports.sync_requests import RequestsTransport


@dataclass(frozen=True)
class Answered:
    """A good answer.

    Attributes:
        rows: The vectors.
        base64: Whether they came as base64.
        model: The name that the server answered with.
        headers: The answer's headers.
        seconds: How long it took.
    """

    rows: list[list[float]]
    base64: bool
    model: str | None
    headers: Mapping[str, str]
    seconds: float


class Asking:
    """Asks the server that a client was set up for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport = RequestsTransport(
            Route(settings.url, settings.request_headers, settings.connect_seconds)
        )

    def ask(self, *texts: str, **fields: object) -> Answered:
        """Return the answer to one request.

        Raises:
            EmbeddingsError: There is none, or no good one.
        """
        settings = self._settings
        body = wire.encode(settings.model, texts, {**settings.further_fields, **fields})
        begun = time.perf_counter()
        reply = self._transport.send(body, settings.read_seconds)
        seconds = time.perf_counter() - begun
        if isinstance(reply, Lost):
            raise _lost(reply)
        if reply.status != 200:
            raise wire.read_error(reply, settings.scrub)
        try:
            answer = wire.read_answer(reply.body, len(texts))
            rows = LISTS.read(answer.embeddings, None)
        except InvalidReply as error:
            raise InvalidResponseError(str(error)) from None
        packed = isinstance(answer.embeddings[0], bytes)
        return Answered(rows, packed, answer.model, reply.headers, seconds)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def _lost(lost: Lost) -> EmbeddingsError:
    if lost.cause is Cause.CRASH and lost.error is not None:
        raise lost.error
    words = f"{lost.cause.value} ({lost.detail})" if lost.detail else lost.cause.value
    late = lost.cause is Cause.TIMEOUT
    return RequestTimeoutError(words) if late else ConnectionFailedError(words)
