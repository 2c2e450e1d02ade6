"""Single flight: a text that several calls of a client want goes out once.

Every text that is to be sent is entered here by the call that wants it. Who sends it
first carries it for all; the others are given the same answer when it lands, whoever
drives the carrier's call, and however that call ends. Who comes between the landing and
the end of the work on it, which keeps it where there is a store, is given it at once.
Nobody waits for a call: what is waited for is a request on its way, which ends by
itself. If it brings no answer, each of the others may send the text. So no two calls
can wait for one another.

A text that one call alone wants costs one entry in a table, and nothing else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from together_embed.engine.agenda import Agenda
from together_embed.engine.batching import Batch, part
from together_embed.engine.group import Group
from together_embed.engine.outcome import Reply

PATIENCE = 60.0
"""Seconds to wait for another call's request that has no time of its own."""
LONGEST = float("inf")
_Answer = tuple[Reply, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A request on its way.

    Attributes:
        until: When it is over at the latest; nobody waits for longer.
        host: What carries it, if that is held up by calls that block it: a thread with
            an event loop. None where nothing can hold it up.
    """

    until: float
    host: object


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """An answer that another call's request brought.

    Attributes:
        group: Whose texts are in it.
        reply: The answer, of status 200; nobody has looked into it.
        count: How many texts it was asked for.
        wanted: The texts, and where they stand among those.
    """

    group: Group
    reply: Reply
    count: int
    wanted: list[tuple[str, int]]


@dataclass(slots=True, eq=False)
class _Want:
    """One group's part in the table.

    Attributes:
        group: The group.
        guest: The call that it belongs to.
        flights: Its requests on their way.
        landed: What those brought that it is not done with.
        shares: Its texts that others want as well.
        mailed: Those among them whose answer is in the guest's mail, and how often.
            Nobody has looked into it: they stay shared until they have their row.
        touched: Some were shared, now or before.
        gone: The call has ended.
    """

    group: Group
    guest: Guest
    flights: dict[Batch, Flight] = field(default_factory=dict)
    landed: dict[Batch, Reply] = field(default_factory=dict)
    shares: dict[str, _Share] = field(default_factory=dict)
    mailed: Counter[str] = field(default_factory=Counter)
    touched: bool = False
    gone: bool = False


@dataclass(slots=True, eq=False)
class _Share:
    """A text that several groups want.

    Attributes:
        members: Those groups.
        flight: The request that carries it, if one does.
        answer: What brought it, to how many texts that was an answer, and which of them
            it is; while one of the members has not taken that in.
    """

    members: list[_Want]
    flight: Flight | None = None
    answer: _Answer | None = None


class Sharing:
    """The table of one client.

    Args:
        lock: Guards it; held for a look at each text of a batch or a group.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self.lock = lock or nullcontext()
        self.known: dict[str, _Want | _Share] = {}

    def enter(self, want: _Want) -> None:
        """Enter the texts of a group; hand it what others have brought of them."""
        texts = want.group.unique[: want.group.missing]
        with self.lock:
            if self.known.keys().isdisjoint(texts):
                self.known.update(dict.fromkeys(texts, want))
                return
            carried: dict[_Want, dict[str, _Share]] = {}
            post: list[tuple[str, _Answer]] = []
            want.touched = want.guest.touched = True
            for text in texts:
                other = self.known.setdefault(text, want)
                if other is want:
                    continue
                share = self._share(text, other, carried)
                want.shares[text] = share
                share.members.append(want)
                if share.answer:
                    post.append((text, share.answer))
            _post(want, post)

    def _share(
        self, text: str, other: _Want | _Share, carried: dict[_Want, dict[str, _Share]]
    ) -> _Share:
        if isinstance(other, _Share):
            return other
        if other not in carried:
            carried[other] = _carried(other)
        share = carried[other].get(text) or _Share([other])
        self.known[text] = other.shares[text] = share
        other.touched = other.guest.touched = True
        return share

    def leave(self, want: _Want, texts: Iterable[str]) -> None:
        """Take texts out, as far as this group is concerned. Needs the lock."""
        for text in texts:
            share = want.shares.get(text)
            if share is None:
                if self.known.get(text) is want:
                    del self.known[text]
                continue
            if want in share.members:
                share.members.remove(want)
            del want.shares[text]
            if not share.members and self.known.get(text) is share:
                del self.known[text]

    def land(
        self, want: _Want, flight: Flight, texts: Sequence[str], reply: Reply | None
    ) -> set[Guest]:
        """Hand an answer to all who want its texts; return whom to wake."""
        mail: dict[_Want, list[tuple[str, _Answer]]] = {}
        told: set[Guest] = set()
        for at, text in enumerate(texts):
            share = want.shares.get(text)
            if share is None or share.flight is not flight:
                continue
            share.flight = None
            others = [member for member in share.members if member is not want]
            told.update(member.guest for member in others)
            if reply is None:
                continue
            share.answer = reply, len(texts), at
            for member in others:
                mail.setdefault(member, []).append((text, share.answer))
        for member, post in mail.items():
            _post(member, post)
        return told

    def sweep(self, guest: Guest, flying: Container[str]) -> set[Guest]:
        """Take out all that is a guest's, but what flies; return whose the rest is."""
        others: set[Guest] = set()
        with self.lock:
            for text, entry in list(self.known.items()):
                wants = entry.members if isinstance(entry, _Share) else [entry]
                left = [w for w in wants if w.guest is not guest or text in flying]
                others.update(want.guest for want in left)
                if not left:
                    del self.known[text]
                elif isinstance(entry, _Share):
                    entry.members = left
        return others


def _carried(want: _Want) -> dict[str, _Share]:
    """Return a share for each text of a group that is on its way, or has landed."""
    shares = {
        text: _Share([want], flight)
        for batch, flight in want.flights.items()
        for text in batch.texts
    }
    for batch, reply in want.landed.items():
        texts = batch.texts
        for at, text in enumerate(texts):
            shares[text] = _Share([want], None, (reply, len(texts), at))
    return shares


def _post(want: _Want, found: Iterable[tuple[str, _Answer]]) -> None:
    """Put into a guest's mail what others' requests brought for one of its groups."""
    mail: dict[int, Delivery] = {}
    for text, (reply, count, at) in found:
        want.mailed[text] += 1
        empty = Delivery(want.group, reply, count, [])
        mail.setdefault(id(reply), empty).wanted.append((text, at))
    want.guest.mail.extend(mail.values())


class Guest:
    """One call's place at the table.

    Args:
        sharing: The table.
        wake: Is called from any thread when there is mail, or a text is free again.
        host: See `Flight`; what carries this call's own requests.
        blocks: The host that this call holds up while it waits.

    Attributes:
        touched: Another call wants one of this call's texts, or did.
        stirred: Something has changed for a text that is waited for.
        mail: What others' requests brought.
    """

    def __init__(
        self,
        sharing: Sharing,
        wake: Callable[[], None],
        host: object = None,
        blocks: object = None,
    ) -> None:
        self._sharing = sharing
        self._wake = wake
        self._host = host
        self._blocks = blocks
        self._wants: dict[Group, _Want] = {}
        self._parked: list[Batch] = []
        self._until = 0.0
        self.touched = False
        self.stirred = False
        self.mail: deque[Delivery] = deque()

    @property
    def waits_until(self) -> float | None:
        """When a text that is waited for may be sent all the same, if there is one."""
        return self._until if self._parked and self._until < LONGEST else None

    @property
    def waits(self) -> bool:
        """Whether a text is waited for."""
        return bool(self._parked)

    def enter(self, group: Group) -> None:
        """Enter a group, unless it was: what it misses is wanted from now on.

        What others kept before is to be looked up after that: who looks first would
        miss what they keep, and leave the table with, in between.
        """
        if group not in self._wants:
            want = self._wants[group] = _Want(group, self)
            self._sharing.enter(want)

    def arrange(self, group: Group) -> None:
        """Let those of a group's texts that are shared go last.

        They then make batches of their own, and hold up no others.
        """
        shared = self._wants[group].shares
        if shared:
            texts = group.unique[: group.missing]
            group.reorder(sorted(range(len(texts)), key=lambda at: texts[at] in shared))

    def sift(self, agenda: Agenda, most: int, now: float) -> None:
        """Take out of the next batches what is on its way, or has come, by others.

        Of use only where this call was `touched`.
        """
        if self._parked and (self.stirred or now >= self._until):
            self.stirred = False
            parked, self._parked = self._parked, []
            for batch in parked:
                agenda.put_first(batch)
        kept = []
        for _ in range(min(agenda.ready, most + len(self._parked))):
            with self._sharing.lock:
                free = self._free(agenda.pop(), now)
            if free is not None:
                kept.append(free)
        for batch in reversed(kept):
            agenda.put_first(batch)

    def launch(self, batch: Batch, until: float, now: float) -> Batch | None:
        """Say that a batch goes out; return what is free of it, if anything is."""
        with self._sharing.lock:
            free = self._free(batch, now) if self.touched else batch
            if free is None:
                return None
            want = self._wants[free.group]
            flight = want.flights[free] = Flight(until, self._host)
            if want.shares:
                for text in free.texts:
                    if text in want.shares:
                        want.shares[text].flight = flight
        return free

    def land(self, batch: Batch, reply: Reply | None) -> None:
        """Say that a batch's request is over, from any thread."""
        with self._sharing.lock:
            told: set[Guest] = set()
            want = self._wants.get(batch.group)
            flight = None if want is None else want.flights.get(batch)
            if want is None or flight is None:
                return  # another request for the same batch came first
            if want.shares:
                told = self._sharing.land(want, flight, batch.texts, reply)
            del want.flights[batch]
            if want.gone:
                self._sharing.leave(want, batch.texts)
                self._forget(want)
            elif reply is not None:
                want.landed[batch] = reply
        for guest in told:
            guest.stirred = True
            guest._wake()  # noqa: SLF001 - of the same class

    def settle(
        self, group: Group, texts: Sequence[str], batch: Batch | None = None
    ) -> None:
        """Say that texts are done with, by a row that is kept or an error.

        Args:
            group: Whose texts.
            texts: They may have been done with before.
            batch: Of those that were sent for, if they were.
        """
        with self._sharing.lock:
            want = self._wants.get(group)
            if want is None:  # all of it was done with before
                return
            self._sharing.leave(want, texts)
            for text in texts:
                want.mailed.pop(text, None)
            if batch is not None:
                want.landed.pop(batch, None)
            if not group.missing:
                want.gone = True
                self._forget(want)

    def _forget(self, want: _Want) -> None:
        """Let go of a group that is done with, when nothing of it is left to see to."""
        if not (want.flights or want.landed or want.mailed):
            self._wants.pop(want.group, None)

    def refuse(self, batch: Batch) -> None:
        """Say that what a request brought was not right: nobody else is to get it."""
        with self._sharing.lock:
            want = self._wants.get(batch.group)
            if want is None:
                return
            want.landed.pop(batch, None)
            for text in batch.texts:
                if text in want.shares:
                    want.shares[text].answer = None

    def refuse_mail(self, delivery: Delivery) -> None:
        """Say that an answer of others was not right: its texts are free again."""
        with self._sharing.lock:
            want = self._wants.get(delivery.group)
            if want is not None:
                want.mailed -= Counter(text for text, _ in delivery.wanted)
        self.stirred = True

    def close(self) -> None:
        """Leave the table; what is on its way is still handed to others."""
        with self._sharing.lock:
            for want in self._wants.values():
                want.gone = True
                flying = {text for batch in want.flights for text in batch.texts}
                rest = [text for text in want.group.unique if text not in flying]
                self._sharing.leave(want, rest)

    def mend(self, carried: set[Batch]) -> None:
        """Put right what Ctrl-C may have broken off, after `close`.

        Args:
            carried: Those of the call's batches that are on their way.
        """
        for want in list(self._wants.values()):
            for batch in set(want.flights) - carried:
                self.land(batch, None)
        wants = list(self._wants.values())
        flights = [batch for want in wants for batch in list(want.flights)]
        flying = {text for batch in flights for text in batch.texts}
        # Somebody may not have been told.
        for guest in self._sharing.sweep(self, flying):
            guest.stirred = True
            guest._wake()  # noqa: SLF001 - of the same class

    def _may_wait_for(self, flight: Flight, now: float) -> bool:
        held = flight.host is not None and flight.host == self._blocks
        return now < flight.until and not held

    def _free(self, batch: Batch, now: float) -> Batch | None:
        """Return what of a batch is to be sent; the rest is parked, or is known."""
        want = self._wants.get(batch.group)
        if want is None:  # others have brought all of it
            return None
        if not want.touched:
            return batch
        free, waiting, known = [], [], []
        until = LONGEST
        for place, text in enumerate(batch.texts, batch.start):
            share = want.shares.get(text)
            flight = share and share.flight
            if batch.group.is_known(place):
                known.append(place)
            elif text in want.mailed:
                waiting.append(place)
            elif flight and self._may_wait_for(flight, now):
                waiting.append(place)
                until = min(until, flight.until)
            else:
                free.append(place)
        if not (waiting or known):
            return batch
        order = [*free, *waiting, *known]
        if order != [*range(batch.start, batch.stop)]:
            batch.group.reorder(order, batch.start)
        middle = batch.start + len(free)
        if waiting:
            self._until = min(until, self._until) if self._parked else until
            self._parked.append(part(batch, middle, middle + len(waiting)))
        return part(batch, batch.start, middle) if free else None
