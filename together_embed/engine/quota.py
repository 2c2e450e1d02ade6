"""What answers' headers say is left: read with distrust, kept to before a refusal.

An answer may tell how many requests, or tokens, are left until when. What went out
after its request is taken off; when nothing is left, the rest waits, for a second or
two at most: a limit that holds for longer shows in a refusal with its time, and those
are the brake's. Who says that nothing is left and carries more is not believed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from together_embed.engine.retry import seconds_until

LONGEST = 2.0
"""Seconds for which nothing goes out on the word of a header alone."""
LIES = 5
"""Requests carried although nothing was left, after which it is not believed: half as
many after the next refusal, and so on, until it is never believed again."""
ABSURD = 86_400.0
"""Seconds: a window beyond a day is no window."""
PAIRS = (
    ("x-ratelimit-remaining", "x-ratelimit-reset", False),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", False),
    ("x-tokenlimit-remaining", "x-tokenlimit-reset", True),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", True),
)
"""Headers that say how much is left, and until when; whether that is tokens."""


class Quota(NamedTuple):
    """What is left until a moment.

    Attributes:
        requests: Requests that may still be sent.
        seconds: For how long that is said.
    """

    requests: float
    seconds: float


def read(headers: Mapping[str, str], tokens: float) -> Quota | None:
    """Read what is left, by whichever measure is the tighter.

    A pair counts only if both are readable, the reset lies ahead and within a day, and
    no more remains than the limit allows. A reset of 0, fractions of a second, epoch
    times and HTTP dates were all seen; the first says nothing.

    Args:
        headers: The answer's; look-ups do not mind the case.
        tokens: How many tokens a request like this one is, about.
    """
    least: Quota | None = None
    for name, reset_name, of_tokens in PAIRS:
        if name in headers:  # they seldom are, and every answer is looked at
            unit = max(tokens, 1.0) if of_tokens else 1.0
            said = _pair(headers, name, reset_name, unit=unit)
            least = min(filter(None, (least, said)), default=None)
    return least


def _pair(
    headers: Mapping[str, str], name: str, reset_name: str, *, unit: float
) -> Quota | None:
    remaining = _number(headers[name])
    limit = _number(headers.get(name.replace("remaining", "limit"), "inf"))
    seconds = seconds_until(headers.get(reset_name, ""), headers.get("date"))
    if remaining is None or not 0 <= remaining <= (limit or 0.0):
        return None
    if seconds is None or not 0 < seconds <= ABSURD:
        return None
    return Quota(remaining // unit, seconds)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


class Budget:
    """What may still go out by the headers' account.

    Attributes:
        ready_at: Nothing goes out before.
    """

    def __init__(self) -> None:
        self.ready_at = 0.0
        self._left = math.inf
        self._until = 0.0
        self._newest = -1  # the serial of the newest answer that said something
        self._beyond: set[int] = set()  # serials that went out with nothing left
        self._lies = 0
        self._most_lies = LIES

    def send(self, serial: int, now: float) -> None:
        """Take notice of a request that goes out."""
        if now >= self._until or not self._is_believed:
            return
        self._left -= 1
        if self._left < 0:
            self._beyond.add(serial)
        if self._left <= 0:
            self.ready_at = max(self.ready_at, min(self._until, now + LONGEST))

    def learn(self, quota: Quota | None, serial: int, after: int, now: float) -> None:
        """Take in what a right answer says.

        Args:
            quota: What its headers say.
            serial: Its request's number.
            after: How many requests went out after it.
            now: The moment.
        """
        if serial in self._beyond:
            self._beyond.discard(serial)
            self._lies += 1
        if quota is None or not self._is_believed:
            return
        self._left = quota.requests - after
        self._until = now + quota.seconds
        if self._left <= 0:
            self.ready_at = min(self._until, now + LONGEST)
        elif serial > self._newest:
            self.ready_at = 0.0  # what went out was not taken off, or has come back
        self._newest = max(self._newest, serial)

    def hint(self, now: float) -> float | None:
        """Return for how many seconds nothing is left, if that is what was said."""
        spent = self._left <= 0 and now < self._until
        return self._until - now if spent and self._is_believed else None

    def refused(self) -> None:
        """Believe again, for less long than before: there was a limit."""
        if not self._is_believed:
            self._most_lies //= 2
        self._lies = 0
        self._beyond.clear()

    @property
    def _is_believed(self) -> bool:
        return self._lies < self._most_lies
