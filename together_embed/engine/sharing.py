"""Single flight: the table of the texts that the calls of a client want.

A text that several calls want goes out once. Every text that is to be sent is entered
here by the call that wants it. Who sends it first carries it for all; the others are
given the same answer when it lands, whoever drives the carrier's call, and however that
call ends. Who comes between the landing and the end of the work on it, which keeps it
where there is a store, is given it at once. Nobody waits for a call: what is waited for
is a request on its way, which ends by itself. If it brings no answer, each of the
others may send the text. So no two calls can wait for one another.

A text that one call alone wants costs one entry in a table, and nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct

from together_embed.engine.batching import Batch
from together_embed.engine.group import Group
from together_embed.engine.outcome import Reply

if TYPE_CHECKING:
    from together_embed.engine.guest import Guest

Answered = tuple[Reply, int, int]

AT_ONCE = 10_000
"""Texts that are entered at a time: others wait for the lock, event loops as well."""


class Carrier(Struct, frozen=True, eq=False):
    """A request on its way, for those who wait for what it carries.

    Attributes:
        until: When it is over at the latest; nobody waits for longer.
        host: What drives it, if that is held up by calls that block it: a thread with
            an event loop. None where nothing can hold it up.
    """

    until: float
    host: object


class Delivery(Struct, frozen=True, eq=False):
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


class Want(Struct, eq=False):
    """One group's part in the table.

    Attributes:
        group: The group.
        guest: The call that it belongs to.
        carriers: Its requests on their way, by their batch.
        landed: What those brought that it is not done with.
        shares: Its texts that others want as well.
        mailed: Those among them whose answer is in the guest's mail, and how often.
            Nobody has looked into it: they stay shared until they have their row.
        touched: Some were shared, now or before.
        gone: The call has ended.
    """

    group: Group
    guest: Guest
    carriers: dict[Batch, Carrier] = {}
    landed: dict[Batch, Reply] = {}
    shares: dict[str, Share] = {}
    mailed: dict[str, int] = {}
    touched: bool = False
    gone: bool = False


class Share(Struct, eq=False):
    """A text that several groups want.

    Attributes:
        members: Those groups.
        carrier: The request that carries it, if one does.
        answer: What brought it, to how many texts that was an answer, and which of them
            it is; while one of the members has not taken that in.
    """

    members: list[Want]
    carrier: Carrier | None = None
    answer: Answered | None = None


class Sharing:
    """The table of one client.

    Args:
        lock: Guards it; held for a look at each text of a batch, or of a part of a
            group.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self.lock = lock or nullcontext()
        self.known: dict[str, Want | Share] = {}

    def enter(self, want: Want) -> None:
        """Enter the texts of a group; hand it what others have brought of them."""
        texts = want.group.unique[: want.group.missing]
        for start in range(0, len(texts), AT_ONCE):
            with self.lock:
                self._enter(want, texts[start : start + AT_ONCE])

    def _enter(self, want: Want, texts: Sequence[str]) -> None:
        if self.known.keys().isdisjoint(texts):
            self.known.update(dict.fromkeys(texts, want))
            return
        carried: dict[Want, dict[str, Share]] = {}
        post: list[tuple[str, Answered]] = []
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
        self, text: str, other: Want | Share, carried: dict[Want, dict[str, Share]]
    ) -> Share:
        if isinstance(other, Share):
            return other
        if other not in carried:
            carried[other] = _carried(other)
        share = carried[other].get(text) or Share([other])
        self.known[text] = other.shares[text] = share
        other.touched = other.guest.touched = True
        return share

    def leave(self, want: Want, texts: Iterable[str]) -> None:
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
        self, want: Want, carrier: Carrier, texts: Sequence[str], reply: Reply | None
    ) -> set[Guest]:
        """Hand an answer to all who want its texts; return whom to wake."""
        mail: dict[Want, list[tuple[str, Answered]]] = {}
        told: set[Guest] = set()
        for at, text in enumerate(texts):
            share = want.shares.get(text)
            if share is None or share.carrier is not carrier:
                continue
            share.carrier = None
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
                wants = entry.members if isinstance(entry, Share) else [entry]
                left = [w for w in wants if w.guest is not guest or text in flying]
                others.update(want.guest for want in left)
                if not left:
                    del self.known[text]
                elif isinstance(entry, Share):
                    entry.members = left
        return others


def _carried(want: Want) -> dict[str, Share]:
    """Return a share for each text of a group that is on its way, or has landed."""
    shares = {
        text: Share([want], carrier)
        for batch, carrier in want.carriers.items()
        for text in batch.texts
    }
    for batch, reply in want.landed.items():
        texts = batch.texts
        for at, text in enumerate(texts):
            shares[text] = Share([want], None, (reply, len(texts), at))
    return shares


def _post(want: Want, found: Iterable[tuple[str, Answered]]) -> None:
    """Put into a guest's mail what others' requests brought for one of its groups."""
    mail: dict[int, Delivery] = {}
    for text, (reply, count, at) in found:
        want.mailed[text] = want.mailed.get(text, 0) + 1
        empty = Delivery(want.group, reply, count, [])
        mail.setdefault(id(reply), empty).wanted.append((text, at))
    want.guest.mail.extend(mail.values())
