"""One question to a server: one request by the client's own transport, and no retry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from together_embed.engine import wire
from together_embed.engine.aftermath import failure
from together_embed.engine.outcome import Lost
from together_embed.engine.rows import LISTS, InvalidReply
from together_embed.errors import InvalidResponseError
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
            raise reply.error or failure(reply)
        if reply.status != 200:
            raise wire.read_error(reply, settings.scrub)
        try:
            answer = wire.read_answer(reply.body, len(texts))
            rows = LISTS.read(answer.embeddings, None)
        except InvalidReply as error:
            raise InvalidResponseError(str(error)) from None
        packed = isinstance(answer.embeddings[0], bytes)
        model = answer.model and self._shown(answer.model)
        headers = {self._shown(k): self._shown(v) for k, v in reply.headers.items()}
        return Answered(rows, packed, model, headers, seconds)

    def _shown(self, words: str) -> str:
        """Return a server's words as they may be shown: it may repeat the key."""
        return wire.excerpt(words, self._settings.scrub)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
