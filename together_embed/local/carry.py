"""Carries out on the socket what a fault asks for: the one place that does.

A `Reply` is a finished answer. `send` gives it back to aiohttp as it is, or lets it
come in part, in drops, with a lie about its length, or not at all. (Waiting is the
service's part, since it counts as being in flight.)
"""

import asyncio
import gzip
import socket
import struct
from dataclasses import dataclass, field

from aiohttp import web

from together_embed.local.faults import Fault, Kind

_CHUNK = 1 << 16


@dataclass
class Reply:
    """A finished answer: status, body, content type and headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


async def send(
    request: web.BaseRequest, reply: Reply, fault: Fault | None
) -> web.StreamResponse:
    """Send `reply` in the way that `fault` asks for."""
    kind: Kind | None = fault.kind if fault else None
    if fault is None or kind is None:
        return _plain(reply)
    if kind in ("reset", "hang_up"):
        return _break_off(request, reset=kind == "reset")
    if kind in ("cut", "reset_midway"):
        return await _half(request, reply, reset=kind == "reset_midway")
    if kind == "drip":
        return await _drip(request, reply, fault.seconds)
    if kind == "close":
        return await _then_close(request, reply)
    if kind == "flood":
        return await _flood(request, reply, fault.size)
    if kind in ("long_length", "short_length"):
        return await _lie(request, reply, 100 if kind == "long_length" else -100)
    return _plain(_harmful(reply, fault))


def _harmful(reply: Reply, fault: Fault) -> Reply:
    """Give the answers that are meant to harm, and any other reply as it is."""
    if fault.kind == "nested":
        return Reply(200, b"[" * fault.size)
    if fault.kind == "long_header":
        reply.headers["X-Long"] = "x" * fault.size
    if fault.kind == "bomb":
        reply.headers["Content-Encoding"] = "gzip"
        reply.body = gzip.compress(bytes(fault.size))
    return reply


def _plain(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status,
        body=reply.body,
        content_type=reply.content_type,
        headers=reply.headers,
    )


def _break_off(request: web.BaseRequest, *, reset: bool) -> web.Response:
    """Close the connection; what aiohttp then writes goes nowhere."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if reset and sock is not None:
            # Lingering for 0 seconds turns the close into a reset.
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


async def _begin(
    request: web.BaseRequest, reply: Reply, length: int
) -> web.StreamResponse:
    """Send status and headers, with `length` as the body's length."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_type = reply.content_type
    response.content_length = length
    await response.prepare(request)
    return response


async def _half(
    request: web.BaseRequest, reply: Reply, *, reset: bool
) -> web.StreamResponse:
    response = await _begin(request, reply, len(reply.body))
    await response.write(reply.body[: len(reply.body) // 2])
    # A reset also discards what the client has not read yet; let it read a little.
    await asyncio.sleep(0.01)
    _break_off(request, reset=reset)
    return response


async def _drip(
    request: web.BaseRequest, reply: Reply, seconds: float
) -> web.StreamResponse:
    response = await _begin(request, reply, len(reply.body))
    for at in range(len(reply.body)):
        await response.write(reply.body[at : at + 1])
        await asyncio.sleep(seconds)
    return response


async def _then_close(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    response = _plain(reply)
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.close()
    return response


async def _flood(
    request: web.BaseRequest, reply: Reply, size: int
) -> web.StreamResponse:
    """Send blanks, which JSON allows anywhere, up to `size` bytes."""
    response = await _begin(request, reply, size)
    blanks = b" " * _CHUNK
    while size > 0:
        await response.write(blanks[:size])
        size -= _CHUNK
    return response


async def _lie(
    request: web.BaseRequest, reply: Reply, surplus: int
) -> web.StreamResponse:
    """Announce `surplus` bytes more than come, and close where they are awaited."""
    length = max(1, len(reply.body) + surplus)
    if surplus > 0:
        response = await _begin(request, reply, length)
        await response.write(reply.body)
        _break_off(request, reset=False)
        return response
    # aiohttp would cut the body to its announced length: what is left over is written
    # behind its back, and lies in wait for the next request on this connection.
    response = await _begin(request, reply, length)
    await response.write(reply.body[:length])
    if request.transport is not None:
        request.transport.write(reply.body[length:])
    return response
