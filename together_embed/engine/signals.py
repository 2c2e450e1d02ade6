"""What passes between a job and the flow: a permit goes out, a report comes back.

A report says what an outcome tells of the server, rather than of its one request.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from together_embed.engine import quota, retry
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.quota import Quota

BYTES_PER_TOKEN = 4
"""Of English text: the rough measure by which tokens are counted beforehand."""
STRAINED = (408, 503, 504)
"""Statuses of a server, or of what stands behind it, that does not keep up."""


class Verdict(Enum):
    """What a request that is over says about the server."""

    RIGHT = "it carried the request"
    REFUSED = "it wants fewer requests"
    STRAINED = "it may carry nothing now: 408, 503, 504, out of time, no connection"
    BROKEN = "a fault of its own, or none: another 5xx, a lost connection"
    FAILED = "nothing of how it is: its word on this one request, or a fault of ours"
    ABANDONED = "nobody waits for it any more"


_OF_LOSSES = {
    Cause.TIMEOUT: Verdict.STRAINED,
    Cause.UNREACHABLE: Verdict.STRAINED,
    Cause.CONNECTION: Verdict.BROKEN,
    Cause.CLOSED_EARLY: Verdict.BROKEN,
}


class Permit(Struct, eq=False):
    """Leave to send one request.

    Attributes:
        serial: Its number among all permits of the flow.
        level: How many requests were in flight when it was given, itself included.
        given_at: When that was.
        tokens: What it was charged for, estimated; the report corrects it.
        gap: Seconds since the permit before it.
    """

    serial: int
    level: int
    given_at: float
    tokens: float
    gap: float = 0.0


class Report(Struct, frozen=True):
    """What became of the request that a permit was given for.

    Attributes:
        verdict: What it says about the server.
        seconds: How long it was on its way.
        size: Bytes of its body.
        hint: The seconds after which a refusal wants it to come back, if it says.
        quota: What the answer's headers say is left, if they do.
    """

    verdict: Verdict
    seconds: float = 0.0
    size: int = 0
    hint: float | None = None
    quota: Quota | None = None


def report(outcome: Outcome | None, seconds: float, size: int) -> Report:
    """Return what the flow is to learn from an outcome.

    Args:
        outcome: What became of a request; None where nobody waits for it any more.
        seconds: How long it was on its way.
        size: Bytes of its body.
    """
    if outcome is None:
        return Report(Verdict.ABANDONED, seconds, size)
    if isinstance(outcome, Lost):
        return Report(_OF_LOSSES.get(outcome.cause, Verdict.FAILED), seconds, size)
    if outcome.status == 200:
        left = quota.read(outcome.headers, size / BYTES_PER_TOKEN)
        return Report(Verdict.RIGHT, seconds, size, None, left)
    if wants_fewer(outcome):
        hint = retry.hinted_delay(outcome.headers)
        return Report(Verdict.REFUSED, seconds, size, hint)
    if outcome.status in STRAINED:
        return Report(Verdict.STRAINED, seconds, size)
    broken = outcome.status >= 500
    return Report(Verdict.BROKEN if broken else Verdict.FAILED, seconds, size)


def wants_fewer(reply: Reply) -> bool:
    """Tell whether an answer speaks of the client's pace, and not of one request."""
    if reply.status == 503:
        return retry.hinted_delay(reply.headers) is not None
    return reply.status == 429
