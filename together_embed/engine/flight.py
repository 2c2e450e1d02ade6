"""One job's requests on their way: who holds a permit, who is waited for no longer.

A request ends twice. It gives its permit back when its outcome is known, on whatever
thread carried it; and it is over when the job knows, or waits for it no longer. Where
the user allows for it, one that takes far too long gets a twin, which asks for the same
batch: the first right answer counts, and the other is beaten.
"""

from __future__ import annotations

from collections.abc import Iterator

from together_embed.engine import wire
from together_embed.engine.batching import Batch
from together_embed.engine.flow import Flow, Line
from together_embed.engine.hedge import Hedger, pair, unpair
from together_embed.engine.plan import Plan, Ticket
from together_embed.engine.signals import Permit
from together_embed.engine.stats import Tally


class Flight:
    """The requests of one job.

    Args:
        plan: What all jobs have in common.
        flow: Where permits come from.
        line: The job's place there.
        tally: Counts what is sent.
        hedger: What may be sent a second time, or None.

    Attributes:
        hedges: Whether a request may get a twin.
    """

    def __init__(
        self, plan: Plan, flow: Flow, line: Line, tally: Tally, hedger: Hedger | None
    ) -> None:
        self._plan = plan
        self._flow = flow
        self._line = line
        self._tally = tally
        self.hedges = hedger is not None
        self._hedger = hedger
        self._out: dict[Ticket, None] = {}  # what is not over, the oldest first
        self._permits: set[Ticket] = set()
        self._missed: set[Ticket] = set()
        self._beaten: list[Ticket] = []
        self._held_since: float | None = None
        self._held = 0.0  # seconds, since something was launched

    def __len__(self) -> int:
        return len(self._out)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._out)

    @property
    def permits(self) -> list[Ticket]:
        """The requests that hold one, over or not."""
        return list(self._permits)

    @property
    def awaits_verdict(self) -> bool:
        """Whether a request has failed of which the job was not told yet."""
        return bool(self._missed)

    def launch(
        self,
        batch: Batch,
        permit: Permit,
        seconds: float | None,
        now: float,
        *,
        base64: bool,
    ) -> Ticket:
        """Make a request that goes out now, and may take so many seconds."""
        extra = self._plan.asking[base64]
        body = wire.encode(self._plan.model, batch.texts, extra)
        if batch.course.attempts:
            self._tally.retries += 1
        else:
            batch.course.started_at = now
        batch.course.encoding = extra.get("encoding_format")
        batch.course.waited += self._held
        self._held = 0.0
        if self._hedger is not None:
            self._hedger.sent()
        return self._add(Ticket(body, batch, now, seconds, base64, permit))

    def hold(self, now: float, *, held: bool) -> None:
        """Add up how long limits on the rate hold back what could go out.

        Args:
            now: Seconds on the driver's clock.
            held: Whether they do from now on.
        """
        if self._held_since is not None:
            waited = now - self._held_since
            self._held += waited
            self._tally.waited += waited
        self._held_since = now if held else None

    def launch_twins(self, seconds: float | None, now: float) -> list[Ticket]:
        """Make second requests of those that take far too long, as far as may be."""
        if self._hedger is None:
            return []
        due = self._hedger.due(self._out, now)
        permits = [self._flow.take_beyond(self._line, now) for _ in due]
        both = zip(due, permits, strict=True)
        return [self._twin(slow, one, seconds, now) for slow, one in both if one]

    def _twin(
        self, slow: Ticket, permit: Permit, seconds: float | None, now: float
    ) -> Ticket:
        twin = Ticket(slow.body, slow.batch, now, seconds, slow.base64, permit)
        pair(slow, twin)
        self._tally.hedged += 1
        if self._hedger is not None:
            self._hedger.spend()
        return self._add(twin)

    def _add(self, ticket: Ticket) -> Ticket:
        course, size = ticket.batch.course, len(ticket.body)
        course.attempts += 1
        course.sent += size
        self._tally.requests += 1
        self._tally.sent_bytes += size
        self._out[ticket] = None
        self._permits.add(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> bool:
        """Take a request's permit, from any thread; tell whether it still had one."""
        try:
            self._permits.remove(ticket)  # atomic: of two threads one comes first
        except KeyError:
            return False
        return True

    def miss(self, ticket: Ticket) -> None:
        """Hear that a request failed, from any thread, before its permit is free."""
        self._missed.add(ticket)

    def tell(self, ticket: Ticket) -> None:
        """Hear that the job was told of a request."""
        self._missed.discard(ticket)

    def is_last(self, ticket: Ticket) -> bool:
        """Whether no other request for the same batch holds a permit."""
        return ticket.other not in self._permits

    def time(self, ticket: Ticket, seconds: float) -> None:
        """Take notice of how long a request took, at least."""
        if self._hedger is not None:
            self._hedger.learn(len(ticket.body), seconds)

    def remove(self, ticket: Ticket) -> None:
        """Wait no longer for a request, which is over."""
        del self._out[ticket]

    def beat_twin(self, ticket: Ticket) -> None:
        """Wait no longer for the other request of a batch that is answered."""
        twin = unpair(ticket)
        if twin is None:
            return
        twin.beaten = True
        if not twin.over:
            self._drop(twin)
            self._beaten.append(twin)

    def take_beaten(self) -> list[Ticket]:
        """Return the requests that a driver need not wait for any more, once."""
        beaten, self._beaten = self._beaten, []
        return beaten

    def drop_overdue(self, now: float) -> list[Ticket]:
        """Return the requests that had their time, whatever the transport knows."""
        timeout = self._plan.timeout
        if timeout is None:
            return []
        old = [ticket for ticket in self._out if now - ticket.sent_at >= timeout]
        for ticket in old:
            self._drop(ticket)
        return old

    def _drop(self, ticket: Ticket) -> None:
        ticket.over = True
        self.remove(ticket)

    def moments(self, now: float) -> list[float]:
        """Return when something is to be done, should nothing happen before."""
        moments = []
        if self._out and self._plan.timeout is not None:
            # Launched in order with one time for all: the first is the oldest.
            moments.append(next(iter(self._out)).sent_at + self._plan.timeout)
        if self._hedger is not None and self._flow.is_calm(now):
            due_at = self._hedger.next_at(self._out, now)
            moments += [] if due_at is None else [due_at]
        return moments
