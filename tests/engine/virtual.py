"""Jobs on one virtual clock, against a server that is a function.

No thread, socket or real second: a test says what each request gets and when, and sees
which requests went out at which moment.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any

from together_embed.engine.flow import Flow
from together_embed.engine.group import Group
from together_embed.engine.hedge import Hedger
from together_embed.engine.job import Job
from together_embed.engine.outcome import Cause, Lost, Outcome, Reply
from together_embed.engine.plan import Dialect, Plan, Ticket
from together_embed.engine.retry import Policy
from together_embed.engine.sharing import Sharing
from together_embed.engine.stats import BatchStats, Stats, Tallies


@dataclass
class Ask:
    """A request as the server sees it."""

    number: int
    at: float
    texts: list[str]
    fields: dict[str, Any]
    size: int


Served = Outcome | tuple[float, Outcome]
Server = Callable[[Ask], Served]
SECONDS = 1.0
"""What an answer takes where the server names no time."""


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text)) % 997), 0.5]


def good(texts: Iterable[str], *, backwards: bool = False) -> Reply:
    rows = [{"index": i, "embedding": vector(t)} for i, t in enumerate(texts)]
    body = json.dumps({"data": rows[::-1] if backwards else rows}).encode()
    return Reply(200, {}, body)


def bad(status: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps({"error": {"message": message}}).encode())


def lost(cause: Cause = Cause.CONNECTION) -> Lost:
    return Lost(cause, "as told")


def always(ask: Ask) -> Served:
    return good(ask.texts)


def script(*served: Served | None) -> Server:
    """Serve so in turn; None, and whatever comes after the last, is a good answer."""

    def serve(ask: Ask) -> Served:
        told = served[ask.number] if ask.number < len(served) else None
        return good(ask.texts) if told is None else told

    return serve


@dataclass
class Run:
    """A job as its driver sees it."""

    job: Job
    source: Iterator[Sequence[str]]
    groups: list[list[list[float]]] = field(default_factory=list)
    error: BaseException | None = None
    over_at: float | None = None
    due_at: float = 0.0
    asked: list[Ask] = field(default_factory=list)
    found: Group | None = None


class World:
    """A client's engine, and the clock.

    Where it has a disk, a job looks its texts up in one turn and adds them in the next,
    and keeps an answer in the turn after it was decoded: others go on in between.
    """

    def __init__(
        self,
        server: Server = always,
        *,
        limit: int = 4,
        max_retries: int = 8,
        dice: Callable[[], float] = lambda: 0.5,
        base64: bool | None = False,
        learns: bool = True,
        hedge: float | None = None,
        disk: dict[str, list[float]] | None = None,
        **plan: Any,
    ) -> None:
        self.now = 100.0
        self.server = server
        self.asks: list[Ask] = []
        self.most = 0
        self.policy = Policy(max_retries, dice)
        self.flow = Flow(limit, self.policy, threading.Lock())
        self.tallies = Tallies()
        self.sharing = Sharing()
        self.hedger = None if hedge is None else Hedger(hedge, threading.Lock())
        self.told: list[BatchStats] = []
        self.dialect = Dialect(base64, learns)
        self.plan = Plan(
            **{
                "model": "m",
                "extra": {},
                "batch_size": 2,
                "max_batch_bytes": 1_000_000,
                "timeout": None,
                "deadline": None,
                "width": None,
                "scrub": lambda words: words,
                "keeps": disk is not None,
                **plan,
            }
        )
        self.disk = disk
        self._air: list[tuple[float, int, Run, Ticket, Outcome]] = []

    @property
    def stats(self) -> Stats:
        return self.tallies.stats(self.flow, self.dialect)

    @property
    def held(self) -> int:
        """How many permits are out."""
        return self.flow.in_flight

    def start(self, groups: Iterable[Sequence[str]], **seat: object) -> Run:
        runs: list[Run] = []

        def wake() -> None:
            if runs:
                runs[0].due_at = self.now

        job = Job(
            self.plan,
            self.policy,
            self.flow,
            self.dialect,
            self.now,
            wake,
            on_batch=self.told.append,
            tallies=self.tallies,
            sharing=self.sharing,
            hedger=self.hedger,
            **seat,
        )
        runs.append(Run(job, iter(groups), due_at=self.now))
        return runs[0]

    def embed(self, texts: Sequence[str], **seat: object) -> list[list[float]]:
        """Carry out one call, to its vectors or its error."""
        run = self.start([texts], **seat)
        self.carry(run)
        if run.error is not None:
            raise run.error
        (rows,) = run.groups
        return rows

    def failure(self, texts: Sequence[str]) -> Any:
        """Carry out one call that is to fail, and return its error."""
        run = self.start([texts])
        self.carry(run)
        assert run.error is not None, "it was to fail"
        return run.error

    def carry(self, *runs: Run) -> None:
        """Carry out jobs side by side until all are over."""
        turns = 0
        while live := [run for run in runs if run.over_at is None]:
            turns += 1
            assert turns < 100_000, "the engine goes round without end"
            due = [run for run in live if run.due_at <= self.now]
            for run in due:
                self._turn(run)
            if not due:
                self._pass_time(live)

    def _turn(self, run: Run) -> None:
        try:
            self._keep(run)
            while run.job.hungry:
                if run.found is not None:
                    run.job.add(run.found)
                    run.found = None
                elif (texts := next(run.source, None)) is None:
                    run.job.complete()
                elif self.disk is None:
                    run.job.add(run.job.group(texts))
                else:
                    run.found = self._look_up(run, texts, self.disk)
                    return
            step = run.job.next_step(self.now)
            if step is None:
                run.groups += [rows for _, rows in run.job.take()]
                run.job.result()
                self._end(run)
                return
            for ticket in step.launches:
                self._send(run, ticket)
            run.job.digest(self.now)
            run.groups += [rows for _, rows in run.job.take()]
            patience = float("inf") if step.patience is None else step.patience
            run.due_at = self.now + patience
        except BaseException as error:
            run.error = error
            self._end(run)

    def _look_up(
        self, run: Run, texts: Sequence[str], disk: dict[str, list[float]]
    ) -> Group:
        group = run.job.group(texts)
        run.job.enter(group)
        for start, asked in group.lookups():
            kept = [disk.get(text) for text in asked]
            group.recall(start, [row and ("d", pack("3d", *row)) for row in kept])
        return group

    def _keep(self, run: Run) -> None:
        while self.disk is not None and run.job.fresh:
            texts, answer = run.job.fresh[0][:2]
            self.disk.update(zip(texts, answer.embeddings, strict=True))  # type: ignore[arg-type]
            run.job.kept()

    def _end(self, run: Run) -> None:
        self._keep(run)
        run.over_at = self.now
        for ticket in run.job.close(self.now):
            if not any(flying[3] is ticket for flying in self._air):
                run.job.release(ticket, None, self.now)

    def _send(self, run: Run, ticket: Ticket) -> None:
        fields = json.loads(ticket.body)
        texts = fields["input"]
        ask = Ask(len(self.asks), self.now, texts, fields, len(ticket.body))
        self.asks.append(ask)
        run.asked.append(ask)
        served = self.server(ask)
        seconds, outcome = served if isinstance(served, tuple) else (SECONDS, served)
        if ticket.seconds is not None and seconds > ticket.seconds:
            seconds, outcome = ticket.seconds, lost(Cause.TIMEOUT)
        self._air.append((self.now + seconds, ask.number, run, ticket, outcome))
        self.most = max(self.most, len(self._air))

    def _pass_time(self, live: list[Run]) -> None:
        moments = [flying[0] for flying in self._air]
        moment = min(moments + [run.due_at for run in live])
        assert moment < float("inf"), "all wait, and nothing will come"
        self.now = max(self.now, moment)
        self.land()

    def land(self, *, all_of_it: bool = False) -> None:
        """Bring down what has landed by now."""
        self._air.sort(key=lambda flying: flying[:2])
        while self._air and (all_of_it or self._air[0][0] <= self.now):
            at, _, run, ticket, outcome = self._air.pop(0)
            self.now = max(self.now, at)
            run.job.release(ticket, outcome, self.now)
            if run.over_at is None:
                run.job.receive(ticket, outcome, self.now)
                run.due_at = self.now
