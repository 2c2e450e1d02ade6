"""One call's work: what goes out next, what came back, the result or the failure.

A driver carries the job out and decides nothing:

    while (step := job.next_step(now)) is not None:
        start(step.launches)            # each ends in one receive(ticket, outcome, now)
        job.digest(now)                 # decode one answer, others being on their way
        for ticket, outcome in landed(step.patience):
            job.receive(ticket, outcome, now)
        hand_on(job.take())
    job.result()                        # raises what the job failed with

All calls come from the thread or loop that drives the job, but for `release`: whoever
carried a request gives its permit back as soon as its outcome is known, whether or not
the job is being driven at that moment. A caller that holds a half-used iterator, or
asks the same client from within its loop, would else hold up everybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from together_embed.engine import batching, retry, wire
from together_embed.engine.batching import Batch, Group
from together_embed.engine.flow import Flow, Permit
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.portion import Portion
from together_embed.engine.retry import Policy
from together_embed.engine.rows import LISTS, Form, InvalidReply, OtherWidth
from together_embed.engine.stats import BatchStats, Stats, Tally, kind_of
from together_embed.engine.verdict import report, wants_fewer
from together_embed.engine.wire import Answer
from together_embed.errors import (
    Attempt,
    BadRequestError,
    ConnectionFailedError,
    DeadlineExceededError,
    EmbeddingsError,
    ForbiddenError,
    InvalidResponseError,
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
LONE_REFUSALS = 3
"""So many texts refused one by one, and none ever taken: it is not about the texts."""
Encoding = bool | None
"""Whether the server takes `encoding_format: base64`; None where nobody knows yet."""


@dataclass
class Dialect:
    """What a client has learned about the way its server wants to be asked.

    Attributes:
        base64: Whether the server takes `encoding_format: base64`.
        learns: Whether that may change; False where the user chose the encoding.
        portion: How large a request it takes.
    """

    base64: Encoding
    learns: bool = True
    portion: Portion = field(default_factory=Portion)


@dataclass(frozen=True)
class Plan:
    """What all jobs of a client have in common.

    Attributes:
        model: The model's name, as it is sent.
        extra: Further fields of the request's body.
        batch_size: Texts a request, at most.
        max_batch_bytes: Bytes of a request's body, at most.
        timeout: Seconds from sending a request to its whole answer.
        deadline: Seconds for a whole call, or None.
        width: The width that every vector must have, or None.
        scrub: Takes the key out of a server's words.
        allow_blank: Whether blank texts are sent.
        keeps: Whether answers are put into `fresh`, for a store.
    """

    model: str
    extra: Mapping[str, Any]
    batch_size: int
    max_batch_bytes: int
    timeout: float | None
    deadline: float | None
    width: int | None
    scrub: Callable[[str], str]
    allow_blank: bool = False
    keeps: bool = False

    @property
    def room(self) -> int:
        """Bytes of texts that fit into a body beside its other fields."""
        fields = {**self.extra, "encoding_format": "base64"}
        return self.max_batch_bytes - len(wire.encode(self.model, [], fields))


@dataclass(slots=True, eq=False)
class Ticket:
    """One request on its way.

    Attributes:
        body: The bytes to post.
        batch: What they ask for.
        sent_at: When it was launched.
        seconds: How long it may take, to its whole answer; None means without end.
        base64: Whether it asks for base64.
        permit: The flow's leave to send it.
        over: Its outcome is known, or no longer wanted.
        expected: It was refused as a probe of the flow's own choice.
    """

    body: bytes
    batch: Batch
    sent_at: float
    seconds: float | None
    base64: bool
    permit: Permit
    over: bool = False
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What a driver has to do next.

    Attributes:
        launches: Requests to send now.
        patience: Seconds to wait for a landing or a wake; None means without end.
        expired: Requests whose time is over: nobody waits for them any more.
    """

    launches: list[Ticket]
    patience: float | None
    expired: list[Ticket]


