"""Texts that are longer than a model can read: refused, cut, or sent in pieces.

Contract:
- `Limit.fit` says what to send for each text, and which texts were too long: no text is
  cut in silence. What the rows of pieces become is told in `engine.joints`.
- Tokens are counted by whatever counter is given; without one they are estimated, see
  `engine.tokens`. Where an estimate was too low, the server's word counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from together_embed.engine.roles import preset
from together_embed.engine.tokens import Counter, estimator
from together_embed.errors import ConfigurationError, InputError

OnLong = Literal["error", "truncate", "split"]


@dataclass(frozen=True, slots=True)
class Fit:
    """What is sent for texts.

    Attributes:
        sent: What to send, prefix included, at least one for each text.
        weights: For each text the tokens of each of its pieces, in their order; None
            where each text goes out in one.
        long: Where the texts that are too long stand in the call; they were cut or
            split, where that is what is done.
    """

    sent: Sequence[str]
    weights: list[tuple[int, ...]] | None = None
    long: tuple[int, ...] = ()


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

    def fit(self, texts: Sequence[str], prefix: str = "", start: int = 0) -> Fit:
        """Say what to send for each text.

        Args:
            texts: Strings of one role, without its prefix.
            prefix: What goes in front of each text, and of each piece of it.
            start: The number of the first of them within the whole call.

        Raises:
            InputError: A text cannot be cut, since a single character of it is over
                the limit.
        """
        sent: list[str] = []
        pieces: list[int] = []
        weights: dict[int, tuple[int, ...]] = {}
        long: list[int] = []
        for number, text in enumerate(texts):
            parts = [text]
            if self.count(prefix + text) > self.tokens and not text.isspace():
                long.append(start + number)
                parts = self._shorten(text, prefix, start + number)
            if len(parts) > 1:
                weights[number] = self._weigh(parts, prefix)
            pieces.append(len(parts))
            sent += [prefix + part for part in parts]
        split = [weights.get(n, (1,)) for n in range(len(pieces))] if weights else None
        return Fit(sent, split, tuple(long))

    def error(self, long: tuple[int, ...]) -> InputError:
        """Return the error for texts that are too long, where that is one."""
        return InputError(
            f"over the {self.tokens} tokens that the model reads; cut them, or set "
            "on_long_input to 'truncate' or 'split'",
            indices=long,
        )

    def warning(self, long: tuple[int, ...]) -> str:
        """Say what was done to texts that are too long."""
        some, whose = "1 text is", "its"
        if len(long) > 1:
            some, whose = f"{len(long)} texts are", "their"
        done = f"cut to {whose} beginning" if self.on_long == "truncate" else "split"
        shown = ", ".join(map(str, long[:10])) + (", …" if len(long) > 10 else "")
        return (
            f"{some} over the {self.tokens} tokens that the model reads, and will be "
            f"{done}: {'input' if len(long) == 1 else 'inputs'} {shown}"
        )

    def _shorten(self, text: str, prefix: str, index: int) -> list[str]:
        if self.on_long == "error":
            return [text]
        pieces: list[str] = []
        text = text.strip()
        start = 0
        while start < len(text):
            end = self._reach(text, start, prefix)
            if end == start:
                raise InputError(
                    f"not even one character of it fits into {self.tokens} tokens, "
                    "after its prefix",
                    indices=(index,),
                )
            pieces.append(text[start:end].rstrip())
            if self.on_long == "truncate":
                break
            start = _word_start(text, end)
        return pieces

    def _weigh(self, pieces: list[str], prefix: str) -> tuple[int, ...]:
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
        said = repr(on_long) if isinstance(on_long, str) else type(on_long).__name__
        raise ConfigurationError(
            f"on_long_input is {said}, not 'error', 'truncate' or 'split'"
        )
    if tokens is None:
        if known is None:
            raise ConfigurationError(
                f"the context of {model!r} is not known: pass max_input_tokens"
            )
        tokens = known.context
    if not isinstance(tokens, int) or tokens < 1:
        raise ConfigurationError(f"max_input_tokens is {tokens!r}: no text fits")
    return Limit(tokens, count or estimator(model), on_long)


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
