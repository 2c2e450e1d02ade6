"""The texts of a request, taken out of what a server says of it.

Contract: no whole text is left in a message, as it is or as JSON and Python spell it,
but for a plain word, or three characters, that stand among others without quotes. Such
a word tells nobody much, and a message could not be read without it: texts such as
"input" or "the" are texts, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

LONG = 20
"""Characters of a text beyond which it is looked for within other words as well."""

_WORD = re.compile(r"[a-z_]*|.{1,3}", re.DOTALL)
"""What may be a word of the server's own: names of fields and codes are such, too."""
_START = re.compile("[A-Za-z0-9 ]{0,24}")
"""How a text begins that no spelling changes."""
_OPEN, _CLOSE = "[\"'`\u201c\u2018«]", "[\"'`\u201d\u2019»]"


def hide_texts(words: str, texts: Sequence[str], name: Callable[[int], str]) -> str:
    """Return words with each text replaced by what is to stand for it.

    Args:
        words: What a server said.
        texts: Those of the request.
        name: Tells what stands for a text, by its place; asked where one is found.
    """
    for at in sorted(range(len(texts)), key=lambda at: -len(texts[at])):
        text = texts[at]
        if not _may_be_in(words, text):
            continue
        # The longest first: a text may be the beginning of how it is escaped.
        spellings = {text, json.dumps(text)[1:-1], repr(text)[1:-1]}
        for spelled in sorted(spellings, key=len, reverse=True):
            if spelled and spelled in words:
                words = _hide(words, spelled, name(at))
    return words


def _may_be_in(words: str, text: str) -> bool:
    """Tell whether a text may be in words, however it is spelled: never any shorter.

    Of 2,048 texts hardly one is. To spell them all holds an event loop for 10 ms.
    """
    start = _START.match(text)
    return len(text) <= len(words) and start is not None and start[0] in words


def _hide(words: str, text: str, name: str) -> str:
    if len(text) > LONG:
        return words.replace(text, name)
    found = re.escape(text)
    words = re.sub(rf"(?<={_OPEN}){found}(?={_CLOSE})", lambda _: name, words)
    if _WORD.fullmatch(text):
        return words
    return re.sub(rf"(?<!\w){found}(?!\w)", lambda _: name, words)
