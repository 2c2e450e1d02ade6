"""How many requests may be in flight, and from when on: for all jobs of a client.

Each job stands in one line (`join`, `leave`). It asks for permits (`take`), and gives
each back with a report of what became of its request (`land`). Lines that want more
than is free are served in turn, one permit each; one that just came is served before
the next further permit of another, so that a query does not wait behind a corpus.

What may go out is the least of what these allow; all but the last learn from the same
reports:

* the window: how many may be in flight together;
* the pace: how many a second, where refusals have shown that there is such a limit;
* the brake: nothing, then one, after a refusal with a time or with nothing in flight;
* the quota: what the headers of answers say is left;
* the user's own bounds.

Decisions are made under the lock that the client brings, and return at once. Whoever
waits for a place is woken by the callback that it left, and has the place reserved for
a second. Who waits for a moment is the first line, told for how long. The others are
told a little more, should it not come: nobody drives a half-used iterator.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager

from together_embed.engine.blame import Jury
from together_embed.engine.brake import LONG, Brake
from together_embed.engine.pace import Metre, Pace, Second
from together_embed.engine.quota import Budget
from together_embed.engine.retry import Policy
from together_embed.engine.signals import BYTES_PER_TOKEN, Permit, Report, Verdict
from together_embed.engine.window import Window

CEILING = 256
"""Requests in flight where the user names no bound. At 0.1 s a request they carry 2,560
requests a second, more than a Python process can decode."""
SPREAD = 2.5
"""Where a refusal was seen, requests go out no closer than this many times as fast as
they come back: a server that counts over a short time minds bursts."""
SLACK = 0.1
"""Seconds by which a user's own rate may be caught up after a late start."""
GRACE = 1.0
"""Seconds for which a permit waits for the line that was woken for it. A caller that
holds a half-used iterator does not come: the permit goes to the next."""
LOOK = 0.01
"""Seconds, for each line that waits, after which one comes that is not the first: so
all of them together come a hundred times a second at most."""
CALM = 10.0
"""Seconds without a refusal after which a request may be sent that need not be."""
OUTAGE = 4
"""Strained answers in a row that say that the server carries nothing now: where one in
ten fails in this way, four in a row are one in ten thousand."""
BROKEN = 1 / 4
"""What a fault counts beside a strained answer: it may be a matter of one request."""


class Line:
    """One job's place. All of it belongs to the flow."""

    __slots__ = (
        *("blocks", "granted", "host", "new"),
        *("queued", "size", "wake", "want"),
    )

    def __init__(self, wake: Callable[[], None], host: object, blocks: object) -> None:
        self.wake = wake
        self.host, self.blocks = host, blocks
        self.want = 0
        self.size = 0  # bytes of the next request, about
        self.granted: list[Permit] = []  # not taken yet; counted as in flight
        self.queued = False
        self.new = True  # nothing was granted so far


