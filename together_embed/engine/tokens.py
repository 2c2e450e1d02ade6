"""How many tokens a text is, about, without a vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from together_embed.engine.roles import preset

Counter = Callable[[str], int]
"""Tells how many tokens a text is, with those that the model adds, [CLS] and [SEP]."""

LETTERS_A_TOKEN = 3
"""English prose has four letters or more to a token in the usual vocabularies."""
ADDED = 2
"""Tokens that a model adds to a text: one in front and one behind."""

_LETTERS = bytes(byte for byte in range(128) if chr(byte).isalpha())
_SPACES = b" \t\n\r\v\f"
_BEYOND = bytes(range(128, 256))
_WORDS = bytes(byte if byte in _LETTERS else 32 for byte in range(256))


def estimate(text: str, *, bytewise: bool = False) -> int:
    """Return about how many tokens a text is, rather too many than too few.

    It is no bound: English prose is said to be half as long again as it is, or a little
    more; text that is no language, such as base64, can be longer than is said.

    Words of ASCII letters count a third of a token a letter and a third a word, in sum
    no less than one each; every other visible ASCII character counts as one, and one
    beyond ASCII as one, or as its bytes in UTF-8 if `bytewise`. Where there are such,
    each word counts as one more.
    """
    data = text.encode("utf-8", "surrogatepass")
    letters = len(data) - len(data.translate(None, _LETTERS))
    words = len(data.translate(_WORDS).split())
    ascii_bytes = len(data.translate(None, _BEYOND))
    marks = len(data.translate(None, _LETTERS + _SPACES + _BEYOND))
    beyond = (len(data) if bytewise else len(text)) - ascii_bytes
    if beyond:
        beyond += len(text.split())  # a word's beginning can be a token of its own
    latin = max(words, (letters + words) // LETTERS_A_TOKEN)
    return ADDED + latin + marks + beyond


def estimator(model: str) -> Counter:
    """Return the estimate that fits a model's tokenizer; the longest where unknown."""
    known = preset(model)
    bytewise = known is None or known.bytewise
    return partial(estimate, bytewise=bytewise)
