"""How many requests may be in flight, and from when on: for all jobs of a client.

Each job stands in one line (`join`, `leave`). It asks for permits (`take`), and gives
each back with what became of its request (`land`). Lines that want more than is free
are served in turn, one permit each, so that a small call does not wait behind a corpus.
A refusal holds back everybody: until its time is over nothing goes out, and then one
request alone finds out whether the server takes requests again.

Decisions are made under the lock that the client brings, and return at once. Whoever
waits is woken by the callback that it left; nobody polls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum

from together_embed.engine.retry import Policy


class Verdict(Enum):
    """What a request that is over says about the server."""

    RIGHT = "it carried the request"
    REFUSED = "it wants fewer requests"
    FAILED = "nothing that fewer requests would cure"
    ABANDONED = "nobody waits for it any more"


@dataclass(frozen=True)
class Counts:
    """What a client has sent so far.

    Attributes:
        requests: Requests that went out, whatever became of them.
        refused: Answers that asked for fewer requests (429, 503 with a time).
        failed: Requests that failed in any other way.
        texts: Texts that came back as vectors.
        duplicates: Texts that did not go out since the same call held them already.
    """

    requests: int = 0
    refused: int = 0
    failed: int = 0
    texts: int = 0
    duplicates: int = 0


class Line:
    """One job's place. All of it belongs to the flow."""

    __slots__ = ("granted", "queued", "wake", "want")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.want = 0
        self.granted = 0  # permits handed over, not taken yet; counted as in flight
        self.queued = False


class Flow:
    """See the module. `limit` is how many requests may be in flight together."""

    def __init__(
        self, limit: int, policy: Policy, lock: AbstractContextManager[object]
    ) -> None:
        self.limit = limit
        self.counts = Counts()
        self._policy = policy
        self._lock = lock
        self._in_flight = 0
        self._lines: deque[Line] = deque()
        self._open_at = 0.0  # nothing goes out before
        self._probing = (
            False  # a brake was on; one request at a time until one is right
        )
        self._refusals = 0  # in a row

    def join(self, wake: Callable[[], None]) -> Line:
        """Open a line. `wake` is called from any thread when a permit is there."""
        return Line(wake)

    def leave(self, line: Line) -> None:
        """Close a line: what was granted goes back, what is in flight lands later."""
        with self._lock:
            line.want = 0
            self._in_flight -= line.granted
            line.granted = 0
            woken = self._serve(self._open_at)
        _wake(woken)

    def take(self, line: Line, want: int, now: float) -> tuple[int, float | None]:
        """Ask for permits.

        Returns:
            How many requests may go out now, and the seconds after which to ask again
            if fewer than `want` were given: None where a wake will come.
        """
        with self._lock:
            line.want = want
            if want > line.granted and not line.queued:
                line.queued = True
                self._lines.append(line)
            woken = self._serve(now)
            given = min(want, line.granted)
            self._in_flight -= line.granted - given
            line.granted = 0
            line.want = want - given
            if given:
                self.counts = replace(
                    self.counts, requests=self.counts.requests + given
                )
            wait = self._open_at - now if now < self._open_at else None
        woken.discard(line)
        _wake(woken)
        return given, wait

    def land(self, verdict: Verdict, now: float, hint: float | None = None) -> None:
        """Give a permit back with what became of its request."""
        with self._lock:
            self._in_flight -= 1
            if verdict is Verdict.RIGHT:
                self._probing = False
                self._refusals = 0
            elif verdict is Verdict.REFUSED:
                self._brake(now, hint)
                self.counts = replace(self.counts, refused=self.counts.refused + 1)
            elif verdict is Verdict.FAILED:
                self.counts = replace(self.counts, failed=self.counts.failed + 1)
            woken = self._serve(now)
        _wake(woken)

    def count_texts(self, texts: int, duplicates: int) -> None:
        """Add to the counts what a job brought home."""
        with self._lock:
            self.counts = replace(
                self.counts,
                texts=self.counts.texts + texts,
                duplicates=self.counts.duplicates + duplicates,
            )

    def count_invalid(self) -> None:
        """Count an answer that said 200 and was not right."""
        with self._lock:
            self.counts = replace(self.counts, failed=self.counts.failed + 1)

    def _brake(self, now: float, hint: float | None) -> None:
        """Hold everybody back; refusals of one burst are one refusal."""
        if now >= self._open_at:
            self._refusals += 1
        delay = self._policy.backoff(self._refusals) if hint is None else hint
        self._open_at = max(self._open_at, now + delay)
        self._probing = True

    def _serve(self, now: float) -> set[Line]:
        """Hand free permits to the lines in turn; return whom to wake."""
        woken: set[Line] = set()
        limit = 1 if self._probing else self.limit
        while self._lines and now >= self._open_at and self._in_flight < limit:
            line = self._lines.popleft()
            line.queued = False
            if line.granted >= line.want:
                continue
            line.granted += 1
            self._in_flight += 1
            woken.add(line)
            if line.granted < line.want:
                line.queued = True
                self._lines.append(line)
        return woken


def _wake(lines: set[Line]) -> None:
    for line in lines:
        line.wake()
