"""What the project asks of itself, and whether a run of the benchmark shows it.

A goal compares one of our runs with another's of the same round, or with a number.
Ratios are taken within each round, and their median is what is reported: a machine that
slows down between rounds changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from clients.ours import ADAPTIVE
from clients.rust import RUST
from runs import FLOOR, LIMITS

Result = dict[str, Any]
OURS = {
    "core": "together-embed",
    "LangChain": "together-embed LangChain",
    "LlamaIndex": "together-embed LlamaIndex",
}
FLOOR_SYNC = "floor: requests + orjson, sync"
SYNC_RUST = RUST.replace("async", "sync")
MEASURES: dict[str, Callable[[Result], float]] = {
    "CPU": lambda run: run["cpu"] / run["texts"],
    "wall": lambda run: run["wall"] / run["texts"],
    # Of a query: without the time that the server took.
    "latency": lambda run: (run["wall"] - run["server"]["served"]) / run["texts"],
    "hold": lambda run: run["hold"] * 1e3,
    "peak": lambda run: run["peak_mb"],
    "share": lambda run: run["server"]["share"],
    "refused": lambda run: run["server"]["refused_share"],
}


@dataclass(frozen=True)
class Spot:
    """A run's place in a round: task, server, client."""

    task: str
    server: str
    client: str

    def measure(self, results: list[Result], number: int, what: str) -> float | None:
        """Return the mean over this spot's runs in a round; None without any."""
        found = [
            MEASURES[what](run)
            for run in results
            if run["round"] == number and self.holds(run) and "failed" not in run
        ]
        return mean(found) if found else None

    def holds(self, run: Result) -> bool:
        """Return whether a run stands here."""
        place = run["task"], run["server_name"], run["client"]
        return place == (self.task, self.server, self.client)


@dataclass(frozen=True)
class Goal:
    """One row of what must be reached.

    Attributes:
        group: What is measured, and against what.
        what: Who is measured.
        ours: Where.
        target: The number to reach.
        measures: What is taken; each has to reach the target.
        than: What it is divided by; None compares the number itself.
        least: The target is the least, not the most.
        times: The other's over ours, not ours over the other's.
        unit: Of the number; "" is a ratio, "%" a share.
    """

    group: str
    what: str
    ours: Spot
    target: float
    measures: tuple[str, ...] = ("CPU", "wall")
    than: Spot | None = None
    least: bool = False
    times: bool = False
    unit: str = ""

    def judge(self, results: list[Result]) -> dict[str, Any]:
        """Return the goal with what was found, as plain values; None is not run."""
        values = {what: self._value(results, what) for what in self.measures}
        return {
            "group": self.group,
            "what": self.what,
            "values": values,
            "target": self.target,
            "least": self.least,
            "unit": self.unit,
            "met": self._met(list(values.values())),
        }

    def _met(self, values: list[float | None]) -> bool | None:
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if self.least:
            return min(known) >= self.target
        return max(known) <= self.target

    def _value(self, results: list[Result], what: str) -> float | None:
        found = []
        for number in sorted({run["round"] for run in results}):
            ours = self.ours.measure(results, number, what)
            than = self.than.measure(results, number, what) if self.than else 1.0
            if ours is not None and than is not None:
                found.append(than / ours if self.times else ours / than)
        return median(found) if found else None


def _texts(client: str, server: str = "float") -> Spot:
    return Spot("texts", server, client)


