"""Reads what an answer's headers say of the limits, and believes little of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from together_embed.engine.retry import seconds_until

ABSURD = 86_400.0
"""Seconds: a window beyond a day is no window."""
REMAINING = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", False),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", True),
    ("x-tokenlimit-remaining", "x-tokenlimit-reset", True),
    ("x-ratelimit-remaining", "x-ratelimit-reset", False),
)
"""Pairs of headers that say how much is left, and until when; whether it is tokens."""


class Quota(NamedTuple):
    """What is left until a moment.

    Attributes:
        requests: Requests that may still be sent, or None.
        requests_for: The seconds for which that is said.
        tokens: Tokens that may still be sent, or None.
        tokens_for: The seconds for which that is said.
    """

    requests: float | None = None
    requests_for: float = 0.0
    tokens: float | None = None
    tokens_for: float = 0.0


def read(headers: Mapping[str, str]) -> Quota | None:
    """Read what is left, by both of its measures.

    A pair counts only if both are readable, the reset lies ahead and within a day, and
    no more remains than the limit allows. A reset of 0, fractions of a second, epoch
    times and HTTP dates were all seen; the first says nothing.
    """
    quota = Quota()
    for name, reset_name, tokens in REMAINING:
        left, until = headers.get(name), headers.get(reset_name)
        if left is None or until is None:
            continue
        remaining = _number(left)
        limit = _number(headers.get(name.replace("remaining", "limit"), "inf"))
        seconds = seconds_until(until, headers.get("date"))
        if remaining is None or not 0 <= remaining <= (limit or 0.0):
            continue
        if seconds is None or not 0 < seconds <= ABSURD:
            continue
        if tokens:
            quota = quota._replace(tokens=remaining, tokens_for=seconds)
        else:
            quota = quota._replace(requests=remaining, requests_for=seconds)
    return quota if quota != Quota() else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
