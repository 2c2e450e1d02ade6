"""Counts what reached the endpoint, exactly and from any thread.

Everything is counted before the answer leaves: whoever holds an answer finds it
counted. No count and no log entry holds a key.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

_SECRET = frozenset(("authorization", "proxy-authorization", "cookie", "x-api-key"))


@dataclass(frozen=True)
class Entry:
    """One POST in the log.

    Attributes:
        status: Status of the answer; 0 where there was none.
        texts: Number of texts in the request, where it could be read.
        fault: Kind of the fault that it met.
        fields: Names of the fields in its body.
        headers: Its headers, names in lower case, without those that hold secrets.
        bearer: Whether it brought a bearer token.
        connection: Which connection it came on, numbered from 1 by their first POST.
    """

    status: int
    texts: int
    fault: str | None
    fields: tuple[str, ...]
    headers: Mapping[str, str]
    bearer: bool
    connection: int


class Tally:
    """The counts of one endpoint."""

    def __init__(self, log_size: int, remember_texts: bool) -> None:
        self._lock = Lock()
        self.requests = 0
        self.connections = 0
        self.texts = 0
        self.failed = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self.log: deque[Entry] = deque(maxlen=log_size)
        self.seen: Counter[str] | None = Counter() if remember_texts else None

    def connected(self) -> None:
        """Count a connection."""
        with self._lock:
            self.connections += 1

    def asked(self) -> None:
        """Count a POST, whatever becomes of it."""
        with self._lock:
            self.requests += 1

    def begin(self) -> None:
        """Count a request as in flight."""
        with self._lock:
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)

    def end(self) -> None:
        """Count a request as no longer in flight."""
        with self._lock:
            self.in_flight -= 1

    def settle(self, entry: Entry, served: Iterable[str] | None) -> None:
        """Log how a POST was settled; `served`: its texts, where the answer is good."""
        with self._lock:
            self.log.append(entry)
            if served is None:
                self.failed += 1
                return
            self.texts += entry.texts
            if self.seen is not None:
                self.seen.update(served)

    def entries(self) -> list[Entry]:
        """Copy the log."""
        with self._lock:
            return list(self.log)

    def counted(self) -> Counter[str]:
        """Copy the count of texts that were answered."""
        with self._lock:
            if self.seen is None:
                raise RuntimeError("made without remember_texts=True")
            return self.seen.copy()


class Counts:
    """What an endpoint shows of its tally; can be read from any thread."""

    _tally: Tally

    @property
    def requests(self) -> int:
        """Number of POSTs that arrived, on any path."""
        return self._tally.requests

    @property
    def texts(self) -> int:
        """Number of texts in answers that keep the contract."""
        return self._tally.texts

    @property
    def connections(self) -> int:
        """Number of connections that were accepted."""
        return self._tally.connections

    @property
    def in_flight_max(self) -> int:
        """Most requests that were in flight at one time."""
        return self._tally.in_flight_max

    @property
    def failed(self) -> int:
        """Number of POSTs that got no answer that keeps the contract."""
        return self._tally.failed

    @property
    def log(self) -> list[Entry]:
        """The latest POSTs, oldest first."""
        return self._tally.entries()

    @property
    def seen(self) -> Counter[str]:
        """How often each text was answered; needs `remember_texts=True`."""
        return self._tally.counted()


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Drop the headers that hold a key, and any other that repeats it."""
    low = {name.lower(): value for name, value in headers.items()}
    secrets = [low[name].split()[-1] for name in _SECRET & low.keys() if low[name]]
    return {
        name: value
        for name, value in low.items()
        if name not in _SECRET and not any(secret in value for secret in secrets)
    }
