"""Regimes beside those of the table: other numbers, and far longer ones.

What is tuned to a table shows where the numbers are others; what is slow to go wrong
shows after an hour.
"""

from __future__ import annotations

from simulation.regimes import MEAN, Regime, always, waves
from simulation.servers import Capped, Dice, Faulty, Rated, Slots, Windowed, Work
from simulation.world import ONE_WAY


def capped(cap: int, mean: float) -> Regime:
    """Return a regime of a cap on what is in flight, with another latency."""
    ideal = always(cap / (mean + 2 * ONE_WAY))
    seconds = 60.0 if cap >= 60 else max(60.0, 400 * mean)
    name = f"429 above {cap}, {mean:g} s each"
    return Regime(
        name,
        lambda dice: Capped(Work(dice, mean=mean), always(cap)),
        ideal,
        seconds=seconds,
    )


def rated(rate: float, burst: float, mean: float, seconds: float = 120.0) -> Regime:
    """Return a regime of a limit on the rate, with another latency."""
    return Regime(
        f"{rate:g}/s, burst {burst:g}, {mean:g} s each",
        lambda dice: Rated(Work(dice, mean=mean), always(rate), burst),
        always(rate),
        seconds=seconds,
    )


def queued(slots: int, mean: float) -> Regime:
    """Return a regime of a queue, with another latency."""
    seconds = 60.0 if slots >= 60 else max(60.0, 400 * mean)
    return Regime(
        f"queue, {slots} slots, {mean:g} s each",
        lambda dice: Slots(Work(dice, mean=mean), slots),
        always(slots / mean),
        seconds=seconds,
    )


def turning_cap(low: int, high: int, period: float) -> Regime:
    """Return a regime of a cap that falls and rises."""
    cap = waves(low, high, period)
    return Regime(
        f"cap {low}, then {high}, by turns",
        lambda dice: Capped(Work(dice), cap),
        lambda now: cap(now) / (MEAN + 2 * ONE_WAY),
        seconds=240.0,
    )


def turning_rate(low: float, high: float, period: float) -> Regime:
    """Return a regime of a rate that falls and rises."""
    rate = waves(low, high, period)
    return Regime(
        f"{low:g}, then {high:g} a second, by turns",
        lambda dice: Rated(Work(dice), rate, 20),
        rate,
        seconds=240.0,
    )


def windowed(requests: int, window: float) -> Regime:
    """Return a regime of so many requests in each window of the clock."""
    return Regime(
        f"{requests} in each {window:g} s",
        lambda dice: Windowed(Work(dice), requests, window),
        always(requests / window),
        seconds=300.0,
    )


def _faulty(dice: Dice) -> Faulty:
    capped = Capped(Work(dice), always(24))
    return Faulty(capped, dice, 0.05)


OTHER = [
    *(capped(cap, 0.3) for cap in (3, 5, 17, 60, 250)),
    *(capped(12, mean) for mean in (0.05, 2.0)),
    capped(6, 5.0),
    *(rated(37, burst, 0.3) for burst in (1, 5, 37)),
    rated(5, 1, 0.3, 240.0),
    rated(20, 2, 1.0),
    rated(60, 60, 0.05),
    rated(60, 60, 2.0),
    rated(250, 20, 0.3),
    rated(3, 3, 0.3, 240.0),
    *(queued(slots, 0.3) for slots in (1, 3, 250)),
    *(queued(12, mean) for mean in (0.05, 2.0)),
    turning_cap(12, 30, 45.0),
    turning_rate(20, 50, 40.0),
    *(windowed(requests, 60) for requests in (60, 600, 6000)),
    windowed(100, 10),
    *(windowed(requests, 1) for requests in (10, 50, 200)),
    Regime("1 in 20 fails, cap 24", _faulty, always(24 / (MEAN + 2 * ONE_WAY))),
]

LONG = [
    Regime(
        "100 million texts, 1,000 each",
        lambda dice: Slots(Work(dice), 32),
        always(32 / MEAN),
        seconds=100_000 / (32 / MEAN),
    ),
    Regime(
        "20 clients, 100 a second, 1 hour",
        lambda dice: Rated(Work(dice), always(100), 100),
        always(100),
        clients=20,
        seconds=3600.0,
    ),
    Regime(
        "20 clients, 32 slots, 1 hour",
        lambda dice: Slots(Work(dice), 32),
        always(32 / MEAN),
        clients=20,
        seconds=3600.0,
    ),
    Regime(
        "1,000 clients, 200 a second, 10 min",
        lambda dice: Rated(Work(dice), always(200), 200),
        always(200),
        clients=1000,
        seconds=600.0,
        max_retries=1000,
    ),
]