def _lists() -> list[Goal]:
    title = "Lists from JSON floats, {}, relative to {} by hand"
    async_, sync = title.format("async", "aiohttp"), title.format("sync", "requests")
    packed = "Lists from base64, relative to JSON floats by hand"
    goals = [
        Goal(async_, name, _texts(f"{key}, async"), 1.05, than=_texts(FLOOR))
        for name, key in OURS.items()
    ]
    goals += [
        Goal(sync, name, _texts(f"{key}, sync"), 0.9, than=_texts(FLOOR_SYNC))
        for name, key in OURS.items()
    ]
    beside = "Lists from JSON floats, relative to the Rust client"
    for colour, rust in (("async", RUST), ("sync", SYNC_RUST)):
        ours = _texts(f"together-embed, {colour}")
        goals.append(Goal(beside, f"core, {colour}", ours, 1.0, than=_texts(rust)))
    for colour, floor in (("async", FLOOR), ("sync", FLOOR_SYNC)):
        for name, key in OURS.items():
            ours = _texts(f"{key}, {colour}", "base64")
            goals.append(
                Goal(packed, f"{name}, {colour}", ours, 0.6, than=_texts(floor))
            )
    return goals


def _arrays() -> list[Goal]:
    title = "float32 arrays, relative to the Rust client on JSON floats"
    goals = []
    names = {"float": "float (by simdjson)", "base64": "base64"}
    for server, target in (("float", 1.0), ("base64", 0.5)):
        for colour, rust in (("async", RUST), ("sync", SYNC_RUST)):
            ours = _texts(f"together-embed, {colour}, array", server)
            than = _texts(f"{rust}, array")
            name = f"{names[server]}, {colour}"
            goals.append(Goal(title, name, ours, target, than=than))
    return goals


def _queries() -> list[Goal]:
    goals = []
    for colour, floor in (("sync", FLOOR_SYNC), ("async", FLOOR)):
        library = floor.split()[1]
        for name, key in OURS.items():
            goals.append(
                Goal(
                    f"One warm query, {colour}, relative to {library} by hand",
                    name,
                    Spot("queries", "instant", f"{key}, {colour}, query"),
                    1.15,
                    ("CPU", "latency"),
                    Spot("queries", "instant", f"{floor}, query"),
                )
            )
    return goals


def _holds() -> list[Goal]:
    title = "Longest time the event loop is blocked"
    spots = [("core, base64", "base64", "core")]
    spots += [(f"{name}, floats", "float", name) for name in OURS]
    return [
        Goal(
            title,
            what,
            Spot("hold", server, f"{OURS[name]}, async"),
            20.0,
            ("hold",),
            unit="ms",
        )
        for what, server, name in spots
    ]


def _limits() -> list[Goal]:
    goals = []
    for name in LIMITS:
        spot = Spot("limits", name, ADAPTIVE)
        share = "Share of what a rate or concurrency limit allows, nothing set"
        goals.append(Goal(share, name, spot, 0.95, ("share",), least=True, unit="%"))
    for name in LIMITS:
        spot = Spot("limits", name, ADAPTIVE)
        refused = "Requests refused (429) there, after the first ten"
        goals.append(Goal(refused, name, spot, 0.02, ("refused",), unit="%"))
    return goals


def _rivals() -> list[Goal]:
    pairs = (
        ("langchain-together", "LangChain", 300.0),
        ("llama-index-together", "LlamaIndex", 200.0),
    )
    return [
        Goal(
            f"Texts per second, as a multiple of {rival}",
            f"{name}, {colour}",
            _texts(f"{OURS[name]}, {colour}"),
            target,
            ("wall",),
            _texts(f"{rival}, {colour}"),
            least=True,
            times=True,
        )
        for rival, name, target in pairs
        for colour in ("sync", "async")
    ]


_STREAM = Goal(
    "Peak memory of a stream into a .npy file",
    "1,000,000 texts",
    Spot("stream", "base64", "together-embed, sync"),
    300.0,
    ("peak",),
    unit="MB",
)
GOALS = [
    *_lists(),
    *_arrays(),
    *_queries(),
    *_holds(),
    _STREAM,
    *_limits(),
    *_rivals(),
]
"""All of them, in the order of the table."""


def judge(results: list[Result]) -> list[dict[str, Any]]:
    """Return every goal with what was found."""
    return [goal.judge(results) for goal in GOALS]