class Flow:
    """See the module.

    Args:
        ceiling: Requests in flight, at most.
        policy: The dice and the back-off of the brake.
        lock: Guards every decision; held for microseconds.
        requests_per_second: The user's own bound, or None.
        tokens_per_minute: The user's own bound, or None.

    Attributes:
        holds: Whether whoever asked last was held back by a limit on the rate, and not
            by the number in flight.
    """

    def __init__(
        self,
        ceiling: int,
        policy: Policy,
        lock: AbstractContextManager[object],
        *,
        requests_per_second: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self._lock = lock
        self._ceiling = ceiling
        self._window = Window(ceiling)
        self._pace = Pace()
        self._brake = Brake(policy)
        self._budget = Budget()
        self._jury = Jury()
        self._judged, self._paced = -1, False
        self._requests = Metre(requests_per_second, SLACK)
        self._second = Second(requests_per_second)
        self._tokens = Metre(tokens_per_minute and tokens_per_minute / 60, SLACK)
        self._out: dict[Permit, Line] = {}  # in flight, and whose they are
        self._serial = -1  # the newest permit's
        self._lines: deque[Line] = deque()
        self._new: deque[Line] = deque()  # those that were given nothing so far
        self._turn_of_new = True
        self._timed: tuple[Line | None, float] = (None, 0.0)  # who waits until when
        self._moment: float | None = None  # until when time holds back the first line
        self._untold: set[Line] = set()  # who waits for a landing, and for no moment
        self._resting: set[Line] = set()  # who asked while the server was down
        self._offers: deque[tuple[Line, Permit]] = deque()  # given to who did not ask
        self._latest = 0.0  # the newest `now`
        self._strained = 0.0  # in a row
        self._down_at = 0.0  # since when it is down, if it is
        self._usual = 0.0  # seconds of a request, smoothed
        self._spread_until = 0.0
        self._least = math.inf
        self._refused = 0
        self._calm_at = 0.0
        self.holds = False

    def bound(
        self,
        ceiling: int,
        now: float,
        *,
        requests_per_second: float | None,
        tokens_per_minute: float | None,
    ) -> None:
        """Replace the user's bounds; what is in flight over them is let land."""
        with self._lock:
            self._ceiling = ceiling
            self._window.bound(ceiling)
            self._requests.set_rate(requests_per_second, now)
            self._second.set_rate(requests_per_second)
            self._tokens.set_rate(tokens_per_minute and tokens_per_minute / 60, now)
            woken = self._serve(max(now, self._latest))
        _wake(woken)

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return len(self._out)

    @property
    def limit(self) -> int:
        """How many requests may be in flight together now."""
        if self._paced and self._pace.rate is not None:
            needed = self._pace.in_flight(min(self._least, self._usual))
            return min(self._ceiling, max(self._window.size, needed))
        return self._window.size

    @property
    def rate(self) -> float | None:
        """How many requests may go out a second now; None where nothing limits them."""
        rates = [self._pace.rate, self._requests.rate]
        return min((rate for rate in rates if rate), default=None)

    def is_calm(self, now: float) -> bool:
        """Whether the server has refused nothing of late, and is up."""
        return now >= self._calm_at and not (self._brake.probing or self.is_down)

    def join(
        self, wake: Callable[[], None], host: object = None, blocks: object = None
    ) -> Line:
        """Open a line.

        Args:
            wake: Is called from any thread when the line is to ask again.
            host: What drives its requests, if calls that block it hold them up.
            blocks: The host that its call holds up while it waits.
        """
        return Line(wake, host, blocks)

    def leave(self, line: Line) -> None:
        """Close a line: what was granted goes back, what is in flight lands later."""
        with self._lock:
            line.want = 0
            self._untold.discard(line)
            self._resting.discard(line)
            if not (line.granted or line.queued or self._timed[0] is line):
                return  # it stood in nobody's way
            self._take_back(line.granted)
            line.granted = []
            woken = self._serve(self._latest)
        _wake(woken)

    def mend(self, line: Line, carried: Container[Permit]) -> None:
        """Put right what Ctrl-C may have broken off while it came and went for a line.

        Args:
            line: It is closed.
            carried: Those of its permits whose requests are on their way.
        """
        with self._lock:
            mine = [permit for permit, of in self._out.items() if of is line]
            self._take_back(permit for permit in mine if permit not in carried)
            waiting = {*self._lines, *self._new, *self._out.values()}
            waiting |= self._serve(self._latest)
        _wake(waiting)  # somebody may not have been told

    def take(
        self, line: Line, want: int, now: float, size: int = 0
    ) -> tuple[list[Permit], float | None]:
        """Ask for permits.

        Args:
            line: The job's place.
            want: How many requests the job could send now.
            now: Seconds on the driver's clock.
            size: Bytes of one of them, about.

        Returns:
            A permit for each request that may go out now, and the seconds after which
            to ask again if they are fewer than `want`: None where a wake will come.
        """
        with self._lock:
            line.want, line.size = want, size
            if self.is_down:
                self._resting.add(line)
            if want > len(line.granted) and not line.queued:
                self._queue(line)
            if self._timed[0] is line:
                self._timed = None, 0.0
            woken = self._serve(now, line)
            given, line.granted = line.granted, []
            if len(given) > want:
                self._take_back(given[want:])
                given = given[:want]
            at = self._moment
            if at is not None and self._timed[0] is not line:
                at += LOOK * (len(self._new) + len(self._lines))
            if want and not given and self._holds_up_itself(line):
                at = self._ready_at
                if at <= now:
                    given = [self._grant_beyond(line, now)]
                    line.want = 0
            if at is None and len(given) < want:
                self._untold.add(line)
            else:
                self._untold.discard(line)
        woken.discard(line)
        if woken:
            _wake(woken)
        return given, None if at is None else max(0.0, at - now)

    def take_beyond(self, line: Line, now: float) -> Permit | None:
        """Ask for a permit for the second request of one that seems stuck.

        It may go beyond what was found out, by which a stuck one would hold up all,
        but not beyond the user's bounds; nor while the server refuses.
        """
        with self._lock:
            full = self.in_flight >= self._window.ceiling
            if full or not self.is_calm(now) or self._ready_at > now:
                return None
            return self._grant_beyond(line, now)

    @property
    def is_down(self) -> bool:
        """Whether the server has carried nothing of late, and each call asks by one."""
        return self._strained >= OUTAGE

    def serves(self, now: float) -> bool:
        """Whether the server has given right answers of late, whatever it refuses."""
        return self._brake.serves(now)

    def land(self, permit: Permit, report: Report, now: float) -> bool:
        """Give a permit back with what became of its request.

        Returns:
            Whether a refusal was the flow's own doing, a probe before its time; it
            says nothing about the batch that was the probe.
        """
        with self._lock:
            self._out.pop(permit, None)
            expected = self._learn(permit, report, now)
            woken = self._serve(now)
            if self._resting and not self.is_down:
                woken |= self._resting
                self._resting.clear()
        if woken:
            _wake(woken)
        return expected

    # What reports teach.

    def _learn(self, permit: Permit, report: Report, now: float) -> bool:
        verdict = report.verdict
        if self._tokens.rate is not None and report.size:
            self._tokens.charge(report.size / BYTES_PER_TOKEN - permit.tokens, now)
        if verdict is Verdict.RIGHT:
            usual = self._usual or report.seconds
            self._usual = usual + (report.seconds - usual) / 16
            self._least = min(self._least, self._usual)
            self._window.right(permit, report.seconds, report.size, self._serial)
            after = self._serial - permit.serial
            self._budget.learn(report.quota, permit.serial, after, now)
            self._release(permit, now)
        elif verdict is Verdict.REFUSED:
            self._refused += 1
            self._calm_at = now + CALM
            return self._refuse(permit, report.hint, now)
        elif verdict is Verdict.STRAINED:
            self._strain(permit, 1, report.hint, now)
        elif verdict is Verdict.BROKEN:
            self._strain(permit, BROKEN, report.hint, now)
        return False

    def _release(self, permit: Permit, now: float) -> None:
        outage = now - self._down_at if self.is_down else 0.0
        self._strained = 0.0
        if max(self._brake.release(permit, now), outage) > LONG:
            self._window.restart()
            self._pace.marks.clear()  # nothing was sent: no measure of the server

    def _refuse(self, permit: Permit, hint: float | None, now: float) -> bool:
        """Find what is to blame: the number in flight, or the pace."""
        newest, window, pace = self._serial, self._window, self._pace
        hint = self._budget.hint(now) if hint is None else hint
        if self._brake.is_early(permit, hint):
            # It was to be expected, and says nothing of what the server can carry.
            return self._brake.pull(permit, now, hint, newest)
        news = permit.serial > self._judged
        pace.marks.add(permit)
        self._budget.refused()
        if news:
            self._judged = newest
            gap = self._jury.closest(permit)
            crowded = self._jury.count_crowding(permit, gap)
            self._paced = pace.expects_refusal or self._jury.judge(
                permit, self._usual, steady=window.is_steady, wary=window.is_wary
            )
            if crowded and pace.rate is None:
                self._paced = True
                pace.space(gap, now)
            elif self._paced:
                held, self._paced = pace.rate, pace.refused(now, gap)
                if held is not None and pace.rate is None:
                    self._jury.acquit()
                    window.doubt()
        self._jury.strike(permit)
        if not self._paced:
            window.refused(permit, self.in_flight, news=news)
        if self._out:
            hint = self._brake.hint(hint)
        used_up = self._paced and pace.marks.are_lasting
        if hint is not None or used_up or not self._out:
            return self._brake.pull(permit, now, hint, newest)
        return False

    def _strain(
        self, permit: Permit, weight: float, hint: float | None, now: float
    ) -> None:
        """One in a while is a fault; many in a row are a server that is down."""
        if not self.is_down:
            self._down_at = now
        self._strained += weight
        probed = self._brake.probing and weight == 1
        if self.is_down or probed:
            news = permit.serial > self._judged
            self._judged, self._paced = self._serial, False
            self._window.refused(permit, self.in_flight, news=news)
        if probed and not self._out:
            self._brake.pull(permit, now, hint, self._serial)

    # Who is served, and when.

    def _queue(self, line: Line) -> None:
        line.queued = True
        (self._new if line.new else self._lines).append(line)

    def _turn(self) -> deque[Line]:
        """Return the queue whose turn it is: those that just came, or the others."""
        new = self._new and (self._turn_of_new or not self._lines)
        return self._new if new else self._lines

    def _serve(self, now: float, asking: Line | None = None) -> set[Line]:
        """Hand out what is free in turn; return whom to wake.

        A line that is not asking is given one permit, and the rest when it comes.
        """
        self._latest = now
        self._moment, self.holds = None, False
        woken: set[Line] = set()
        while self._new or self._lines:
            queue = self._turn()
            line = queue[0]
            want = line.want if line is asking else min(1, line.want)
            if len(line.granted) >= want:
                line.queued = False
                queue.popleft()
                continue
            at = self._opens_at(now)
            if at is None or at > now:
                full = self.in_flight >= self._window.size
                self.holds = self._brake.probing or not full
            if at is None:
                break
            if at > now:
                self._time(line, at, woken)
                break
            self._turn_of_new = queue is self._lines
            permit = self._grant(line, now)
            line.queued = False
            queue.popleft()
            if line is not asking:
                self._offers.append((line, permit))
                woken.add(line)
            elif len(line.granted) < line.want:
                self._queue(line)
        return woken

    def _opens_at(self, now: float) -> float | None:
        """Return when the next request may go out: None is when another lands."""
        most = self._most
        if len(self._out) >= most:
            return self._revoke(now, most)
        return self._ready_at

    @property
    def _most(self) -> int:
        return 1 if self._brake.probing else self.limit

    def _holds_up_itself(self, line: Line) -> bool:
        """Whether what fills all places lands only when this line's call is over.

        So it is with a sync call in the thread of an event loop. It would never end: it
        goes on with one request at a time beyond what may be in flight.
        """
        if line.blocks is None or line in self._out.values():
            return False
        held = sum(of.host == line.blocks for of in self._out.values())
        return len(self._out) >= self._most > len(self._out) - held

    @property
    def _ready_at(self) -> float:
        """When the next request may go out, were there a place for it."""
        return max(
            self._brake.open_at,
            self._spread_until,
            self._budget.ready_at,
            self._pace.ready_at if self._pace.rate is not None else 0.0,
            self._requests.ready_at,
            self._second.ready_at,
            self._tokens.ready_at,
        )

    def _revoke(self, now: float, most: int) -> float | None:
        """Take back a permit that nobody came for; return when one can be."""
        while self._offers:
            line, permit = self._offers[0]
            if line.granted and line.granted[0] is permit:
                if now < permit.given_at + GRACE:
                    return permit.given_at + GRACE
                self._take_back(line.granted)
                line.granted = []
            self._offers.popleft()
            if self.in_flight < most:
                return now
        return None

    def _take_back(self, permits: Iterable[Permit]) -> None:
        for permit in permits:
            self._out.pop(permit, None)

    def _time(self, line: Line, at: float, woken: set[Line]) -> None:
        """See to it that the first line asks again at that moment, or another."""
        self._moment = at
        woken |= self._untold
        self._untold.clear()
        timed, told = self._timed
        if timed is not line or at < told:
            self._timed = line, at
            woken.add(line)

    def _grant_beyond(self, line: Line, now: float) -> Permit:
        permit = self._grant(line, now)
        line.granted.remove(permit)
        return permit

    def _grant(self, line: Line, now: float) -> Permit:
        self._serial += 1
        tokens = line.size / BYTES_PER_TOKEN
        permit = Permit(self._serial, len(self._out) + 1, now, tokens)
        self._out[permit] = line
        line.granted.append(permit)
        self._jury.sent(permit)
        line.new = False
        if self._refused:
            self._spread_until = now + self._usual / (SPREAD * self._window.safe)
        self._pace.send(now, self._usual)
        self._budget.send(self._serial, now)
        self._requests.charge(1, now)
        self._second.charge(now)
        self._tokens.charge(tokens, now)
        return permit


def _wake(lines: set[Line]) -> None:
    for line in lines:
        line.wake()
