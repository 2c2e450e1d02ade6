"""Takes one request from its arrival to its answer.

The order is fixed: path and method, key, size, contract, limits, then the fault, if one
is due. So a fault befalls only a request that would have been answered, and no fault is
spent on one that was wrong in itself. Runs on the server's event loop alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from gzip import compress
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from together_embed.local import answer
from together_embed.local.carry import Reply, send
from together_embed.local.contract import Ask, Refused, Terms, read
from together_embed.local.faults import Fault
from together_embed.local.hashing import words
from together_embed.local.limits import Limits
from together_embed.local.schedule import Schedule
from together_embed.local.tally import Entry, Tally, without_secrets
from together_embed.local.thread import LOG

Embedder = Callable[[str, int], Sequence[float]]

PATH = "/v1/embeddings"
DOCUMENT = "/openapi.json"


@dataclass
class Service:
    """What the endpoint does with a request; see `LocalEndpoint` for the settings."""

    terms: Terms
    limits: Limits
    schedule: Schedule
    tally: Tally
    embed: Embedder
    document: dict[str, Any]
    api_key: str | None = field(repr=False)
    require_key: bool
    usage: bool
    gzip: bool
    answer_model: str | None
    delay: float
    delay_per_text: float
    slots: asyncio.Semaphore | None
    _ids: "count[int]" = field(default_factory=lambda: count(1))
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _connections: "WeakKeyDictionary[asyncio.Transport, int]" = field(
        default_factory=WeakKeyDictionary
    )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or do to it what a fault asks for."""
        if request.method == "POST":
            self.tally.asked()
        elif request.path == DOCUMENT and request.method in ("GET", "HEAD"):
            return web.Response(
                body=msgspec.json.encode(self.document), content_type="application/json"
            )
        request_id = f"local-{next(self._ids)}"
        ask: Ask | None = None
        fault: Fault | None = None
        try:
            self._route(request)
            self._check_key(request)
            ask = read(await self._body(request), self.terms)
            reply, fault = await self._serve(request, ask, request_id)
        except Refused as refused:
            body = answer.error(request_id, refused.error)
            reply = Reply(refused.status, body, headers=refused.headers)
        except Exception as error:
            # An embedder of the user's own may raise anything.
            LOG.exception("the request could not be answered")
            message = f"The endpoint failed with {type(error).__name__}"
            fields = {"message": message, "type": "server_error"}
            reply = Reply(500, answer.error(request_id, {**fields}))
        except asyncio.CancelledError:
            # The client gave up, or the server is about to stop.
            self._settle(request, ask, fault, Reply(0, b""))
            raise
        reply.headers["X-Request-Id"] = request_id
        if request.method == "POST":
            self._settle(request, ask, fault, reply)
        return await send(request, reply, fault)

    def _route(self, request: web.Request) -> None:
        if request.path not in (PATH, DOCUMENT):
            raise Refused(404, f"There is nothing here; try {PATH}", code="not_found")
        allowed = "POST" if request.path == PATH else "GET, HEAD"
        if request.path != PATH or request.method != "POST":
            headers = {"Allow": allowed}
            raise Refused(405, f"The method has to be {allowed}", headers=headers)

    def _check_key(self, request: web.Request) -> None:
        if not self.require_key:
            return
        token = _bearer(request)
        if token is None or self.api_key not in (None, token):
            message = "The API key is missing or not accepted here"
            headers = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, message, code="invalid_api_key", headers=headers)

    async def _body(self, request: web.Request) -> bytes:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            message = f"The body is larger than {self.terms.max_bytes} bytes"
            raise Refused(413, message, code="request_too_large") from None
        except web.RequestPayloadError:
            raise Refused(400, "The body cannot be read to its end") from None
        if body and request.content_type != "application/json":
            raise Refused(400, "The content type has to be application/json")
        return body

    async def _serve(
        self, request: web.Request, ask: Ask, request_id: str
    ) -> tuple[Reply, Fault | None]:
        """Do the work, within the limits; counted as in flight until it is done."""
        self.limits.admit(self.tally.in_flight)
        self.tally.begin()
        try:
            fault = self.schedule.draw() if ask.texts else None
            await self._stall(fault)
            async with self._slot():
                await self._work(len(ask.texts))
                reply = self._reply(request, ask, fault, request_id)
        finally:
            # Before the answer leaves: who has it may send the next at once.
            self.tally.end()
        reply.headers |= self.limits.headers()
        if self.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            reply.body = compress(reply.body, 1)
            reply.headers["Content-Encoding"] = "gzip"
        if fault is not None:
            reply.headers |= fault.headers
        return reply, fault

    def _slot(self) -> AbstractAsyncContextManager[object]:
        return nullcontext() if self.slots is None else self.slots

    async def _stall(self, fault: Fault | None) -> None:
        """Wait where the fault is to wait: that too counts as in flight."""
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind == "hang":
            await asyncio.Event().wait()

    async def _work(self, texts: int) -> None:
        seconds = self.delay + self.delay_per_text * texts
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _reply(
        self, request: web.Request, ask: Ask, fault: Fault | None, request_id: str
    ) -> Reply:
        kind = fault.kind if fault else None
        if fault is None or kind is None:
            return Reply(200, self._success(ask, None))
        if kind == "status":
            body, content_type = answer.error_of(fault, request_id, ask)
            return Reply(fault.status, body, content_type)
        if kind == "redirect":
            location = {"Location": fault.location}
            return Reply(fault.status, b"", "text/plain", location)
        if kind == "echo":
            said = request.headers.get("Authorization", "nothing")
            fields = {"message": f"Not accepted: {said}", "type": "auth"}
            return Reply(fault.status, answer.error(request_id, {**fields}))
        if kind == "not_json":
            return Reply(200, answer.page(200), "text/html")
        if kind == "no_data":
            return Reply(200, b'{"object":"list"}')
        return Reply(200, self._success(ask, fault))

    def _success(self, ask: Ask, fault: Fault | None) -> bytes:
        data = answer.rows([list(self.embed(t, ask.dimension)) for t in ask.texts])
        if fault is not None:
            data = answer.mangle(fault.kind, data)
        tokens = sum(len(words(t)) for t in ask.texts) if self.usage else None
        body = answer.success(
            ask,
            data,
            model=self.answer_model or ask.model,
            tokens=tokens,
            exact=fault is None or fault.kind != "nan",
        )
        halved = fault is not None and fault.kind == "truncated"
        return body[: len(body) // 2] if halved else body

    def _settle(
        self, request: web.Request, ask: Ask | None, fault: Fault | None, reply: Reply
    ) -> None:
        silent = fault is not None and fault.kind in ("reset", "hang_up")
        entry = Entry(
            status=0 if silent else reply.status,
            texts=len(ask.texts) if ask else 0,
            fault=fault.kind if fault else None,
            fields=ask.fields if ask else (),
            headers=without_secrets(request.headers),
            bearer=_bearer(request) is not None,
            connection=self._number(request),
        )
        good = reply.status == 200 and (fault is None or fault.lawful)
        self.tally.settle(entry, ask.texts if good and ask else None)

    def _number(self, request: web.Request) -> int:
        """Number the connections by the order of their first POST."""
        if request.transport is None:
            return 0
        if request.transport not in self._connections:
            self._connections[request.transport] = next(self._numbers)
        return self._connections[request.transport]


def _bearer(request: web.Request) -> str | None:
    """Give the bearer token that a request brought, where it did."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
