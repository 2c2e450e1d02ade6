"""What has been done, in numbers: for a client, for a call, for a batch.

A call adds to a `Tally` of its own, and a client's `Tallies` are those of its calls, so
that both can be read at any time. Every number is a sum; none of these holds a text, a
vector or the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from operator import add
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import asdict, astuple

if TYPE_CHECKING:
    from together_embed.engine.flow import Flow
    from together_embed.engine.plan import Dialect

Encoding = Literal["float", "base64"]


@dataclass(frozen=True)
class Stats:
    """What was sent and received, and what the client has learned.

    Bytes are those of bodies. Seconds of concurrent calls add up.

    Attributes:
        calls: Calls that have ended, failed or not.
        seconds: Their duration.
        requests: Requests that were sent.
        retries: Those for texts that had been sent before, and failed.
        hedged: Those for texts whose first request took far too long.
        refused: Responses that asked for fewer requests (429, 503 with a time).
        failed: Requests that failed in any other way.
        failures: All of these by kind: a status ("429"), "timeout", "connection",
            "unreachable", "closed_early", "too_large", or "invalid".
        invalid: Responses of 200 that were not valid; none of their vectors was used.
        texts: Texts that were sent and came back as vectors.
        duplicates: Texts that were not sent since they occur earlier in the same call.
        recalled: Texts that were not sent since the cache had their vectors.
        shared: Texts that were not sent since another call had them in flight.
        long: Texts that were truncated or split.
        sent_bytes: Of requests.
        received_bytes: Of responses that a call waited for.
        waited: Seconds for which requests were held back by a rate limit: a refusal, a
            header, what was learned, or the client's settings. Waiting for a free place
            in flight does not count.
        tokens: Tokens that the server counted; None if its responses do not say.
        in_flight: Requests in flight now.
        limit: How many requests may be in flight now.
        rate: How many requests a second may be sent now; None if nothing limits them.
        largest: How many texts a request may contain, if the server was found to limit
            that; else None.
        base64: Whether the server supports `encoding_format: base64`; None if unknown.
    """

    calls: int = 0
    seconds: float = 0.0
    requests: int = 0
    retries: int = 0
    hedged: int = 0
    refused: int = 0
    failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict, hash=False)
    invalid: int = 0
    texts: int = 0
    duplicates: int = 0
    recalled: int = 0
    shared: int = 0
    long: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    waited: float = 0.0
    tokens: int | None = None
    in_flight: int = 0
    limit: int = 0
    rate: float | None = None
    largest: int | None = None
    base64: bool | None = None


@dataclass(frozen=True)
class BatchStats:
    """The outcome of one batch, when it is answered or has failed for good.

    Attributes:
        texts: How many different texts it has.
        started_at: When its first request was sent, in seconds since the epoch.
        seconds: From then until it was answered or had failed.
        attempts: Requests that were sent for it, including those of the larger batch
            that it was split from.
        waited: Seconds for which it was held back, as in `Stats.waited`.
        sent_bytes: Of the bodies of its requests.
        received_bytes: Of the bodies of the responses.
        failures: Its requests that failed, by kind, as in `Stats.failures`. One for a
            larger batch is counted with one of its parts.
        duplicates: Texts that were not sent since they are equal to one of the batch,
            as in `Stats.duplicates`.
        status: The status of the last response; None if the last request had none.
        error: The class of the error; None if it did not fail.
        reason: The error in words, without texts or keys; of one that is not of this
            library, its class.
        encoding: How its vectors were encoded; None if there are none.
        model: The model's name in the response.
        asked_model: The model's name in the request.
        asked_encoding: `encoding_format` in the last request, if it had one.
        server: The base URL.
        width: Of its vectors.
        tokens: Tokens that the server counted for it, if the response says so.
    """

    texts: int
    started_at: float
    seconds: float
    attempts: int
    waited: float
    sent_bytes: int
    received_bytes: int
    failures: Mapping[str, int] = field(default_factory=dict, hash=False)
    duplicates: int = 0
    status: int | None = None
    error: type[BaseException] | None = None
    reason: str | None = None
    encoding: Encoding | None = None
    model: str | None = None
    asked_model: str = ""
    asked_encoding: str | None = None
    server: str = ""
    width: int | None = None
    tokens: int | None = None


class Course(Struct):
    """What a batch has been through so far.

    Attributes:
        started_at: When its first request went out, on the driver's clock.
        attempts: Requests that were sent for it.
        waited: Seconds for which it was held back.
        sent: Bytes of its requests.
        received: Bytes of their answers.
        failures: How many of them failed, by kind.
        encoding: What the last of them wanted in `encoding_format`, if anything.
    """

    started_at: float = 0.0
    attempts: int = 0
    waited: float = 0.0
    sent: int = 0
    received: int = 0
    failures: dict[str, int] = {}
    encoding: str | None = None

    def fork(self) -> Course:
        """Return the course of a part that is cut off: its sums are its own."""
        return Course(self.started_at, self.attempts)


class Tally(Struct, eq=False):
    """What one call has done, as in `Stats`.

    The call alone adds to it, and needs no lock for that.
    """

    calls: int = 0
    seconds: float = 0.0
    requests: int = 0
    retries: int = 0
    hedged: int = 0
    refused: int = 0
    failed: int = 0
    invalid: int = 0
    texts: int = 0
    duplicates: int = 0
    recalled: int = 0
    shared: int = 0
    long: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    waited: float = 0.0
    tokens: int = 0
    failures: dict[str, int] = {}

    def __add__(self, other: Tally) -> Tally:
        """Return the sums of both, whose calls may go on meanwhile."""
        *mine, failures = astuple(self)
        *theirs, more = astuple(other)
        both = {**failures}
        for kind, count in {**more}.items():
            both[kind] = both.get(kind, 0) + count
        sums = [*map(add, mine, theirs), both]
        return Tally(*sums)

    def stats(self, flow: Flow, dialect: Dialect) -> Stats:
        """Return the sums, beside what the client has settled on."""
        failures = {**self.failures}
        sums = {**asdict(self), "tokens": self.tokens or None, "failures": failures}
        return Stats(
            **sums,
            in_flight=flow.in_flight,
            limit=flow.limit,
            rate=flow.rate,
            largest=dialect.portion.largest,
            base64=dialect.base64,
        )


class Tallies:
    """Those of all calls of a client.

    Args:
        lock: Guards what is added up of calls that have ended.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock: AbstractContextManager[object] = lock or nullcontext()
        self._ended = Tally()
        self._open: set[Tally] = set()

    def open(self) -> Tally:
        """Return the tally of a call that begins."""
        tally = Tally()
        self._open.add(tally)
        return tally

    def close(self, tally: Tally) -> None:
        """Say that a call has ended, once or more often."""
        with self._lock:
            if tally in self._open:
                ended = self._ended + tally
                self._open.remove(tally)
                self._ended = ended

    def stats(self, flow: Flow, dialect: Dialect) -> Stats:
        """Return the sums so far, beside what the client has settled on."""
        with self._lock:
            whole = sum([*self._open], self._ended)
        return whole.stats(flow, dialect)
