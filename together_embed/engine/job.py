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
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from together_embed.engine import batching, quick, wire
from together_embed.engine.aftermath import (
    OF_A_TEXT,
    Aftermath,
    Later,
    Over,
    attempt_of,
)
from together_embed.engine.agenda import Agenda
from together_embed.engine.batching import Batch
from together_embed.engine.flight import Flight
from together_embed.engine.flow import Flow
from together_embed.engine.group import Group, Groups
from together_embed.engine.guest import PATIENCE, Guest
from together_embed.engine.hedge import Hedger, unpair
from together_embed.engine.intake import Intake
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.plan import Dialect, Plan, Step, Ticket
from together_embed.engine.retry import Policy
from together_embed.engine.rows import LISTS, Form, InvalidReply, OtherWidth
from together_embed.engine.sharing import Delivery, Sharing
from together_embed.engine.signals import Permit, Report, Verdict, report
from together_embed.engine.stats import Tallies
from together_embed.engine.telling import OnBatch, OnEnd, OnProgress, Telling
from together_embed.engine.wire import Answer
from together_embed.errors import (
    Attempt,
    ConfigurationError,
    DeadlineExceededError,
    EmbeddingsError,
    ModelDriftError,
    RequestError,
)

LONE_REFUSALS = 3
"""So many texts refused one by one, and none ever taken: it is not about the texts."""
FEW = 8
"""Texts that are asked for all the same: where so few are left, it costs little."""


class Fresh(NamedTuple):
    """An answer that is to be kept; only then others are not given it any more."""

    texts: list[str]
    answer: Answer
    group: Group
    batch: Batch | None = None


