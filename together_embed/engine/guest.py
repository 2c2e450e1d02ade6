"""One call's place at the table of texts that several calls want.

What a call is about to send, it asks for here: what is on its way by another call's
request is parked until that lands, or has had its time; what landed is in the mail.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from together_embed.engine.agenda import Agenda
from together_embed.engine.batching import Batch, part
from together_embed.engine.group import Group
from together_embed.engine.outcome import Reply
from together_embed.engine.sharing import Carrier, Delivery, Sharing, Want

PATIENCE = 60.0
"""Seconds to wait for another call's request that has no time of its own."""


class Guest:
    """See the module.

    Args:
        sharing: The table.
        wake: Is called from any thread when there is mail, or a text is free again.
        host: See `Carrier`; what drives this call's own requests.
        blocks: The host that this call holds up while it waits.

    Attributes:
        touched: Another call wants one of this call's texts, or did.
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
        self._wants: dict[Group, Want] = {}
        self._parked: list[Batch] = []
        self._until = 0.0
        self.touched = False
        self._stirred = False
        self.mail: deque[Delivery] = deque()

    @property
    def waits_until(self) -> float | None:
        """When a text that is waited for may be sent all the same, if there is one."""
        return self._until if self._parked and self._until < math.inf else None

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
            want = self._wants[group] = Want(group, self)
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
        if self._parked and (self._stirred or now >= self._until):
            self._stirred = False
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
            carrier = want.carriers[free] = Carrier(until, self._host)
            if want.shares:
                for text in free.texts:
                    if text in want.shares:
                        want.shares[text].carrier = carrier
        return free

    def land(self, batch: Batch, reply: Reply | None) -> None:
        """Say that a batch's request is over, from any thread."""
        with self._sharing.lock:
            told: set[Guest] = set()
            want = self._wants.get(batch.group)
            carrier = None if want is None else want.carriers.get(batch)
            if want is None or carrier is None:
                return  # another request for the same batch came first
            if want.shares:
                told = self._sharing.land(want, carrier, batch.texts, reply)
            del want.carriers[batch]
            if want.gone:
                self._sharing.leave(want, batch.texts)
                self._forget(want)
            elif reply is not None:
                want.landed[batch] = reply
        for guest in told:
            guest.stir()

    def stir(self) -> None:
        """Hear, from any thread, that something has changed for a text of this call."""
        self._stirred = True
        self._wake()

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
            for text in texts if want.mailed else ():
                want.mailed.pop(text, None)
            if batch is not None:
                want.landed.pop(batch, None)
            if not group.missing:
                want.gone = True
                self._forget(want)

    def _forget(self, want: Want) -> None:
        """Let go of a group that is done with, when nothing of it is left to see to."""
        if not (want.carriers or want.landed or want.mailed):
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
            mailed = {} if want is None else want.mailed
            for text, _ in delivery.wanted:
                mailed[text] = mailed.get(text, 0) - 1
                if mailed[text] < 1:
                    del mailed[text]
        self._stirred = True

    def close(self) -> None:
        """Leave the table; what is on its way is still handed to others."""
        if not self._wants:
            return
        with self._sharing.lock:
            for want in self._wants.values():
                want.gone = True
                flying = {text for batch in want.carriers for text in batch.texts}
                rest = [text for text in want.group.unique if text not in flying]
                self._sharing.leave(want, rest)

    def mend(self, carried: set[Batch]) -> None:
        """Put right what Ctrl-C may have broken off, after `close`.

        Args:
            carried: Those of the call's batches that are on their way.
        """
        for want in list(self._wants.values()):
            for batch in set(want.carriers) - carried:
                self.land(batch, None)
        wants = list(self._wants.values())
        batches = [batch for want in wants for batch in list(want.carriers)]
        flying = {text for batch in batches for text in batch.texts}
        # Somebody may not have been told.
        for guest in self._sharing.sweep(self, flying):
            guest.stir()

    def _may_wait_for(self, carrier: Carrier, now: float) -> bool:
        held = carrier.host is not None and carrier.host == self._blocks
        return now < carrier.until and not held

    def _free(self, batch: Batch, now: float) -> Batch | None:
        """Return what of a batch is to be sent; the rest is parked, or is known."""
        want = self._wants.get(batch.group)
        if want is None:  # others have brought all of it
            return None
        if not want.touched:
            return batch
        free, waiting, known = [], [], []
        until = math.inf
        for place, text in enumerate(batch.texts, batch.start):
            share = want.shares.get(text)
            carrier = share and share.carrier
            if batch.group.is_known(place):
                known.append(place)
            elif text in want.mailed:
                waiting.append(place)
            elif carrier and self._may_wait_for(carrier, now):
                waiting.append(place)
                until = min(until, carrier.until)
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