class Job:
    """See the module. Groups of texts go in by `add`, come out in order by `take`."""

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        flow: Flow,
        dialect: Dialect,
        now: float,
        wake: Callable[[], None],
        form: Form = LISTS,
        *,
        ordered: bool = True,
        prefix: str = "",
        lenient: bool = False,
        on_progress: Callable[[int], object] | None = None,
        on_batch: Callable[[BatchStats], object] | None = None,
        on_end: Callable[[Stats], object] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._plan = plan
        self._policy = policy
        self._flow = flow
        self._dialect = dialect
        self._form = form
        self._ordered = ordered
        self._prefix = prefix
        self._lenient = lenient
        self._on_progress = on_progress
        self._on_batch = on_batch
        self._on_end = on_end
        self._tally = Tally(whole=tally)
        self._began_at = now
        self._held_since: float | None = None
        self._held = 0.0  # seconds, since something was launched
        self._carried = False
        self._alone = 0
        self.fresh: deque[tuple[list[str], Answer]] = deque()
        self._line = flow.join(wake)
        self._ends_at = None if plan.deadline is None else now + plan.deadline
        self._groups: deque[Group] = deque()
        self._ready: deque[Batch] = deque()
        self._delayed: list[tuple[float, int, Batch]] = []
        self._in_flight: dict[Ticket, None] = {}
        self._permits: set[Ticket] = set()
        self._undigested: deque[tuple[Ticket, Reply]] = deque()
        self._added = 0
        self._serial = 0
        self._width = plan.width
        self._complete = False
        self._failure: BaseException | None = None

    # What comes in, what goes out.

    def group(self, texts: Sequence[str]) -> Group:
        """Make a group of texts, to be added.

        Raises:
            TypeError, InputError: One of them cannot be sent; nothing of the group is.
        """
        batching.check(texts, self._added, blank=self._plan.allow_blank)
        if self._prefix:
            texts = [self._prefix + text for text in texts]
        return Group(texts, self._added, self._form)

    def add(self, group: Group) -> None:
        """Hand in a group, less what it recalls."""
        plan = self._plan
        recalled = group.recalled
        if recalled:
            self._width = self._width or group.width
            self._tally.add(recalled=recalled)
            self._settle(group, recalled)
        batches = list(batching.cut(group, plan.batch_size, plan.room))
        self._added += group.count
        self._groups.append(group)
        self._ready.extend(batches)

    def complete(self) -> None:
        """Say that no further group will be added."""
        self._complete = True

    @property
    def began(self) -> bool:
        """Whether any text was taken on."""
        return self._added > 0

    @property
    def hungry(self) -> bool:
        """Whether another group could be put to use now."""
        return (
            not (self._complete or self._ready)
            and len(self._groups) < 2 * self._flow.limit
        )

    def take(self) -> list[tuple[int, Any]]:
        """Return what is whole: the number of the first text, and the rows.

        In order, a group waits for its predecessors; else it comes as soon as it can.
        Where the job is lenient, an error stands in the place of a text's row.
        """
        taken: list[Group] = []
        while self._groups and self._is_whole(self._groups[0]):
            taken.append(self._groups.popleft())
        if not self._ordered:
            taken += [group for group in self._groups if self._is_whole(group)]
            rest = (group for group in self._groups if not self._is_whole(group))
            self._groups = deque(rest)
        return [piece for group in taken for piece in group.pieces()]

    def _is_whole(self, group: Group) -> bool:
        return not group.missing and (self._lenient or not group.failures)

    def partial(
        self,
    ) -> tuple[dict[int, Any], dict[int, EmbeddingsError], tuple[int, ...]]:
        """Return what is there and was not taken, what failed, and what is open."""
        results: dict[int, Any] = {}
        failures: dict[int, EmbeddingsError] = {}
        for group in self._groups:
            results.update(group.results())
            failures.update(group.failures)
        if isinstance(self._failure, EmbeddingsError):
            failures.update(dict.fromkeys(self._failure.indices, self._failure))
        open_ = (i for group in self._groups for i in group.missing_indices())
        return results, failures, tuple(i for i in open_ if i not in failures)

    @property
    def is_alone(self) -> bool:
        """Whether one request on its way is all that is left to do for now."""
        return (
            self._complete
            and len(self._in_flight) == 1
            and not (self._ready or self._delayed)
        )

    # What a driver asks.

    def next_step(self, now: float, *, awaiting: bool = False) -> Step | None:
        """Return what to do next, or None when the job is over.

        Args:
            now: Seconds on the driver's clock.
            awaiting: The next group is on its way; its arrival ends the wait.
        """
        if self._ends_at is not None and now >= self._ends_at and self._unfinished:
            self._failure = self._failure or self._deadline_error()
        if self._failure is not None or not self._unfinished:
            return None
        expired = self._expire(now)
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heappop(self._delayed)[2])
        size = self._ready[0].size if self._ready else 0
        want = self._want
        permits, wait = self._flow.take(self._line, want, now, size)
        self._time_the_hold(now, held=len(permits) < want and self._flow.holds)
        launches = [self._launch(self._next_batch(), now, p) for p in permits]
        return Step(launches, self._patience(now, wait, awaiting), expired)

    def release(self, ticket: Ticket, outcome: Outcome | None, now: float) -> None:
        """Give a request's permit back, once, from any thread.

        Args:
            ticket: The request.
            outcome: What became of it; None where nobody waits for it any more.
            now: Seconds on the driver's clock.
        """
        try:
            self._permits.remove(ticket)  # atomic: of two threads one comes first
        except KeyError:
            return
        told = report(outcome, now - ticket.sent_at, len(ticket.body))
        ticket.expected = self._flow.land(ticket.permit, told, now)

    def receive(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """Take what became of a request."""
        self.release(ticket, outcome, now)
        if ticket.over:
            return
        self._drop(ticket)
        if isinstance(outcome, Reply):
            received = len(outcome.body)
            ticket.batch.course.received += received
            self._tally.add(received_bytes=received)
        if isinstance(outcome, Lost):
            self._lost(ticket, outcome, now)
        elif outcome.status == 200:
            self._undigested.append((ticket, outcome))
        else:
            self._refused(ticket, outcome, now)

    @property
    def is_digesting(self) -> bool:
        """Whether answers have come that are not decoded yet."""
        return bool(self._undigested)

    def digest(self, now: float) -> None:
        """Decode one answer, if there is one: the only costly thing a job does."""
        if not self._undigested:
            return
        ticket, reply = self._undigested.popleft()
        batch = ticket.batch
        count = batch.stop - batch.start
        try:
            answer = wire.read_answer(reply.body, count)
            block = self._form.read(answer.embeddings, self._width)
        except InvalidReply as error:
            self._tally.add(failed=1, invalid=1, kind="invalid")
            if isinstance(error, OtherWidth) and self._plan.width is not None:
                ignored = f"{error}: the server does not honour dimensions"
                self._fail(ticket, InvalidResponseError(ignored), 200, now)
                return
            self._again(ticket, InvalidResponseError(str(error)), 200, now)
            return
        self._width = self._width or len(block[0])
        self._dialect.portion.carried(count, batch.size)
        if self._dialect.base64 is None:
            self._dialect.base64 = ticket.base64
        self._carried = True
        if self._plan.keeps:
            self.fresh.append((batch.texts, answer))
        done = batch.group.put(batch.start, block, self._width)
        self._tally.add(texts=done, duplicates=done - count)
        if answer.tokens is not None:
            self._tally.add(tokens=answer.tokens)
        self._settle(batch.group, done)
        self._tell(
            batch,
            now,
            status=200,
            encoding="base64" if isinstance(answer.embeddings[0], str) else "float",
            model=answer.model,
            width=self._width,
            tokens=answer.tokens,
        )

    def _tell(self, batch: Batch, now: float, **what: Any) -> None:
        """Say what became of a batch, when nothing else is left to do about it."""
        if self._on_batch is None:
            return
        course = batch.course
        told = BatchStats(
            texts=batch.stop - batch.start,
            started_at=course.started_at,
            seconds=now - course.started_at,
            attempts=course.attempts,
            waited=course.waited,
            sent_bytes=course.sent,
            received_bytes=course.received,
            **what,
        )
        self._on_batch(told)

    def _settle(self, group: Group, done: int) -> None:
        """Tell of texts that are done with; end the job where one was refused."""
        if self._on_progress is not None and done:
            self._on_progress(done)
        if not (group.missing or self._lenient):
            for error in group.failures.values():
                self._failure = self._failure or error

    def close(self, now: float) -> list[Ticket]:
        """End the job, whatever its state; return the requests that hold permits.

        Each of them is to be released, when it is over or never will be.
        """
        self._flow.leave(self._line)
        self._time_the_hold(now, held=False)
        self._tally.add(calls=1, seconds=now - self._began_at)
        if self._on_end is not None:
            self._on_end(stats(self._tally, self._flow, self._dialect))
        return list(self._permits)

    def result(self) -> None:
        """Raise what the job failed with, if it failed."""
        if self._failure is not None:
            raise self._failure

    # What the job makes of it.

    @property
    def _unfinished(self) -> bool:
        return not self._complete or any(group.missing for group in self._groups)

    @property
    def _want(self) -> int:
        """How many requests could go out; one by one while their size is in doubt.

        Where answers are kept, one at most may be on its way to the disk beside as many
        requests as the flow lets: a crash then costs no more than that.
        """
        ready = len(self._ready)
        if self._dialect.portion.in_doubt:
            return 0 if self._in_flight else min(1, ready)
        if self._plan.keeps:
            unsaved = len(self._in_flight) + len(self._undigested)
            return max(0, min(ready, self._flow.limit + 1 - unsaved))
        return ready

    def _next_batch(self) -> Batch:
        """Return what is to go out next, no larger than the server takes."""
        most, size = self._dialect.portion.allot()
        batch, rest = batching.split(self._ready.popleft(), most, size)
        if rest and not (self._ready and batching.join(rest, self._ready[0])):
            self._ready.appendleft(rest)
        return batch

    def _patience(self, now: float, wait: float | None, awaiting: bool) -> float | None:
        """How long to wait for a landing or a wake before asking again."""
        whole = self._groups and not self._groups[0].missing
        if self._undigested or whole or (self.hungry and not awaiting):
            return 0.0
        moments = [] if wait is None or not self._ready else [now + wait]
        if self._delayed:
            moments.append(self._delayed[0][0])
        if self._in_flight and self._plan.timeout is not None:
            # Launched in order with one time for all: the first is the oldest.
            moments.append(next(iter(self._in_flight)).sent_at + self._plan.timeout)
        if self._ends_at is not None:
            moments.append(self._ends_at)
        return max(0.0, min(moments) - now) if moments else None

    def _time_the_hold(self, now: float, *, held: bool) -> None:
        """Add up how long limits on the rate hold back what could go out."""
        if self._held_since is not None:
            waited = now - self._held_since
            self._held += waited
            self._tally.add(waited=waited)
        self._held_since = now if held else None

    def _launch(self, batch: Batch, now: float, permit: Permit) -> Ticket:
        base64 = self._dialect.base64 is not False and not batch.plain
        extra = {
            **self._plan.extra,
            **({"encoding_format": "base64"} if base64 else {}),
        }
        body = wire.encode(self._plan.model, batch.texts, extra)
        seconds = self._time_for_one(now)
        ticket = Ticket(body, batch, now, seconds, base64, permit)
        course, again = batch.course, batch.course.attempts > 0
        course.started_at = course.started_at if again else now
        course.attempts += 1
        course.sent += len(body)
        course.waited, self._held = course.waited + self._held, 0.0
        self._tally.add(requests=1, retries=int(again), sent_bytes=len(body))
        self._in_flight[ticket] = None
        self._permits.add(ticket)
        return ticket

    def _time_for_one(self, now: float) -> float | None:
        if self._ends_at is None:
            return self._plan.timeout
        left = self._ends_at - now
        return left if self._plan.timeout is None else min(left, self._plan.timeout)

    def _drop(self, ticket: Ticket) -> None:
        ticket.over = True
        del self._in_flight[ticket]

    def _expire(self, now: float) -> list[Ticket]:
        """Give up the requests that had their time, whatever the transport knows."""
        timeout = self._plan.timeout
        if timeout is None:
            return []
        old = [t for t in self._in_flight if now - t.sent_at >= timeout]
        for ticket in old:
            self._drop(ticket)
            lost = Lost(Cause.TIMEOUT, f"after {timeout:g} s")
            self.release(ticket, lost, now)
            self._lost(ticket, lost, now)
        return old

    def _lost(self, ticket: Ticket, lost: Lost, now: float) -> None:
        """Go on after a request without a whole answer."""
        self._tally.add(failed=1, kind=kind_of(lost))
        if lost.cause is Cause.CRASH:
            self._failure = self._failure or lost.error
            self._tell(ticket.batch, now, error=type(lost.error), reason=lost.detail)
            return
        reason = (
            f"{lost.cause.value}: {lost.detail}" if lost.detail else lost.cause.value
        )
        if lost.cause is Cause.TIMEOUT:
            self._again(ticket, RequestTimeoutError(reason), None, now)
        elif lost.cause is Cause.TOO_LARGE:
            self._fail(ticket, InvalidResponseError(reason), 200, now)
        else:
            error = ConnectionFailedError(reason)
            unreachable = lost.cause is Cause.UNREACHABLE
            if unreachable and ticket.batch.retries >= retry.UNREACHABLE_RETRIES:
                self._fail(ticket, error, None, now)
                return
            stale = lost.cause is Cause.CLOSED_EARLY
            self._again(ticket, error, None, now, stale=stale)

    def _refused(self, ticket: Ticket, reply: Reply, now: float) -> None:
        """Go on after an answer other than 200."""
        error = wire.read_error(reply, self._scrubber(ticket.batch))
        hint = retry.hinted_delay(reply.headers) if error.transient else None
        braked = wants_fewer(reply, hint)
        self._tally.add(refused=braked, failed=not braked, kind=kind_of(reply))
        if ticket.base64 and self._minds_encoding(error):
            ticket.batch.tries.append(_attempt(ticket, error, reply.status, now))
            ticket.batch.plain = True
            self._ready.appendleft(ticket.batch)
        elif self._is_too_much(ticket.batch, error):
            self._ready.appendleft(ticket.batch)
        else:
            self._again(ticket, error, reply.status, now, hint=hint, braked=braked)

    def _is_too_much(self, batch: Batch, error: StatusError) -> bool:
        """Tell whether a smaller request may be carried, and make it one."""
        count = batch.stop - batch.start
        if (
            count == 1
            or type(error) not in OF_A_TEXT
            or error.param not in (None, "input")
        ):
            return False
        portion, by_bytes = self._dialect.portion, error.status == 413
        if not portion.refused(count, batch.size, by_bytes=by_bytes):
            batch.most = count // 2  # larger ones were carried: it is one of its texts
        return True

    def _minds_encoding(self, error: StatusError) -> bool:
        """Tell whether it may be the encoding that the server refused."""
        if type(error) not in (BadRequestError, UnprocessableError):
            return False
        if not self._dialect.learns:
            return False
        if "encoding_format" in f"{error.param} {error.message}":
            self._dialect.base64 = False  # once and for good: no other batch asks
            return True
        # Known to be refused counts too: this one went out before that was known.
        return self._dialect.base64 is not True

    def _again(
        self,
        ticket: Ticket,
        error: RequestError,
        status: int | None,
        now: float,
        *,
        hint: float | None = None,
        braked: bool = False,
        stale: bool = False,
    ) -> None:
        """Queue the batch again, or fail the job."""
        batch = ticket.batch
        if ticket.expected:
            self._ready.appendleft(batch)
            return
        late = self._ends_at is not None and now >= self._ends_at
        if error.transient and late:  # not its own time is over, but the call's
            batch.tries.append(_attempt(ticket, error, status, now))
            self._ready.appendleft(batch)
            return
        if not error.transient or batch.retries >= self._policy.max_retries:
            self._fail(ticket, error, status, now)
            return
        batch.tries.append(_attempt(ticket, error, status, now))
        if stale:
            batch.stale += 1
        if braked or (stale and batch.stale <= retry.EARLY_CLOSES_FREE):
            self._ready.appendleft(batch)  # the flow holds it back, or nobody needs to
        else:
            delay = self._policy.backoff(batch.retries) if hint is None else hint
            self._serial += 1
            heappush(self._delayed, (now + delay, self._serial, batch))

    def _fail(
        self, ticket: Ticket, error: RequestError, status: int | None, now: float
    ) -> None:
        batch = ticket.batch
        error.indices = batch.indices
        error.attempts = (*batch.tries, _attempt(ticket, error, status, now))
        alone = type(error) in OF_A_TEXT and batch.stop - batch.start == 1
        self._alone += alone
        if alone and (self._carried or self._alone < LONE_REFUSALS):
            (error.length,) = map(len, batch.texts)
            batch.group.refuse(batch.start, error)
            self._settle(batch.group, 0)
        else:
            self._failure = self._failure or error
        self._tell(batch, now, status=status, error=type(error), reason=error.message)

    def _deadline_error(self) -> DeadlineExceededError:
        missing = tuple(i for group in self._groups for i in group.missing_indices())
        waiting = [batch for _, _, batch in self._delayed] + list(self._ready)
        waiting += [ticket.batch for ticket in self._in_flight]
        tries = max((b.tries for b in waiting), key=len, default=[])
        last = f"; the last failure was: {tries[-1].reason}" if tries else ""
        return DeadlineExceededError(
            f"{self._plan.deadline:g} s are over, {len(missing)} of {self._added} "
            f"texts have no vector{last}",
            indices=missing,
            attempts=tuple(tries),
        )

    def _scrubber(self, batch: Batch) -> Callable[[str], str]:
        """Also take the request's own texts out of what a server says of it."""

        def scrub(words: str) -> str:
            words = self._plan.scrub(words)
            for place, text in enumerate(batch.texts, batch.start):
                if len(text) > 20 and text in words:
                    (index, *_) = batch.group.indices(place, place + 1)
                    words = words.replace(text, f"<text {index}>")
            return words

        return scrub


def stats(tally: Tally, flow: Flow, dialect: Dialect) -> Stats:
    """Return sums, beside what the client they belong to has settled on."""
    return tally.stats(
        limit=flow.limit,
        rate=flow.rate,
        largest=dialect.portion.largest,
        base64=dialect.base64,
    )


def _attempt(
    ticket: Ticket, error: RequestError, status: int | None, now: float
) -> Attempt:
    return Attempt(status, error.message, now - ticket.sent_at)
