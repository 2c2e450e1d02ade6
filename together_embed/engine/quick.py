"""Decodes answers of JSON numbers without a Python float in between, for arrays.

simdjson does it, where it is installed. It takes what is plainly right: objects of
fields that come once, rows of numbers and of nothing else. On anything else, base64
included, it has no opinion, so that `wire` alone says what is wrong and in which words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Decoded = tuple[list[tuple[int, NDArray[np.float64]]], str | None, Any]
    """The `index` and numbers of each row, then `model` and `usage`."""
    Decode = Callable[[bytes, int], Decoded | None]
    """Decodes the body of an answer to so many texts; None is no opinion."""


def decoder() -> Decode | None:
    """Return a decoder for one thread at a time, or None where simdjson is missing."""
    simdjson = _simdjson()
    if simdjson is None:
        return None
    import numpy

    parser = simdjson.Parser()

    def row(item: Any) -> tuple[int, NDArray[np.float64]]:
        index = _once(item)["index"]
        numbers = numpy.frombuffer(item["embedding"].as_buffer(of_type="d"))
        if type(index) is not int or not numbers.all():
            raise ValueError("not plain")  # -0 is an integer to it, without a sign
        return index, numbers

    def decode(body: bytes, count: int) -> Decoded | None:
        nonlocal parser
        # A bracket for `data` and one a row: nothing is hidden in a row, or is text.
        if not body.startswith(b"{") or body.count(b"[") != count + 1:
            return None
        try:
            answer = _once(parser.parse(body))
            rows = [row(item) for item in answer["data"]]
            model, usage = answer.get("model"), answer.get("usage")
            named = model if isinstance(model, str) else None
            return rows, named, usage and usage.as_dict()
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            # What was broken off, by Ctrl-C too, may leave a parser in use for good.
            parser = simdjson.Parser()
            return None

    return decode


@cache
def _simdjson() -> Any:
    """Return the module, or None; looking for one that is missing takes a while."""
    try:
        import simdjson
    except ModuleNotFoundError:
        return None
    return simdjson


def _once(fields: Any) -> Any:
    """Return the fields of an object, each of which has a name of its own."""
    if len(set(fields)) != len(fields):
        raise ValueError("parsers differ in which of two they take")
    return fields
