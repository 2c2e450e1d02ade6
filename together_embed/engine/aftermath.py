"""What becomes of a batch whose request brought no vectors: again, later, or over.

The error's class says whether it is transient; what is retried, and how often, is in
`retry`. A request that may be too large, or asked for in a way that the server does not
know, goes out again in another form, and that is no retry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from together_embed.engine import retry, wire
from together_embed.engine.batching import Batch
from together_embed.engine.brake import PASSING
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.plan import Dialect, Plan, Ticket
from together_embed.engine.retry import Policy
from together_embed.engine.rows import ErrorReply, InvalidReply, OtherWidth
from together_embed.engine.scrub import hide_texts
from together_embed.engine.signals import wants_fewer
from together_embed.engine.stats import Tally
from together_embed.errors import (
    Attempt,
    BadRequestError,
    CertificateError,
    ConnectionFailedError,
    ForbiddenError,
    InvalidResponseError,
    NoReplicaError,
    PayloadTooLargeError,
    RequestError,
    RequestTimeoutError,
    StatusError,
    UnprocessableError,
)

OF_A_TEXT = (
    BadRequestError,
    ForbiddenError,
    PayloadTooLargeError,
    UnprocessableError,
)
"""What a server may answer to a request that is too large, or holds a text that it does
not take: 400, 403, 413, 422. Such a batch is halved until the text stands alone."""

_OF_TEXTS = ("input", "text", "token", "too long")
"""Words of refusals that are about a text, and hardly about `encoding_format`."""

ENCODING = "encoding_format"
OF_A_FIELD = (ENCODING, "Unrecognized request argument")
"""Words of an error about another field than the texts, where `param` does not say."""

NARROW = 2
"""So many answers to a batch that are narrower than what was asked for may be damaged;
one more that is exactly like them is not."""


_LOSSES: dict[Cause, type[RequestError]] = {
    Cause.TIMEOUT: RequestTimeoutError,
    Cause.TOO_LARGE: InvalidResponseError,
    Cause.UNTRUSTED: CertificateError,
}


class First:
    """The batch is the next to go out."""


FIRST = First()


@dataclass(frozen=True, slots=True)
class Later:
    """The batch goes out again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Over:
    """The batch has failed for good, or the job has where that is no error of ours.

    Attributes:
        error: What it failed with.
        status: Of the last answer, if there was one.
    """

    error: BaseException
    status: int | None = None


Fate = First | Later | Over


