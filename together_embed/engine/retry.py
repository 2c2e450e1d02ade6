"""Again or not, and when.

The rules: an error class says itself whether it is `transient`; attempts are bounded;
waits grow exponentially with full jitter, so that clients that failed together do not
return together; a time that the server names is a hint within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

BASE_DELAY = 0.5
"""Seconds: the bound of the first wait; each further one doubles it."""
MAX_DELAY = 8.0
"""Seconds: no wait of our own choosing is longer. Eight retries then take 20 s in the
mean, 40 s at most: long enough for a restart, short enough for somebody who waits."""
MAX_HINT = 60.0
"""Seconds: a server's hint is followed this far. Servers were seen to name a constant
60 where 2 were left, and 20 for ever."""
ABSURD_HINT = 86_400.0
"""Seconds: a hint beyond a day is no hint."""
UNREACHABLE_RETRIES = 3
"""How often to knock again where no connection could be made and nothing was served of
late: that is rather a wrong address, and whoever mistyped it should learn it soon."""
STARTUP = 1800.0
"""Seconds for which a deployment that says it has no replica yet is waited for, without
that counting as retries: one can take 20 minutes to start, and half as long again."""
EARLY_CLOSES_FREE = 2
"""How often a batch may meet a connection that the server had closed, and go again at
once: a stale connection says nothing about the server's health."""


@dataclass(frozen=True)
class Policy:
    """How often to try, with whose dice.

    Attributes:
        max_retries: Retries of one batch after its first attempt.
        random: A function that returns a float in [0, 1).
    """

    max_retries: int
    random: Callable[[], float]

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after `failures` failures in a row (1 or more)."""
        bound = min(MAX_DELAY, BASE_DELAY * 2.0 ** min(failures - 1, 16))
        return self.random() * bound


def hinted_delay(headers: Mapping[str, str]) -> float | None:
    """Read from a failure's headers after how many seconds to come back.

    Understands `retry-after-ms`, `Retry-After` (seconds, fractions, an HTTP date), the
    same as a gateway hands it on, and `x-ratelimit-reset` (seconds, an epoch time, an
    HTTP date). Dates are measured against the answer's own `Date`. Zero, negative,
    unreadable and absurd values give None; the others are cut at `MAX_HINT`.
    """
    for name, unit in (
        ("retry-after-ms", 0.001),
        ("retry-after", 1.0),
        ("llm_provider-retry-after", 1.0),
        ("x-ratelimit-reset", 1.0),
    ):
        value = headers.get(name)
        if value is None:
            continue
        seconds = seconds_until(value, headers.get("date"))
        if seconds is not None and 0 < seconds * unit <= ABSURD_HINT:
            return min(seconds * unit, MAX_HINT)
    return None


def seconds_until(value: str, date: str | None) -> float | None:
    """Read seconds, an epoch time or an HTTP date; the latter two need `Date`."""
    try:
        seconds = float(value)
    except ValueError:
        then, now = _epoch(value), _epoch(date)
        return None if then is None or now is None else then - now
    if not math.isfinite(seconds):
        return None
    if seconds > 1_000_000_000:  # an epoch time
        now = _epoch(date)
        return None if now is None else seconds - now
    return seconds


_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def _epoch(date: str | None) -> float | None:
    """Read an HTTP date in the one form that RFC 9110 lets senders write.

    `email.utils` would do, but brings sockets and clocks into the engine's room.
    """
    try:
        _, day, month, year, clock, _ = (date or "").split()
        hour, minute, second = map(int, clock.split(":"))
        number = _MONTHS.index(month) // 3 + 1
        then = datetime(
            int(year), number, int(day), hour, minute, second, tzinfo=timezone.utc
        )
    except (ValueError, OverflowError):
        return None
    return then.timestamp()
