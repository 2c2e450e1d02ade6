"""Turns a text into a vector by counting hashed words and pieces of words.

No language model: texts are near each other when they share words, or words that are
spelled alike. The same text gives the same numbers in every process, on every platform
and from Python 3.10 to 3.13 (for letters known to Unicode 13): totals are integers, so
that no order of summation can change them, and every number is exact in float32.

The method is feature hashing with a sign (Weinberger and others, 2009).
"""

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from operator import mul

DIMENSION = 256

# Spelled out, not \w: which letters \w knows depends on the version of Python. Runs
# are cut at 64 characters, so that one endless "word" cannot fill the cache.
_WORD = re.compile(r"[^\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f\uff00-\uff0f]{1,64}")
_PIECE_LENGTHS = (3, 4, 5)
_PIECE_WEIGHT = 2
_LONGEST_THAT_COUNTS = 8
# Words that nearly every English text holds say little about what it is about.
_COMMON = frozenset(
    """a an and are as at be by can do does for from had has have how i if in into is
    it its me my no not of on one or our so than that the their them then there these
    they this to was we were what when where which who why will with you your""".split()  # noqa: SIM905
)


def embed(text: str, dimension: int = DIMENSION) -> list[float]:
    """Embed `text` as `dimension` numbers of unit length.

    Args:
        text: Any text. One without a word (empty, or punctuation alone) is hashed
            whole, so that it gets a vector of unit length too.
        dimension: How many numbers to return, at least 1.

    Returns:
        Floats that are exact in float32, and whose squares add up to 1 as nearly as
        float32 allows.
    """
    totals = [0] * dimension
    for word, count in Counter(words(text)).items():
        # A word said a hundred times is not a hundred times as telling: 1, 2, 2, 3…
        times = count.bit_length()
        for bucket, weight in _features(word, dimension):
            totals[bucket] += weight * times
    if not any(totals):
        totals[_bucket(f"whole {text}", dimension)[0]] = 1
    length = math.sqrt(sum(map(mul, totals, totals)))
    return array("f", [total / length for total in totals]).tolist()


def words(text: str) -> list[str]:
    """Split `text` into lower-case words; punctuation and spaces are left out."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=1 << 16)
def _features(word: str, dimension: int) -> tuple[tuple[int, int], ...]:
    """Give the (bucket, signed weight) pairs that one occurrence of `word` adds."""
    sums: Counter[int] = Counter()
    for feature, weight in _weighted(word):
        bucket, sign = _bucket(feature, dimension)
        sums[bucket] += sign * weight
    return tuple(sums.items())


def _weighted(word: str) -> Iterator[tuple[str, int]]:
    """Yield the word, then its pieces; longer words tell more, common ones little."""
    if word in _COMMON:
        yield f"word {word}", 1
        return
    yield f"word {word}", 2 + min(len(word), _LONGEST_THAT_COUNTS)
    marked = f"<{word}>"
    for size in _PIECE_LENGTHS:
        for start in range(len(marked) - size + 1):
            yield f"piece {marked[start : start + size]}", _PIECE_WEIGHT


def _bucket(feature: str, dimension: int) -> tuple[int, int]:
    """Hash a feature to a place among `dimension` and a sign."""
    # Not hash(): Python salts it anew in every process.
    digest = blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return (number >> 1) % dimension, 1 if number & 1 else -1