class Aftermath:
    """Decides, for the batches of one job.

    Args:
        plan: What the job has in common with others.
        policy: How often to try.
        dialect: What is learned here of the server.
        tally: Where failures are counted.
    """

    def __init__(
        self, plan: Plan, policy: Policy, dialect: Dialect, tally: Tally
    ) -> None:
        self._plan = plan
        self._policy = policy
        self._dialect = dialect
        self._tally = tally

    def decide(
        self,
        ticket: Ticket,
        what: Outcome | InvalidReply,
        now: float,
        *,
        late: bool,
        recalled: bool = False,
    ) -> Fate:
        """Decide after a request that brought no vectors.

        Args:
            ticket: The request.
            what: What befell it.
            now: Seconds on the driver's clock.
            late: The call's own time is over.
            recalled: The width of the call's rows is that of a store.
        """
        self.count(ticket.batch, what)
        if isinstance(what, InvalidReply):
            return self._invalid(ticket, what, now, late=late, recalled=recalled)
        if isinstance(what, Lost):
            return self._lost(ticket, what, now, late=late)
        return self._refused(ticket, what, now, late=late)

    def _lost(self, ticket: Ticket, lost: Lost, now: float, *, late: bool) -> Fate:
        if lost.cause is Cause.CRASH:
            return Over(lost.error or RuntimeError(lost.detail))
        error = failure(lost)
        if lost.cause is Cause.TOO_LARGE:
            return Over(error, 200)
        if lost.cause is Cause.UNTRUSTED:
            return Over(error)
        knocks = lost.cause is Cause.UNREACHABLE and not ticket.serves
        if knocks and ticket.batch.retries >= retry.UNREACHABLE_RETRIES:
            return Over(error)
        stale = lost.cause is Cause.CLOSED_EARLY
        return self._again(ticket, error, None, now, late=late, stale=stale)

    def _refused(self, ticket: Ticket, reply: Reply, now: float, *, late: bool) -> Fate:
        error = wire.read_error(reply, self._scrubber(ticket.batch))
        hint = retry.hinted_delay(reply.headers) if error.transient else None
        if ticket.base64 and self._blame_encoding(ticket.batch, error):
            ticket.batch.tries.append(attempt_of(ticket, error, reply.status, now))
            ticket.batch.plain = ticket.batch.count
            return FIRST
        if self._halve(ticket.batch, error):
            return FIRST
        braked = wants_fewer(reply)
        return self._again(
            ticket, error, reply.status, now, late=late, hint=hint, braked=braked
        )

    def _invalid(
        self,
        ticket: Ticket,
        wrong: InvalidReply,
        now: float,
        *,
        late: bool,
        recalled: bool,
    ) -> Fate:
        wanted = recalled or self._plan.width is not None
        if wanted and self._shows_other_dimensions(ticket.batch, wrong):
            ignored = f"{wrong}: the server does not honour dimensions"
            return Over(InvalidResponseError(ignored), 200)
        words = str(wrong)
        if isinstance(wrong, ErrorReply):
            said = wire.excerpt(words, self._scrubber(ticket.batch))
            words = f"an error with a status of 200: {said}"
        return self._again(ticket, InvalidResponseError(words), 200, now, late=late)

    def _shows_other_dimensions(self, batch: Batch, wrong: InvalidReply) -> bool:
        """Tell a server that has a width of its own from one that lost some numbers."""
        if not isinstance(wrong, OtherWidth):
            return False
        before = [one.reason for one in batch.tries]
        return wrong.wider or before.count(str(wrong)) >= NARROW

    def count(self, batch: Batch, what: Outcome | InvalidReply) -> None:
        """Count a failure of a batch's request."""
        braked = False
        if isinstance(what, InvalidReply):
            kind = "invalid"
            self._tally.invalid += 1
        elif isinstance(what, Lost):
            kind = what.cause.name.lower()
        else:
            kind = str(what.status)
            braked = wants_fewer(what)
        self._tally.refused += braked
        self._tally.failed += not braked
        for failures in (self._tally.failures, batch.course.failures):
            failures[kind] = failures.get(kind, 0) + 1

    def _halve(self, batch: Batch, error: StatusError) -> bool:
        """Halve a batch if a smaller request may be carried; tell whether it is so."""
        count = batch.count
        if (
            count == 1
            or type(error) not in OF_A_TEXT
            or error.param not in (None, "input")
            or any(words in error.message for words in OF_A_FIELD)
        ):
            return False
        portion, by_bytes = self._dialect.portion, error.status == 413
        batch.most = (count + 1) // 2
        first = wire.size_of_all(batch.texts[: batch.most])
        half = max(first, batch.size - first)
        doubt = portion.refused(count, batch.size, half, by_bytes=by_bytes)
        if doubt is None:  # larger ones were carried: it is one of its texts
            portion.acquit(batch.doubts)
        else:
            batch.doubts = (*batch.doubts, doubt)
        return True

    def answered(self, batch: Batch, *, base64: bool) -> None:
        """Learn how a batch was asked for that is answered now.

        Args:
            batch: The batch.
            base64: Whether it asked for that; else it was refused when it did.
        """
        dialect = self._dialect
        if base64:
            dialect.honoured += 1
            if dialect.base64 is None:
                dialect.base64 = True
        elif batch.honoured == dialect.honoured:
            # What was taken before may be refused by chance: then one more is asked.
            dialect.base64 = None if dialect.base64 else False
            dialect.portion.acquit(batch.doubts)

    def _blame_encoding(self, batch: Batch, error: StatusError) -> bool:
        """Learn from a refusal; tell whether to ask again without `encoding_format`.

        Where it speaks of texts, the parts of the request tell whether it means that.
        """
        dialect, count = self._dialect, batch.count
        if type(error) not in (BadRequestError, UnprocessableError):
            return False
        if not dialect.learns:
            return False
        if ENCODING in f"{error.param} {error.message}":
            dialect.base64 = False  # once and for good: no other batch asks
            return True
        if batch.honoured is None:
            batch.honoured = dialect.honoured
        words = error.message.lower()
        if error.param == "input" or (count > 1 and any(map(words.count, _OF_TEXTS))):
            return False
        # Known to be refused counts too: this one went out before that was known.
        if dialect.base64 is not True:
            return True
        # It was taken before. If nothing was since the first refusal of this text's
        # batch, there may be another server now.
        return count == 1 and batch.honoured == dialect.honoured

    def _take_try(
        self, ticket: Ticket, error: RequestError, now: float, *, braked: bool
    ) -> bool:
        """Tell whether a batch may go out again; count what is waited out.

        A start is waited for by the clock, and so is a limit of a server that serves.
        """
        batch, most = ticket.batch, self._policy.max_retries
        if isinstance(error, NoReplicaError) and most:
            return batch.wait_out(retry.STARTUP, now)
        if braked and ticket.serves and most and batch.wait_out(PASSING, now):
            return True
        return error.transient and batch.retries < most

    def _again(
        self,
        ticket: Ticket,
        error: RequestError,
        status: int | None,
        now: float,
        *,
        late: bool,
        hint: float | None = None,
        braked: bool = False,
        stale: bool = False,
    ) -> Fate:
        """Decide about a failure that has no other cure than time."""
        batch = ticket.batch
        if ticket.expected:
            return FIRST
        if error.transient and late:  # not its own time is over, but the call's
            batch.tries.append(attempt_of(ticket, error, status, now))
            return FIRST
        if not self._take_try(ticket, error, now, braked=braked):
            return Over(error, status)
        batch.tries.append(attempt_of(ticket, error, status, now))
        if stale:
            batch.stale += 1
        if braked or (stale and batch.stale <= retry.EARLY_CLOSES_FREE):
            return FIRST  # the flow holds it back, or nobody needs to
        starts = isinstance(error, NoReplicaError)  # no retries, but ever longer waits
        failures = len(batch.tries) if starts else batch.retries
        return Later(self._policy.backoff(failures) if hint is None else hint)

    def _scrubber(self, batch: Batch) -> Callable[[str], str]:
        """Also take the request's own texts out of what a server says of it."""

        def name(at: int) -> str:
            place = batch.start + at
            first = batch.group.indices(place, place + 1)[:1]
            return f"<text {first[0]}>" if first else "<text>"

        def scrub(words: str) -> str:
            return hide_texts(self._plan.scrub(words), batch.texts, name)

        return scrub


def failure(lost: Lost) -> RequestError:
    """Return the error that a loss is, but for a crash, which is raised as it is."""
    words = f"{lost.cause.value}: {lost.detail}" if lost.detail else lost.cause.value
    return _LOSSES.get(lost.cause, ConnectionFailedError)(words)


def attempt_of(
    ticket: Ticket, error: RequestError, status: int | None, now: float
) -> Attempt:
    """Return what an error's history says of a request."""
    return Attempt(status, error.message, now - ticket.sent_at)
