"""What a thousand million texts take: `python -m simulation.scale [docs/scale.md]`.

Each case lets clients with the real engine send for some minutes of virtual time, and
goes on from there at the speed that they had by then. With a file, the table in it is
written anew; without one it is printed.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simulation.page import put_table
from simulation.regimes import always, batches
from simulation.servers import Dice, Rated, Slots, Work
from simulation.world import Server, World
from together_embed.engine.flow import CEILING

TEXTS = 1_000_000_000
A_REQUEST = 100
"""Texts a request: the client's default."""
FROM = 30.0
"""Seconds that count as the start."""
HEADING = (
    "| the server carries | actors | limit | texts a second | refused | requests "
    "| hours |\n|---|---:|---|---:|---:|---:|---:|"
)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        carries: What the server carries, in words.
        server: Makes it.
        actors: Clients, each for itself.
        share: Requests a second that each is told to keep to; None is found out.
        seconds: How long they are watched.
    """

    carries: str
    server: Callable[[Dice], Server]
    actors: int
    share: float | None = None
    seconds: float = 120.0

    def row(self) -> str:
        """Let it happen, and return what that comes to."""
        world = World(self.server(random.Random(0)))
        for number in range(self.actors):
            client = world.client(max_retries=1000, batch_size=A_REQUEST)
            if self.share is not None:
                client.flow.bound(
                    CEILING, 0.0, requests_per_second=self.share, tokens_per_minute=None
                )
            client.start(batches(1), number / self.actors)
        world.run(self.seconds)
        landed = [landing for landing in world.landings if landing.at >= FROM]
        right = sum(landing.status == 200 for landing in landed)
        return self._said(right / (self.seconds - FROM), 1 - right / len(landed))

    def _said(self, rate: float, refused: float) -> str:
        texts = rate * A_REQUEST
        requests = TEXTS / A_REQUEST / (1 - refused)
        limit = "found out" if self.share is None else "divided"
        return (
            f"| {self.carries} | {self.actors} | {limit} | {_rounded(texts)} "
            f"| {refused:.1%} | {requests / 1e6:.1f} million "
            f"| {_rounded(TEXTS / texts / 3600)} |"
        )


def _rounded(number: float) -> str:
    """Return two digits that mean something, and noughts."""
    return f"{float(f'{number:.2g}'):,.{int(number < 10)}f}"


def _rated(rate: float) -> Callable[[Dice], Server]:
    return lambda dice: Rated(Work(dice), always(rate), rate)


def _slots(slots: int) -> Callable[[Dice], Server]:
    return lambda dice: Slots(Work(dice), slots)


CASES = [
    *(
        Case(f"{rate:,} requests a second", _rated(rate), actors, share, seconds)
        for rate, seconds in ((10, 120.0), (100, 120.0), (1000, 60.0))
        for actors, share in ((1, None), (10, None), (10, rate / 10))
    ),
    Case("1,000 requests a second", _rated(1000), 100, 10.0, 60.0),
    *(
        Case(f"{slots} at once, 0.3 s each", _slots(slots), actors)
        for slots in (32, 256)
        for actors in (1, 10)
    ),
]


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(
        prog="python -m simulation.scale", description=__doc__
    )
    parser.add_argument("page", nargs="?", type=Path)
    page: Path | None = parser.parse_args().page
    rows = [case.row() for case in CASES]
    if page is None:
        print("\n".join([HEADING, *rows]))
    else:
        put_table(page, HEADING, rows)


if __name__ == "__main__":
    main()