class Job:
    """See the module. Groups of texts go in by `add`, come out by `take`.

    Args:
        plan: What all jobs of the client have in common.
        policy: How often to try.
        flow: Where the client's permits come from.
        dialect: What is known of the server; more is learned here.
        now: When the call begins, in seconds on the driver's clock.
        wake: Is called from any thread when `next_step` is to be asked again.
        form: How the call wants its rows.
        ordered: Whether a group waits for its predecessors.
        prefix: What goes in front of each text.
        numbers: What the user calls the texts, where they are some of a longer list.
        lenient: Whether an error stands in the place of a refused text's row; else the
            call ends with it, when all others have theirs.
        on_progress: See `telling`, as for the next two.
        on_batch: Likewise.
        on_end: Likewise.
        tallies: Those of the client's calls.
        sharing: What the client's calls want at the same time.
        host: See `Guest`, as for the next.
        blocks: Likewise.
        hedger: Tells which requests are sent a second time; None is that none are.

    Attributes:
        fresh: Answers that are to be kept, where the plan says so, the oldest first;
            `kept` follows on each.
    """

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
        numbers: Sequence[int] | None = None,
        lenient: bool = False,
        on_progress: OnProgress | None = None,
        on_batch: OnBatch | None = None,
        on_end: OnEnd | None = None,
        tallies: Tallies | None = None,
        sharing: Sharing | None = None,
        host: object = None,
        blocks: object = None,
        hedger: Hedger | None = None,
    ) -> None:
        self._plan = plan
        self._flow = flow
        self._dialect = dialect
        self._form = form
        self._decode = quick.decoder() if form.takes_doubles else None
        self._lenient = lenient
        self._telling = Telling(plan, on_progress, on_batch, on_end)
        self._tallies = tallies or Tallies()
        self._tally = self._tallies.open()
        self._intake = Intake(
            plan, form, prefix, self._tally, lenient=lenient, numbers=numbers
        )
        self._aftermath = Aftermath(plan, policy, dialect, self._tally)
        self._began_at = now
        self._carried = False  # an answer was right
        self._recalled = False  # rows of a store came, which tell the width
        self._lone_refusals = 0  # texts that were refused one by one
        self.fresh: deque[Fresh] = deque()
        self._line = flow.join(wake, host, blocks)
        self._guest = Guest(sharing or Sharing(), wake, host, blocks)
        self._rests_until = 0.0  # while the server is down
        self._ends_at = None if plan.deadline is None else now + plan.deadline
        self._groups = Groups(ordered=ordered, lenient=lenient)
        self._agenda = Agenda()
        self._flight = Flight(plan, flow, self._line, self._tally, hedger)
        self._undigested: deque[tuple[Ticket, Reply] | Delivery] = deque()
        self._added = 0
        self._width = plan.width
        self._complete = False
        self._failure: BaseException | None = None

    # What comes in, what goes out.

    def group(self, texts: Sequence[str], hidden: str | None = None) -> Group:
        """Make a group of texts, to be added.

        Raises:
            TypeError, InputError: One of them cannot be sent; nothing of the group is.
        """
        return self._intake.group(texts, self._added, hidden)

    @property
    def measures(self) -> bool:
        """Whether making a group takes its time, since texts are measured."""
        return self._plan.limit is not None

    def enter(self, group: Group) -> None:
        """Say what a group wants, before it is looked up and handed in.

        What other calls bring and keep from now on comes from them.
        """
        if group.missing:
            self._guest.enter(group)

    def add(self, group: Group) -> None:
        """Hand in a group, less what it recalls.

        Raises:
            ConfigurationError: Something is to be sent, and nothing can be; or what is
                recalled is narrower than it is to be cut to.
        """
        plan = self._plan
        if group.missing and plan.ready is not None:
            plan.ready()
        if group.width:  # of a text in pieces, some may be known, and not all
            self._recalled = True
            self._width = self._width or group.width
            if narrow := self._too_narrow(group.width):
                raise narrow
            self._tally.recalled += group.recalled
            self._settle(group, group.recalled)
        if group.missing < len(group.unique):  # known, or not to be sent
            self._guest.settle(group, group.unique[group.missing :])
        if group.missing:
            self._guest.enter(group)
            if self._guest.touched:
                self._guest.arrange(group)
        batches = batching.cut(group, plan.batch_size, plan.room)
        self._added += group.count
        self._groups.add(group)
        self._agenda.add(batches)

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
            not (self._complete or self._agenda.ready)
            and len(self._groups) < 2 * self._flow.limit
        )

    @property
    def copies(self) -> int:
        """How many rows `take` copies, at most, for texts that came more than once."""
        return self._groups.copies

    def take(self) -> list[tuple[int, Any]]:
        """Return what is whole: the number of the first text, and the rows.

        In order, a group waits for its predecessors; else it comes as soon as it can.
        Where the job is lenient, an error stands in the place of a text's row.
        """
        taken: list[tuple[int, Any]] = []
        for group in self._groups.take():
            taken += group.pieces()
        return taken

    def partial(
        self,
    ) -> tuple[dict[int, Any], dict[int, EmbeddingsError], tuple[int, ...]]:
        """Return what is there and was not taken, what failed, and what is open."""
        results, failures = self._groups.partial()
        if isinstance(self._failure, EmbeddingsError):
            # Some may have come while the call was ending.
            without = tuple(i for i in self._failure.indices if i not in results)
            self._failure.indices = without
            failures.update(dict.fromkeys(without, self._failure))
        missing = self._groups.missing_indices()
        return results, failures, tuple(i for i in missing if i not in failures)

    @property
    def is_finished(self) -> bool:
        """Whether every text has its row, or will have none."""
        return self._complete and not self._groups.is_missing_any

    @property
    def is_alone(self) -> bool:
        """Whether one request on its way is all that is left to do for now."""
        if not self._complete or self._undigested or len(self._flight) != 1:
            return False
        return not (self._agenda or self._guest.waits or self._flight.hedges)

    # What a driver asks.

    def next_step(
        self, now: float, *, awaiting: bool = False, idle: bool = False
    ) -> Step | None:
        """Return what to do next, or None when the job is over.

        Args:
            now: Seconds on the driver's clock.
            awaiting: The next group is on its way; its arrival ends the wait.
            idle: The driver carries nothing, and may carry a request that is alone
                itself.
        """
        if self.is_finished:
            return None
        if self._failure is None and self._is_late(now):
            if self._undigested:  # what has come counts, before it is said what is not
                return Step([], 0.0, [])
            self._failure = self._deadline_error()
        if self._failure is not None:
            return None
        hedges = self._flight.hedges
        expired = self._expire(now) if hedges or self._flight else []
        self._agenda.pass_time(now)
        seconds = self._time_for_one(now)
        launches = self._flight.launch_twins(seconds, now) if hedges else []
        while self._guest.mail:
            self._undigested.append(self._guest.mail[0])  # Ctrl-C may come between
            self._guest.mail.popleft()
        if self._guest.touched:
            self._guest.sift(self._agenda, self._flow.limit, now)
        want = self._probes(now) if self._flow.is_down else self._want
        permits, wait = self._flow.take(self._line, want, now, self._agenda.size)
        self._flight.hold(now, held=len(permits) < want and self._flow.holds)
        for permit in permits:
            if ticket := self._launch(permit, seconds, now):
                launches.append(ticket)
        if idle and self.is_alone:
            return Step(launches, None, expired, alone=True)
        return Step(launches, self._patience(now, wait, awaiting), expired)

    def release(self, ticket: Ticket, outcome: Outcome | None, now: float) -> None:
        """Give a request's permit back, once, from any thread.

        Args:
            ticket: The request.
            outcome: What became of it; None where nobody waits for it any more.
            now: Seconds on the driver's clock.
        """
        if not self._flight.give_back(ticket):
            return
        seconds = now - ticket.sent_at
        answer = _answer(outcome)
        right = answer is not None
        if self._flight.hedges and (right or ticket.beaten):
            self._flight.time(ticket, seconds)
        if outcome is not None and not right:
            self._flight.miss(ticket)  # the permit is free before the driver is here
        told = report(outcome, seconds, len(ticket.body))
        ticket.expected = self._flow.land(ticket.permit, told, now)
        ticket.serves = not right and self._flow.serves(now)
        if right or self._flight.is_last(ticket):
            self._guest.land(ticket.batch, answer)

    def receive(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """Take what became of a request."""
        self.release(ticket, outcome, now)
        self._flight.tell(ticket)
        if ticket.over:
            return
        answer = _answer(outcome)
        ticket.over = True  # Python hears no Ctrl-C between this and the next
        if answer is not None:
            self._undigested.append((ticket, answer))
        self._flight.remove(ticket)
        if isinstance(outcome, Reply):
            carried = outcome.carried
            received = len(outcome.body) if carried is None else carried
            ticket.batch.course.received += received
            self._tally.received_bytes += received
        if answer is None:
            self._miss(ticket, outcome, now)

    @property
    def is_digesting(self) -> bool:
        """Whether answers have come that are not decoded yet."""
        return bool(self._undigested)

    def digest(self, now: float) -> None:
        """Decode one answer, if there is one: the only costly thing a job does."""
        if not self._undigested:
            return
        item = self._undigested[0]  # stays until then: Ctrl-C may come
        if isinstance(item, Delivery):
            self._digest_delivery(item)
            return
        ticket, reply = item
        if ticket.beaten:
            self._undigested.popleft()
            return
        batch = ticket.batch
        try:
            answer = wire.read_answer(reply.body, batch.count, self._decode)
            block = self._form.read(answer.embeddings, self._width)
        except InvalidReply as error:
            self._undigested.popleft()
            self._guest.refuse(batch)
            self._miss(ticket, error, now)
            return
        if self._plan.keeps:
            self.fresh.append(Fresh(batch.texts, answer, batch.group, batch))
        self._undigested.popleft()
        if ticket.twin is not None:
            self._flight.beat_twin(ticket)
        if not self._take_width(block):
            return
        self._dialect.portion.carried(batch.count, batch.size)
        # A part of what was refused may be answered since it is smaller.
        if ticket.base64 or batch.plain == batch.count:
            self._aftermath.answered(batch, base64=ticket.base64)
        self._carried = True
        done, duplicates = batch.group.put(batch.start, block, len(block[0]))
        if not self._plan.keeps:
            self._guest.settle(batch.group, batch.texts, batch)
        self._tally.texts += done
        self._tally.duplicates += duplicates
        if answer.tokens is not None:
            self._tally.tokens += answer.tokens
        self._settle(batch.group, done)
        self._telling.answered(batch, answer, len(block[0]), duplicates, now)

    def _digest_delivery(self, delivery: Delivery) -> None:
        """Decode what another call's request brought."""
        group, body = delivery.group, delivery.reply.body
        try:
            answer = wire.read_answer(body, delivery.count, self._decode)
            # All of it: one row that is shorter shows beside the others only.
            block = self._form.read(answer.embeddings, self._width)
        except InvalidReply:
            self._undigested.popleft()
            self._guest.refuse_mail(delivery)
            return
        texts = [text for text, _ in delivery.wanted]
        if self._plan.keeps:
            found = [answer.embeddings[at] for _, at in delivery.wanted]
            self.fresh.append(Fresh(texts, Answer(found, answer.model), group))
        self._undigested.popleft()
        if not self._take_width(block):
            return
        done = 0
        for text, at in delivery.wanted:
            place = group.place_of(text)
            done += group.put(place, block[at : at + 1], len(block[0]))[0]
        self._tally.shared += done
        if not self._plan.keeps:
            self._guest.settle(group, texts)
        self._settle(group, done)

    def kept(self) -> None:
        """Say that the first of `fresh` is kept, or cannot be."""
        fresh = self.fresh.popleft()
        self._guest.settle(fresh.group, fresh.texts, fresh.batch)

    def _take_width(self, block: Any) -> bool:
        """Take the width of the first rows; tell whether they can be cut as asked."""
        self._width = self._width or len(block[0])
        if narrow := self._too_narrow(self._width):
            self._failure = self._failure or narrow
        return narrow is None

    def _too_narrow(self, width: int) -> ConfigurationError | None:
        cut_to = self._plan.shape.cut_to
        if cut_to is None or cut_to <= width:
            return None
        return ConfigurationError(f"cut_to={cut_to}, but the vectors are {width} wide")

    def _settle(self, group: Group, done: int) -> None:
        """Tell of texts that are done with; end the job where one was refused."""
        self._telling.done(done)
        if group.has_failures and not (group.missing or self._lenient):
            for error in group.failures.values():
                self._failure = self._failure or error

    def close(self, now: float) -> list[Ticket]:
        """End the job, whatever its state; return the requests that hold permits.

        Each of them is to be released, when it is over or never will be.
        """
        self._flow.leave(self._line)
        self._guest.close()
        self._flight.hold(now, held=False)
        self._tally.calls, self._tally.seconds = 1, now - self._began_at
        self._tallies.close(self._tally)
        self._telling.ended(self._tally)
        return self._flight.permits

    def mend(self, carried: Collection[Ticket]) -> None:
        """Put right what Ctrl-C may have broken off, of the flow and for other calls.

        Args:
            carried: The requests that are on their way; the job is closed.
        """
        self._flow.mend(self._line, {ticket.permit for ticket in carried})
        self._guest.mend({ticket.batch for ticket in carried})

    def result(self) -> None:
        """Raise what the job failed with, if it failed."""
        if self._failure is not None:
            raise self._failure

    # What the job makes of it.

    def _is_late(self, now: float) -> bool:
        """Whether the call's own time is over."""
        return self._ends_at is not None and now >= self._ends_at

    @property
    def _want(self) -> int:
        """How many requests could go out; one by one while their size is in doubt.

        Beside as many requests as the flow lets, as many answers at most may wait to be
        decoded: where that takes longer than fetching them, they would else pile up.
        Where answers are kept, it is one: a crash then costs no more than that.
        """
        ready = self._agenda.ready
        if self._flight.awaits_verdict:  # which may be the end of the call
            return 0
        if self._dialect.portion.in_doubt:
            return 0 if self._flight else min(1, ready)
        limit = self._flow.limit
        most = limit + (1 if self._plan.keeps else limit)
        held = len(self._flight) + len(self._undigested)
        return max(0, min(ready, most - held))

    def _probes(self, now: float) -> int:
        """How many requests could go out to a server that is down: one, now and then.

        It is always the same batch, whose attempts are counted. If each had its turn, a
        large call would not end for hours.
        """
        rests = self._flight or now < self._rests_until
        return 0 if rests else min(1, self._want)

    def _patience(self, now: float, wait: float | None, awaiting: bool) -> float | None:
        """How long to wait for a landing or a wake before asking again."""
        whole = self._groups.is_first_whole
        if self._undigested or whole or (self.hungry and not awaiting):
            return 0.0
        moments = [] if wait is None or not self._agenda.ready else [now + wait]
        if self._agenda.due_at is not None:
            moments.append(self._agenda.due_at)
        if now < self._rests_until:
            moments.append(self._rests_until)
        moments += self._flight.moments(now)
        if self._guest.waits_until is not None:
            moments.append(self._guest.waits_until)
        if self._ends_at is not None:
            moments.append(self._ends_at)
        return max(0.0, min(moments) - now) if moments else None

    def _launch(
        self, permit: Permit, seconds: float | None, now: float
    ) -> Ticket | None:
        """Make a request of the next batch; None where another call came first.

        It is no larger than the server takes, and may last so many seconds.
        """
        until = now + (PATIENCE if seconds is None else seconds)
        while self._agenda.ready:
            batch = self._agenda.next(*self._dialect.portion.allot())
            free = self._guest.launch(batch, until, now)
            if free is not None:
                base64 = self._dialect.base64 is not False and not free.plain
                return self._flight.launch(free, permit, seconds, now, base64=base64)
        self._flow.land(permit, Report(Verdict.ABANDONED), now)
        return None

    def _time_for_one(self, now: float) -> float | None:
        if self._ends_at is None:
            return self._plan.timeout
        left = self._ends_at - now
        return left if self._plan.timeout is None else min(left, self._plan.timeout)

    def _expire(self, now: float) -> list[Ticket]:
        """Give up the requests that had their time; return whom not to wait for."""
        beaten, old = self._flight.take_beaten(), self._flight.drop_overdue(now)
        for ticket in old:
            lost = Lost(Cause.TIMEOUT, f"after {self._plan.timeout:g} s")
            self.release(ticket, lost, now)
            self._flight.tell(ticket)
            self._miss(ticket, lost, now)
        return beaten + old

    def _miss(self, ticket: Ticket, what: Outcome | InvalidReply, now: float) -> None:
        """Go on after a request that brought no vectors."""
        if unpair(ticket):  # the other one is on its way
            self._aftermath.count(ticket.batch, what)
            return
        fate = self._aftermath.decide(
            ticket, what, now, late=self._is_late(now), recalled=self._recalled
        )
        if isinstance(fate, Over):
            if self._recalled and isinstance(what, OtherWidth):
                drift = f"{what} like the vectors in the cache"
                fate = Over(ModelDriftError(drift), fate.status)
            self._fail(ticket, fate, now)
        elif isinstance(fate, Later) and self._flow.is_down:
            self._agenda.put_first(ticket.batch)
            self._rests_until = now + fate.seconds
        elif isinstance(fate, Later):
            self._agenda.put_off(ticket.batch, now + fate.seconds)
        else:
            self._agenda.put_first(ticket.batch)

    def _fail(self, ticket: Ticket, over: Over, now: float) -> None:
        """End the job, or take leave of one text where it alone was refused."""
        batch, error = ticket.batch, over.error
        if isinstance(error, RequestError):
            error.indices = batch.indices
            last = attempt_of(ticket, error, over.status, now)
            error.attempts = (*batch.tries, last)
        alone = isinstance(error, OF_A_TEXT) and batch.count == 1
        # What goes along for a store is nobody's text.
        self._lone_refusals += alone and bool(batch.indices)
        if alone:
            self._dialect.portion.acquit(batch.doubts)
        if isinstance(error, OF_A_TEXT) and alone and self._is_about_texts:
            self._refuse(batch, error)
        else:
            self._failure = self._failure or error
            if isinstance(error, RequestError) and not error.indices:
                # Nobody's text was in it, but one that goes along: it ends them all.
                error.indices = self._groups.missing_indices()
            if alone:  # then it was not the size of any of them, either
                for other in self._waiting:
                    self._dialect.portion.acquit(other.doubts)
        self._telling.failed(batch, over, now)

    @property
    def _waiting(self) -> list[Batch]:
        """The batches that are still to be answered."""
        return [*self._agenda, *(ticket.batch for ticket in self._flight)]

    @property
    def _is_about_texts(self) -> bool:
        """Whether what is refused one by one may be refused for itself."""
        if self._carried or self._undigested or self._lone_refusals < LONE_REFUSALS:
            return True
        return len(self._groups.missing_indices()) <= FEW

    def _refuse(self, batch: Batch, error: EmbeddingsError) -> None:
        error.length = self._intake.length(batch.group, batch.start)
        if not self._carried:
            self._agenda.put_largest_first()
        batch.group.refuse(batch.start, error)
        self._guest.settle(batch.group, batch.texts)
        self._settle(batch.group, 0)

    def _deadline_error(self) -> DeadlineExceededError:
        missing = self._groups.missing_indices()
        tries: list[Attempt] = max(
            [batch.tries for batch in self._waiting], key=len, default=[]
        )
        last = f"; the last failure was: {tries[-1].reason}" if tries else ""
        return DeadlineExceededError(
            f"{self._plan.deadline:g} s are over, {len(missing)} of {self._added} "
            f"texts have no vector{last}",
            indices=missing,
            attempts=tuple(tries),
        )


def _answer(outcome: Outcome | None) -> Reply | None:
    """Return what may hold vectors, an answer of 200; None where it is none."""
    return outcome if isinstance(outcome, Reply) and outcome.status == 200 else None
