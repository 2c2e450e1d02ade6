"""What a call did before it could not go on, and how to go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from together_embed.errors import (
    ConfigurationError,
    EmbeddingsError,
    ModelDriftError,
)

OnError = Literal["raise", "return"]
Again = Callable[[list[int]], Any]
AgainAsync = Callable[[list[int]], Awaitable[Any]]
"""Ask for the texts of these numbers again, and return their rows or raise."""


@dataclass
class Partial:
    """What a call got: its vectors, its errors, and the way to continue.

    It can be pickled, but cannot be resumed then, since that needs the texts and the
    client.

    Attributes:
        results: The vectors, by the index of their text.
        failures: The errors of the texts that failed, by the index of the text.
        remaining: The indices of the texts that have neither.
    """

    results: dict[int, Any]
    failures: dict[int, EmbeddingsError]
    remaining: tuple[int, ...] = ()
    _again: Again | None = field(default=None, repr=False, compare=False)
    _aagain: AgainAsync | None = field(default=None, repr=False, compare=False)

    @classmethod
    def whole(cls, rows: Iterable[Any]) -> Partial:
        """Return the state of a call that has a vector for every text."""
        return cls(dict(enumerate(rows)), {})

    @classmethod
    def left_by(
        cls,
        error: EmbeddingsError,
        results: dict[int, Any],
        failures: dict[int, EmbeddingsError],
        remaining: tuple[int, ...],
        again: Again | None = None,
        aagain: AgainAsync | None = None,
    ) -> Partial:
        """Return the state of a call that ended with an error.

        Where that is another model, its vectors are no results; since it can be noticed
        after some answers only, none of the call's are.
        """
        if isinstance(error, ModelDriftError):
            failures = dict.fromkeys(sorted({*results, *failures, *remaining}), error)
            results, remaining = {}, ()
        return cls(results, failures, remaining, again, aagain)

    def resume(self) -> list[list[float]]:
        """Embed what failed or remained again, and return all vectors in order.

        After `embed_array`, they are rows of float32.

        Raises:
            EmbeddingsError: Some texts still failed; the error has the new state.
            ConfigurationError: This was unpickled, and has no client and no texts.
        """
        if not (todo := self._todo()):
            return self._rows()
        if self._again is None:
            raise _no_way()
        try:
            more = Partial.whole(self._again(todo))
        except EmbeddingsError as error:
            more = handed_over(error, "return")
        return self._merge(todo, more)

    async def aresume(self) -> list[list[float]]:
        """Do what `resume` does, as a coroutine on the running loop."""
        if not (todo := self._todo()):
            return self._rows()
        if self._aagain is None:
            raise _no_way()
        try:
            more = Partial.whole(await self._aagain(todo))
        except EmbeddingsError as error:
            more = handed_over(error, "return")
        return self._merge(todo, more)

    def renumbered(self, numbers: Sequence[int]) -> Partial:
        """Return the same, by the numbers that its texts have in a larger call."""
        for error in dict.fromkeys(self.failures.values()):
            error.indices = tuple(numbers[at] for at in error.indices)
        return Partial(
            {numbers[at]: row for at, row in self.results.items()},
            {numbers[at]: error for at, error in self.failures.items()},
            tuple(numbers[at] for at in self.remaining),
        )

    def _todo(self) -> list[int]:
        return sorted({*self.failures, *self.remaining})

    def _merge(self, todo: list[int], more: Partial) -> list[list[float]]:
        """Take in what was asked for; another resumption may have brought some too."""
        more = more.renumbered(todo)
        self.results.update(more.results)
        known = self.results.keys()
        self.failures = {n: e for n, e in more.failures.items() if n not in known}
        self.remaining = tuple(n for n in more.remaining if n not in known)
        for error in more.failures.values():
            error.partial = self
        if self._todo():
            failures = self.failures or more.failures
            raise failures[min(failures)]
        return self._rows()

    def _rows(self) -> list[list[float]]:
        return [self.results[number] for number in sorted(self.results)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_again": None, "_aagain": None}


def may_return(on_error: OnError) -> bool:
    """Tell whether a caller wants errors as values.

    Raises:
        ConfigurationError: It is neither of the two words.
    """
    if on_error not in ("raise", "return"):
        raise ConfigurationError(f"on_error is {on_error!r}, not 'raise' or 'return'")
    return on_error == "return"


def handed_over(error: EmbeddingsError, on_error: OnError) -> Partial:
    """Return what a call did that went wrong, where its caller wants that.

    Raises:
        EmbeddingsError: The caller wants the error, or it came before the call began.
    """
    early = isinstance(error, ConfigurationError)
    if on_error == "raise" or early or error.partial is None:
        raise error
    return error.partial


def _no_way() -> ConfigurationError:
    return ConfigurationError(
        "what was pickled, or comes of a stream, holds no texts and no client: embed "
        "the texts of `failures` and `remaining` again"
    )
