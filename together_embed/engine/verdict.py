"""What an outcome says about the server, rather than about its one request."""

from __future__ import annotations

from together_embed.engine import quota, retry
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.signals import BYTES_PER_TOKEN, Report, Verdict

STRAINED = (408, 503, 504)
"""Statuses of a server, or of what stands behind it, that does not keep up."""


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
        late = outcome.cause is Cause.TIMEOUT
        return Report(Verdict.STRAINED if late else Verdict.FAILED, seconds, size)
    if outcome.status == 200:
        left = quota.read(outcome.headers, size / BYTES_PER_TOKEN)
        return Report(Verdict.RIGHT, seconds, size, None, left)
    hint = retry.hinted_delay(outcome.headers)
    if wants_fewer(outcome, hint):
        return Report(Verdict.REFUSED, seconds, size, hint)
    strained = outcome.status in STRAINED
    return Report(Verdict.STRAINED if strained else Verdict.FAILED, seconds, size)


def wants_fewer(reply: Reply, hint: float | None) -> bool:
    """Tell whether an answer speaks of the client's pace, and not of one request."""
    return reply.status == 429 or (reply.status == 503 and hint is not None)
