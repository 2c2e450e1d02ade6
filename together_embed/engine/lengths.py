"""Texts that are longer than a model can read: refused, cut, or split and merged.

Contract:
- `Limit.plan` says what to send for each text, and which texts were too long: the
  caller tells its user, for no text is cut in silence. `Plan.merge` turns the rows that
  came back into one row a text.
- Tokens are counted by whatever counter is given; without one they are estimated, see
  `engine.tokens`. Where an estimate was too low, the server's word counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from operator import mul
from typing import Literal

from together_embed.engine.roles import preset
from together_embed.engine.tokens import Counter, estimator
from together_embed.errors import ConfigurationError, InputError

Row = list[float]
"""One embedding: `width` Python floats."""
OnLong = Literal["error", "truncate", "split"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent for the texts of a call.

    Attributes:
        sent: What to send, prefix included, at least one for each text.
        weights: For each text the tokens of each of its pieces, in their order.
        long: The indices of the texts that were cut or split.
    """

    sent: list[str]
    weights: list[tuple[int, ...]]
    long: tuple[int, ...]

    def merge(self, rows: Sequence[Row]) -> list[Row]:
        """Return a row for each text from the rows of what was sent.

        Args:
            rows: One for each of `sent`, in its order.
        """
        merged: list[Row] = []
        place = 0
        for weights in self.weights:
            pieces = rows[place : place + len(weights)]
            merged.append(pieces[0] if len(weights) == 1 else merge(pieces, weights))
            place += len(weights)
        return merged


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a text may be, and what is done with a longer one.

    Attributes:
        tokens: As many as the model reads, prefix included.
        count: The counter that the limit is measured by.
        on_long: "error", "truncate" (the start is sent) or "split" (all of it is, in
            pieces whose rows are merged).
    """

    tokens: int
    count: Counter
    on_long: OnLong

    def plan(self, texts: Sequence[str], prefix: str = "") -> Plan:
        """Say what to send for each text.

        Args:
            texts: Strings of one role, without its prefix.
            prefix: What goes in front of each text, and of each piece of it.

        Raises:
            InputError: Texts are too long and `on_long` is "error"; or one cannot be
                cut, since a single character of it is over the limit.
        """
        sent: list[str] = []
        weights: list[tuple[int, ...]] = []
        long: list[int] = []
        for index, text in enumerate(texts):
            if self.count(prefix + text) <= self.tokens:
                pieces = [text]
            else:
                long.append(index)
                pieces = self._shorten(text, prefix, index)
            sent.extend(prefix + piece for piece in pieces)
            weights.append(self._weigh(pieces, prefix))
        if long and self.on_long == "error":
            raise InputError(
                f"over the {self.tokens} tokens that the model reads; cut them, or set "
                "on_long_input to 'truncate' or 'split'",
                indices=tuple(long),
            )
        return Plan(sent, weights, tuple(long))

    def _shorten(self, text: str, prefix: str, index: int) -> list[str]:
        if self.on_long == "error":
            return [text]
        pieces: list[str] = []
        whole, text = text, text.strip()
        start = 0
        while start < len(text):
            end = self._reach(text, start, prefix)
            if end == start:
                raise InputError(
                    f"not even a character of it fits into {self.tokens} tokens behind "
                    "its prefix",
                    indices=(index,),
                )
            pieces.append(text[start:end].rstrip())
            if self.on_long == "truncate":
                break
            start = _word_start(text, end)
        return pieces or [whole]  # a blank text is not ours to judge

    def _weigh(self, pieces: list[str], prefix: str) -> tuple[int, ...]:
        if len(pieces) == 1:
            return (1,)
        bare = self.count(prefix)
        return tuple(max(1, self.count(prefix + piece) - bare) for piece in pieces)

    def _reach(self, text: str, start: int, prefix: str) -> int:
        """Return where a piece from `start` has to end: behind a word if one is near.

        Counts no more than about twice what fits, so that a long text costs its length
        times a few, not its length squared.
        """
        fits, beyond = 0, self.tokens
        while start + beyond <= len(text) and self._fits(text, start, beyond, prefix):
            fits, beyond = beyond, beyond * 2
        beyond = min(beyond, len(text) - start + 1)
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            if self._fits(text, start, middle, prefix):
                fits = middle
            else:
                beyond = middle
        return _word_end(text, start, start + fits)

    def _fits(self, text: str, start: int, length: int, prefix: str) -> bool:
        return self.count(prefix + text[start : start + length]) <= self.tokens


def limit_for(
    model: str,
    on_long: OnLong,
    *,
    tokens: int | None = None,
    count: Counter | None = None,
) -> Limit:
    """Return the limit of a model, as far as the user does not say otherwise.

    Args:
        model: The model's name, for its context and the kind of its tokenizer.
        on_long: What to do with longer texts.
        tokens: The model's context, for a model that is not known or a server that
            reads less of a text.
        count: A counter of tokens; without it they are estimated.

    Raises:
        ConfigurationError: The model is not known and no context was given.
    """
    known = preset(model)
    if on_long not in ("error", "truncate", "split"):
        raise ConfigurationError(
            f"on_long_input is {on_long!r}, not 'error', 'truncate' or 'split'"
        )
    if tokens is None:
        if known is None:
            raise ConfigurationError(
                f"the context of {model!r} is not known; say how many tokens it reads"
            )
        tokens = known.context
    if tokens < 1:
        raise ConfigurationError(f"a context of {tokens} tokens holds no text")
    return Limit(tokens, count or estimator(model), on_long)


def merge(rows: Sequence[Row], weights: Sequence[int]) -> Row:
    """Return the mean of rows by weight, as long as the rows are.

    Its norm is the weighted mean of theirs: 1 where a model's vectors are of norm 1,
    and whatever is usual where they are not. Rows that cancel out have no direction in
    common; then the heaviest stands for all, and no zero vector is made up.
    """
    total = sum(weights)
    parts = [weight / total for weight in weights]
    mean = [sum(map(mul, parts, numbers)) for numbers in zip(*rows, strict=True)]
    norm = sum(part * hypot(*row) for part, row in zip(parts, rows, strict=True))
    length = hypot(*mean)
    if length <= norm * 1e-9:
        return list(rows[max(range(len(rows)), key=weights.__getitem__)])
    return [number * (norm / length) for number in mean]


def _word_start(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _word_end(text: str, start: int, end: int) -> int:
    """Go back to the last space of the second half, if there is one."""
    if end == len(text) or text[end].isspace():
        return end
    for place in range(end - 1, (start + end) // 2, -1):
        if text[place].isspace():
            return place
    return end
