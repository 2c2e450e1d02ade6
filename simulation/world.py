"""Clients with the real engine, servers that are models, and a queue of events.

Nothing here decides anything: a client does what a driver does. Time jumps from event
to event, so that an hour takes as long as its requests take to be reckoned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from typing import Any, Protocol

from together_embed.engine.flow import CEILING, Flow
from together_embed.engine.hedge import Hedger
from together_embed.engine.job import Job
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.plan import Dialect, Plan, Step, Ticket
from together_embed.engine.retry import Policy
from together_embed.engine.stats import Stats, Tallies

ONE_WAY = 0.01
"""Seconds that a request, or an answer, is on the network."""
TIMEOUT = 60.0
"""Seconds until a request is given up: the client's default."""


class Server(Protocol):
    """A model of a server."""

    def arrive(self, now: float, texts: int, size: int, /) -> tuple[float, Outcome]:
        """Take in a request of so many texts and bytes.

        Returns:
            When the answer leaves, and the answer.
        """


@dataclass(slots=True)
class Landing:
    """A request that is over.

    Attributes:
        at: When it landed.
        sent_at: When it was sent.
        status: Its status, 0 where there was no answer.
        client: Which client's it was.
        texts: How many texts it held.
        accident: It failed whatever the client did.
    """

    at: float
    sent_at: float
    status: int
    client: int
    texts: int
    accident: bool = False


class Client:
    """One client: a flow, and the jobs that share it."""

    def __init__(
        self,
        world: World,
        number: int,
        plan: Plan,
        policy: Policy,
        hedge: float | None = None,
    ) -> None:
        self.number = number
        self.world = world
        self.plan = plan
        self.policy = policy
        self.flow = Flow(CEILING, policy, nullcontext())
        self.dialect = Dialect(base64=False, learns=False)
        self.tallies = Tallies()
        self.hedger = None if hedge is None else Hedger(hedge, nullcontext())
        self.calls: list[Call] = []

    @property
    def failed(self) -> int:
        """How many of its calls ended in an error."""
        return sum(call.failure is not None for call in self.calls)

    @property
    def stats(self) -> Stats:
        """What it has sent and settled on."""
        return self.tallies.stats(self.flow, self.dialect)

    def start(self, source: Iterator[list[str]], at: float = 0.0) -> Call:
        """Start a call at some moment."""
        call = Call(self, source)
        self.calls.append(call)
        self.world.at(at, call.begin)
        return call


class Call:
    """A job and its driver."""

    def __init__(self, client: Client, source: Iterator[list[str]]) -> None:
        self._client = client
        self._world = client.world
        self._source = source
        self._due = float("inf")
        self.job: Job
        self.failure: BaseException | None = None
        self.began_at = self.over_at = float("inf")
        self.texts = 0

    def begin(self) -> None:
        """Open the job."""
        client, self.began_at = self._client, self._world.now
        self.job = Job(
            client.plan,
            client.policy,
            client.flow,
            client.dialect,
            self._world.now,
            self._wake,
            ordered=False,
            tallies=client.tallies,
            hedger=client.hedger,
        )
        self._turn()

    def _wake(self) -> None:
        self._turn_at(self._world.now)

    def _turn_at(self, moment: float) -> None:
        if moment < self._due:
            self._due = moment
            self._world.at(moment, self._turn_if_due)

    def _turn_if_due(self) -> None:
        if self._world.now >= self._due:
            self._turn()

    def _turn(self) -> None:
        """Do what a driver does until there is something to wait for."""
        self._due = float("inf")
        job, now = self.job, self._world.now
        while self.over_at > now:
            while job.hungry:
                texts = next(self._source, None)
                if texts is None:
                    job.complete()
                else:
                    job.add(job.group(texts))
            step = job.next_step(now)
            if step is None:
                self._end()
                return
            self._send(step)
            job.digest(now)
            self.texts += sum(len(rows) for _, rows in job.take())
            if step.patience != 0:
                if step.patience is not None:
                    self._turn_at(now + step.patience)
                return

    def _send(self, step: Step) -> None:
        world = self._world
        for ticket in step.launches:
            texts = ticket.batch.count
            done, outcome = world.server.arrive(
                world.now + ONE_WAY, texts, len(ticket.body)
            )
            if done + ONE_WAY > world.now + TIMEOUT:
                done, outcome = world.now + TIMEOUT - ONE_WAY, Lost(Cause.TIMEOUT)
            world.at(done + ONE_WAY, partial(self._land, ticket, outcome))

    def _land(self, ticket: Ticket, outcome: Outcome) -> None:
        now = self._world.now
        status = outcome.status if isinstance(outcome, Reply) else 0
        accident = isinstance(outcome, Reply) and "x-accident" in outcome.headers
        texts = ticket.batch.count
        self._world.landings.append(
            Landing(now, ticket.sent_at, status, self._client.number, texts, accident)
        )
        if self.over_at <= now:
            self.job.release(ticket, outcome, now)
            return
        self.job.receive(ticket, outcome, now)
        self._turn()

    def _end(self) -> None:
        self.over_at = self._world.now
        try:
            self.job.result()
        except Exception as failure:
            self.failure = failure
        self.job.close(self._world.now)


@dataclass
class World:
    """What there is, and when it is.

    Attributes:
        server: The one server.
        seed: Of everything that is drawn by lot.
        now: Seconds.
        landings: Every request that is over, in order.
        clients: Every client.
    """

    server: Server
    seed: int = 0
    now: float = 0.0
    landings: list[Landing] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0

    def client(
        self, max_retries: int = 8, hedge: float | None = None, **plan: Any
    ) -> Client:
        """Bring in a client with its own dice."""
        number = len(self.clients)
        dice = random.Random(self.seed * 1_000_003 + number).random
        fields = {
            "model": "m",
            "extra": {},
            "batch_size": 100,
            "max_batch_bytes": 2_000_000,
            "timeout": TIMEOUT,
            "deadline": None,
            "width": None,
            "scrub": str,
            "allow_blank": False,
            **plan,
        }
        policy = Policy(max_retries, dice)
        client = Client(self, number, Plan(**fields), policy, hedge)
        self.clients.append(client)
        return client

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Let something happen then."""
        self._number += 1
        heappush(self._events, (max(moment, self.now), self._number, event))

    def run(self, until: float = float("inf")) -> None:
        """Let time pass, to a moment or until nothing happens any more."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heappop(self._events)
            event()
