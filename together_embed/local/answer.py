"""Builds the bodies of answers: right ones, wrong ones, and errors in every shape.

Pure: rows in, bytes out. Numbers are written in full, so that a client that reads them
holds the very floats that the endpoint computed; base64 is little-endian float32.
"""

import base64
import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from together_embed.local.contract import Ask
from together_embed.local.faults import Fault, Kind, Shape

Row = dict[str, Any]

_PAGE = (
    "<!DOCTYPE html><html><head><title>{0}</title></head>"
    "<body><center><h1>Error {0}</h1></center><hr></body></html>"
)


def rows(vectors: Sequence[Sequence[float]]) -> list[Row]:
    """Number the vectors, as the contract's `data`."""
    return [
        {"index": index, "object": "embedding", "embedding": vector}
        for index, vector in enumerate(vectors)
    ]


def success(
    ask: Ask, data: list[Row], *, model: str, tokens: int | None, exact: bool = True
) -> bytes:
    """Write an answer of status 200.

    Args:
        ask: The request; it says whether base64 was asked for.
        data: The rows, whose vectors are still numbers.
        model: The model's name in the answer.
        tokens: What `usage` counts; None leaves `usage` out.
        exact: False where a vector may hold what JSON or base64 has no place for.
    """
    if ask.base64:
        data = [{**row, "embedding": _packed(row["embedding"])} for row in data]
    answer: dict[str, Any] = {"object": "list", "model": model, "data": data}
    if tokens is not None:
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    # msgspec writes null for NaN; the json module writes what is not JSON at all.
    return msgspec.json.encode(answer) if exact else json.dumps(answer).encode()


def _packed(vector: object) -> object:
    """Give a vector as base64; what is no vector of floats stays as it is."""
    if not isinstance(vector, list) or not vector:
        return vector
    if not all(isinstance(number, float) for number in vector):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def mangle(kind: Kind, data: list[Row]) -> list[Row]:
    """Spoil (or only rearrange) the rows of an answer; other kinds leave them."""
    change = _CHANGES.get(kind)
    return data if change is None else change([dict(row) for row in data])


def _reorder(data: list[Row]) -> list[Row]:
    middle = len(data) // 2
    return data[middle:][::-1] + data[:middle]


def _integers(data: list[Row]) -> list[Row]:
    for row in data:
        row["embedding"] = [
            int(number) if number == int(number) else number
            for number in row["embedding"]
        ]
    return data


def _extra(data: list[Row]) -> list[Row]:
    return [*data, {**data[-1], "index": len(data)}]


def _duplicate(data: list[Row]) -> list[Row]:
    # With one text there is no other index to take, so its row comes twice.
    if len(data) == 1:
        return [data[0], dict(data[0])]
    data[-1]["index"] = data[0]["index"]
    return data


def _uneven(data: list[Row]) -> list[Row]:
    if len(data) == 1:
        data = _extra(data)
    data[-1]["embedding"] = data[-1]["embedding"][:-1]
    return data


def _with_vector(make: Callable[[list[float]], object]) -> Callable[..., list[Row]]:
    """Change the vector of the row in the middle."""

    def change(data: list[Row]) -> list[Row]:
        row = data[len(data) // 2]
        row["embedding"] = make(row["embedding"])
        return data

    return change


_CHANGES: dict[Kind, Callable[[list[Row]], list[Row]]] = {
    "reorder": _reorder,
    "integers": _integers,
    "short": lambda data: data[:-1],
    "extra": _extra,
    "duplicate": _duplicate,
    "uneven": _uneven,
    "nan": _with_vector(lambda vector: [math.nan, *vector[1:]]),
    "null_number": _with_vector(lambda vector: [None, *vector[1:]]),
    "null_row": _with_vector(lambda _: None),
    "empty_row": _with_vector(lambda _: []),
    "strings": _with_vector(lambda vector: [str(number) for number in vector]),
}


def page(status: int) -> bytes:
    """Write the HTML that a proxy shows in front of a server."""
    return _PAGE.format(status).encode()


def error(request_id: str, fields: dict[str, str | None]) -> bytes:
    """Write an error as the contract's schema has it."""
    return msgspec.json.encode({"id": request_id, "error": fields})


def error_of(fault: Fault, request_id: str, ask: Ask) -> tuple[bytes, str]:
    """Write the error that `fault` asks for, and give its content type."""
    message = fault.message or f"Told to answer with {fault.status}"
    if fault.body is not None:
        return fault.body, _type_of(fault.body)
    shape: Shape = fault.shape
    if shape == "html":
        return page(fault.status), "text/html"
    if shape in ("text", "empty"):
        return message.encode() if shape == "text" else b"", "text/plain"
    if shape == "bare":
        return msgspec.json.encode({"error": {"message": message}}), "application/json"
    if shape == "detail":
        return msgspec.json.encode({"detail": message}), "application/json"
    if shape == "details":
        item = {"loc": ["body", "input"], "msg": message, "input": ask.texts}
        return msgspec.json.encode({"detail": [item]}), "application/json"
    fields = {
        "message": message,
        "type": fault.type or kind_of(fault.status),
        "param": None,
        "code": fault.code or _CODES.get(fault.status),
    }
    return error(request_id, fields), "application/json"


def _type_of(body: bytes) -> str:
    if body.lstrip()[:1] in (b"{", b"["):
        return "application/json"
    return "text/html" if body.lstrip()[:1] == b"<" else "text/plain"


def kind_of(status: int) -> str:
    """Name the `type` of an error of this status."""
    return _TYPES.get(status, "server_error" if status >= 500 else _REQUEST)


_REQUEST = "invalid_request_error"
_TYPES = {429: "rate_limit", 503: "service_unavailable", 504: "timeout"}
_CODES = {401: "invalid_api_key", 404: "model_not_available"}
