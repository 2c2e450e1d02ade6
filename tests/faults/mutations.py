"""Mutates answers, from right ones to noise: what the fuzzers share."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

TOKENS = (
    *(b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b"[]", b"{}"),
    *(b"0", b"-0", b"1", b"-1", b"2", b"0.0", b"1.0", b"1e0", b"0.5", b"1e-400"),
    *(b"1e999", b"3.5e38", b"1.7976931348623157e308", b"9" * 30, b"9" * 400),
    *(b'""', b'"AAAA"', b'"AACAPw=="', b'"AAAAfw=="', b'"AADAfw=="', b'"AAAA\\n"'),
    *(b'"AACAPwAAgD8="', b'"="', b'"1.0"', b'"\\ud800"', b'"\\u0000"', b"\xff\xfe"),
    *(b'"index"', b'"embedding"', b'"data"', b",", b":", b"[", b"]", b"{", b"}", b" "),
    *(b"\\", b'"', b"\x00", b"\x7f", b"\xc3", b"\xe2\x80\xa8", b"-", b"+", b"e", b"."),
    *(b'{"index":0,"embedding":[1.0]}', b'"model":{}', b'"data":[]', b"/**/", b"\xa0"),
)
NAMES = ("index", "embedding", "data", "Index", "embedding ", "model", "")


class Mutator:
    """Answers by the dice of a seed, from right ones to noise."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._changes: tuple[Callable[[bytes], bytes], ...] = (
            self._flip,
            self._delete,
            self._repeat,
            self._insert,
            self._replace,
            self._replace,
            self._swap,
            self._cut,
        )

    def next(self) -> tuple[bytes, int]:
        """Return an answer, and how many texts were asked about."""
        dice = self._dice
        count = dice.randint(1, 4)
        answer = self._answer(count)
        for _ in range(dice.choice((0, 0, 1, 2))):
            self._bend(answer)
        return self.change(json.dumps(answer).encode()), count

    def change(self, body: bytes) -> bytes:
        """Change bytes here and there, or not at all."""
        for _ in range(self._dice.choice((0, 1, 1, 2, 5))):
            body = self._dice.choice(self._changes)(body)
        return body

    def _answer(self, count: int) -> dict[str, Any]:
        width = self._dice.randint(1, 3)
        data = [{"index": n, "embedding": self._vector(width)} for n in range(count)]
        self._dice.shuffle(data)
        more = {"model": "m", "usage": {"total_tokens": 3}, "object": "list"}
        return {"data": data, **(more if self._dice.random() < 0.3 else {})}

    def _vector(self, width: int) -> Any:
        dice = self._dice
        kind = dice.randrange(4)
        if kind == 0:
            return base64.b64encode(dice.randbytes(4 * width)).decode()
        if kind == 1:
            return [dice.randint(-9, 9) for _ in range(width)]
        return [dice.uniform(-1, 1) for _ in range(width)]

    def _bend(self, answer: dict[str, Any]) -> None:
        """Change the answer's structure."""
        dice = self._dice
        data = answer["data"]
        item = dice.choice(data) if data else {}
        bend = dice.randrange(7)
        if bend == 0 and data:
            data.remove(item)
        elif bend == 1:
            data.append(dict(item))
        elif bend == 2:
            item["index"] = dice.choice((-1, 0, 1, 2, 4, 0.0, "0", None, True, 2**64))
        elif bend == 3:
            item["embedding"] = self._vector(dice.randint(0, 4))
        elif bend == 4 and isinstance(item.get("embedding"), list):
            odd = (None, True, "1", [], 1e39, -0.0, 10**30, 1e308, 5e-324)
            item["embedding"].append(dice.choice(odd))
        elif bend == 5 and item:
            item[dice.choice(NAMES)] = item.pop(dice.choice(list(item)))
        elif bend == 6:
            dice.shuffle(data)

    def _place(self, body: bytes) -> int:
        return self._dice.randrange(len(body) + 1)

    def _span(self, body: bytes) -> tuple[int, int]:
        start = self._place(body)
        return start, min(len(body), start + self._dice.choice((1, 1, 2, 5, 20)))

    def _flip(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + bytes([self._dice.randrange(256)]) + body[at + 1 :]

    def _delete(self, body: bytes) -> bytes:
        start, stop = self._span(body)
        return body[:start] + body[stop:]

    def _repeat(self, body: bytes) -> bytes:
        start, stop = self._span(body)
        return body[:stop] + body[start:]

    def _insert(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + self._dice.choice(TOKENS) + body[at:]

    def _replace(self, body: bytes) -> bytes:
        """Put another token in the place of one."""
        ends = [at for at, byte in enumerate(body) if byte in b',:[]{}"']
        if len(ends) < 2:
            return body
        at = self._dice.randrange(len(ends) - 1)
        token = self._dice.choice(TOKENS)
        return body[: ends[at] + 1] + token + body[ends[at + 1] :]

    def _swap(self, body: bytes) -> bytes:
        start, stop = self._span(body)
        other = self._place(body)
        piece = body[start:stop]
        return body[:other] + piece + body[other:start] + body[stop:]

    def _cut(self, body: bytes) -> bytes:
        return body[: self._place(body)]
