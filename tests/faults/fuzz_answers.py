"""Lets atheris look for an answer that is misread, by the branches that it takes.

A program of its own: `make fuzz`. libFuzzer sees which lines of the reader and of the
judge an input reaches, keeps what reaches new ones, and goes on from there; the
mutator of the suite bends answers where blind bytes would seldom stay JSON. The first
byte of an input says how many texts were asked about, and the rest is the answer.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

try:
    import atheris
except ModuleNotFoundError:
    sys.exit("fuzzing needs atheris, which has no wheel for this Python or system")

with atheris.instrument_imports(
    include=["together_embed.engine", "tests.faults.judge"]
):
    from .judge import check
from .mutations import Mutator

MOST = 4
"""Texts asked about."""
EACH = 100_000
"""Answers after which it says how many were right."""
seen: Counter[bool] = Counter()


def one(data: bytes) -> None:
    """Judge one input; what it raises is what was looked for."""
    count = 1 + data[0] % MOST if data else 1
    seen[check(data[1:], count)] += 1
    if seen.total() % EACH == 0:
        print(f"{seen.total():,} answers, {seen[True]:,} of them right, none misread")


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Bend an input: as an answer, as bytes, or begin with another answer."""
    mutator = Mutator(seed)
    way = random.Random(seed).randrange(8)
    if way == 0 or len(data) < 2:
        body, count = mutator.next()
        bent = bytes([count - 1]) + body
    elif way < 5:
        bent = data[:1] + mutator.change(data[1:])
    else:
        bent = atheris.Mutate(data, most)
    return bent[:most]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one, custom_mutator=mutate)
    atheris.Fuzz()
