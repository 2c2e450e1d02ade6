"""One limit for many clients: an actor divides it among those that are at work.

Each of them holds a part, for a time, and asks again long before that is over. One that
comes waits until the others have made room, one that goes gives its part back, and the
part of one that died is free when its time is over. So the parts that are held never
sum up to more than the limit.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from together_embed.errors import ConfigurationError

if TYPE_CHECKING:
    from together_embed.client import EmbeddingsClient

RENEWAL = 0.5
"""Seconds between two times that a part is asked for: what a newcomer waits, twice."""
LEASE = 10.0
"""Seconds for which a part is held by one that is heard from no more. Ray itself takes
longer to find out that a machine is gone."""
IDLE = 2.0
"""Seconds without work after which a part is given back: more than between two batches
of a busy actor."""


@dataclass(frozen=True)
class Bounds:
    """What may be sent, together or by one; None is without bound.

    Attributes are those of `EmbeddingsClient`, which documents them.
    """

    requests_per_second: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = None

    @classmethod
    def among(cls, settings: Mapping[str, Any]) -> Bounds:
        """Return those that are among a client's settings."""
        names = cls.__dataclass_fields__
        return cls(**{k: v for k, v in settings.items() if k in names})

    def settings(self) -> dict[str, float | None]:
        """Return them as a client's settings."""
        return dict(self.__dict__)

    def part(self, actors: int) -> Bounds:
        """Return what each of so many may send.

        Raises:
            ConfigurationError: There are more of them than requests at once.
        """
        if not isinstance(actors, int) or actors < 1:
            raise ConfigurationError(f"actors is {actors!r}; it must be at least 1")
        places = self.max_concurrency
        if places is not None and 0 < places < actors:
            raise ConfigurationError(
                f"max_concurrency={places} cannot be divided among {actors} actors"
            )
        return self.scaled(1 / actors, places and places // actors)

    def scaled(self, share: float, places: int | None) -> Bounds:
        """Return a share of the rates, and so many places."""
        rate, tokens = self.requests_per_second, self.tokens_per_minute
        return Bounds(rate and rate * share, tokens and tokens * share, places)


@dataclass
class _Part:
    """What one holds: as granted last, and as it may still be using until it asks."""

    share: float = 0.0
    places: int = 0
    used_share: float = 0.0
    used_places: int = 0
    until: float = 0.0


class Divider:
    """Divides bounds evenly; the actor. It knows its tenants by their names only.

    Args:
        bounds: What all may send together.
        clock: Seconds that only grow.
    """

    def __init__(
        self, bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._parts: dict[str, _Part] = {}  # in the order of arrival

    def bounds(self) -> Bounds:
        """Return what is divided."""
        return self._bounds

    def tenants(self) -> int:
        """Return among how many it is divided now."""
        self._forget_the_dead()
        return len(self._parts)

    def renew(self, name: str, in_flight: int) -> Bounds | None:
        """Return what one may send until it asks again; None is nothing yet.

        Args:
            name: The tenant's own.
            in_flight: Requests that it has in flight.
        """
        self._forget_the_dead()
        mine = self._parts.setdefault(name, _Part())
        mine.until = self._clock() + LEASE
        others = [part for part in self._parts.values() if part is not mine]
        share = 1 - sum(part.used_share for part in others)
        share = max(0.0, min(share, 1 / len(self._parts)))
        mine.used_share, mine.share = max(mine.share, share), share
        most = self._bounds.max_concurrency
        if most is None:
            return self._bounds.scaled(share, None) if share > 1e-9 else None
        free = most - sum(part.used_places for part in others)
        places = max(0, min(free, self._fair(most, list(self._parts).index(name))))
        mine.used_places = max(mine.places, places, in_flight)
        mine.places = places
        return self._bounds.scaled(share, places) if share > 1e-9 and places else None

    def leave(self, name: str) -> None:
        """Take a part back."""
        self._parts.pop(name, None)

    def _fair(self, places: int, rank: int) -> int:
        """Return how many places the one of that rank is to have; the first have more.

        Where there are more tenants than places, those that came last wait.
        """
        each, rest = divmod(places, len(self._parts))
        return each + (rank < rest)

    def _forget_the_dead(self) -> None:
        now = self._clock()
        self._parts = {k: part for k, part in self._parts.items() if part.until >= now}


class SharedLimit:
    """Keep all that are given it within one limit, however many they are.

    Make it in the program that starts the job, where Ray is initialised. It is an actor
    on that machine, takes no processor, and ends with the program, unless it has a
    name: then it lasts, for other jobs on the cluster that name it, until `end`.

    Each is held to an even part, and nobody keeps what it does not use for long: the
    last one at work has all of it. Requests are spaced evenly by each, so in a
    span of time there can be one more than the rate for each actor.

    Args:
        name: Under which other jobs share the limit; None is this job's alone.
        requests_per_second: Requests a second of all together, at most.
        tokens_per_minute: Tokens a minute of all together, at most.
        max_concurrency: Requests in flight of all together, at most.

    Raises:
        ConfigurationError: Nothing is limited, a bound is no positive number, or there
            is another limit of that name.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        requests_per_second: float | None = None,
        tokens_per_minute: float | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        bounds = Bounds(requests_per_second, tokens_per_minute, max_concurrency)
        _check(bounds)
        node = ray.get_runtime_context().get_node_id()
        self._actor: Any = (
            ray.remote(Divider)
            .options(
                name=name,
                namespace="together-embed" if name else None,
                get_if_exists=name is not None,
                lifetime="detached" if name else None,
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            )
            .remote(bounds)
        )
        there = ray.get(self._actor.bounds.remote())
        if there != bounds:
            raise ConfigurationError(f"the limit {name!r} exists already, as {there}")

    def tenants(self) -> int:
        """Return among how many the limit is divided now."""
        import ray

        count: int = ray.get(self._actor.tenants.remote())
        return count

    def renew(self, name: str, in_flight: int) -> Bounds | None:
        """Ask for a tenant's part; see `Divider.renew`."""
        import ray

        part: Bounds | None = ray.get(self._actor.renew.remote(name, in_flight))
        return part

    def leave(self, name: str) -> None:
        """Give a tenant's part back."""
        self._actor.leave.remote(name)

    def end(self) -> None:
        """End the actor. What is still at work under it fails with its next batch."""
        import ray

        ray.kill(self._actor)


class Tenant:
    """Holds a client to its part while it is at work: a context, for many threads.

    Args:
        client: Whose bounds follow the part.
        limit: What is divided.
    """

    def __init__(self, client: EmbeddingsClient, limit: SharedLimit) -> None:
        self._client = client
        self._limit = limit
        self._name = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._calls = 0
        self._idle_since = 0.0
        self._renewing = False
        self._held: Bounds | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> None:
        with self._changed:
            self._calls += 1
            if not self._renewing:
                self._renewing, self._failure = True, None
                threading.Thread(target=self._renew, daemon=True).start()
            self._changed.wait_for(lambda: self._held or self._failure)
            if self._failure is not None:
                self._calls -= 1
                raise self._failure

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._calls -= 1
            self._idle_since = time.monotonic()

    def _renew(self) -> None:
        """Ask again and again while there is work, and a little longer."""
        try:
            while self._is_wanted():
                in_flight = self._client.stats.in_flight
                self._hold(self._limit.renew(self._name, in_flight))
                time.sleep(RENEWAL)
        except BaseException as failure:
            # The part stays what it was for what is under way: nobody else gets it
            # from a limit that is gone.
            with self._changed:
                self._failure, self._held, self._renewing = failure, None, False
                self._changed.notify_all()

    def _is_wanted(self) -> bool:
        with self._changed:
            idle = time.monotonic() - self._idle_since
            if self._calls or idle < IDLE:
                return True
            self._held, self._renewing = None, False
            self._limit.leave(self._name)
            return False

    def _hold(self, part: Bounds | None) -> None:
        if part is not None:
            self._client.bound(**part.__dict__)
        with self._changed:
            self._held = part or self._held
            self._changed.notify_all()


def _check(bounds: Bounds) -> None:
    """Refuse what a client would refuse, and a limit of nothing."""
    from together_embed.client import EmbeddingsClient

    if bounds == Bounds():
        raise ConfigurationError("SharedLimit needs at least one of its limits")
    EmbeddingsClient("any", base_url="http://localhost", **bounds.__dict__)
