"""What was sent and answered, as shares of the ideal."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from simulation.regimes import Regime
from simulation.world import Landing

START = 10
"""Requests of each client that count as its start."""
STEP = 0.1
"""Seconds: the grain in which the ideal is summed up."""
SPAN = 5.0
"""Seconds over which a throughput is taken."""
REFUSALS = (400, 413, 422, 429, 503)
"""What a server answers to too many, or too large, requests."""


@dataclass(frozen=True)
class Result:
    """How a regime went.

    Attributes:
        name: The regime's.
        share: Texts answered, over what the ideal would have been, after the start.
        refused: Requests that were refused, over all, after the start; those that a
            server refuses whatever a client does are not counted.
        ninety: Seconds until 90 % of the ideal are reached over five seconds; None is
            never.
        fairness: Jain's index over the clients: 1 is equal shares.
        requests: Requests in all.
        failed: Clients whose call failed.
    """

    name: str
    share: float
    refused: float
    ninety: float | None
    fairness: float
    requests: int
    failed: int


def measure(regime: Regime, seed: int = 0) -> Result:
    """Let a regime happen and measure it."""
    world = regime.run(seed)
    failed = sum(client.failed for client in world.clients)
    return assess(regime, world.landings, failed)


def assess(regime: Regime, landings: list[Landing], failed: int) -> Result:
    """Measure a regime by its landings, in order, and the clients that failed."""
    start = min(START * regime.clients, len(landings) - 1)
    begin = max(landings[start].sent_at, regime.from_second)
    counted = [landing for landing in landings if landing.sent_at >= begin]
    refused = sum(one.status in REFUSALS and not one.accident for one in counted)
    right = [0] * regime.clients
    for landing in landings:
        if landing.status == 200 and landing.at >= begin:
            right[landing.client] += landing.texts
    return Result(
        regime.name,
        sum(right) / _ideal(regime, begin, regime.seconds),
        refused / max(1, len(counted)),
        _ninety(regime, landings),
        sum(right) ** 2 / max(1, len(right) * sum(n * n for n in right)),
        len(landings),
        failed,
    )


def worst(results: list[Result]) -> Result:
    """Return the worst of each number of a regime's results."""
    moments = [result.ninety for result in results]
    return replace(
        results[0],
        share=min(result.share for result in results),
        refused=max(result.refused for result in results),
        ninety=None if None in moments else max(filter(None, moments), default=0.0),
        fairness=min(result.fairness for result in results),
        requests=sum(result.requests for result in results),
        failed=sum(result.failed for result in results),
    )


def _ideal(regime: Regime, begin: float, end: float) -> float:
    steps = max(1, round((end - begin) / STEP))
    width = (end - begin) / steps
    return sum(regime.ideal(begin + (i + 0.5) * width) * width for i in range(steps))


def _ninety(regime: Regime, landings: list[Landing]) -> float | None:
    moments, texts = [0.0], [0]
    for landing in landings:
        if landing.status == 200:
            moments.append(landing.at)
            texts.append(texts[-1] + landing.texts)
    moment = regime.from_second
    while moment + SPAN <= regime.seconds:
        end = moment + SPAN
        first, last = (bisect_right(moments, at) - 1 for at in (moment, end))
        if texts[last] - texts[first] >= 0.9 * _ideal(regime, moment, end):
            return moment - regime.from_second
        moment += 0.25
    return None
