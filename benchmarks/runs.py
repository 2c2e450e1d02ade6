"""Say what is run in a round: which client does which task against which server.

Answers are floats from a server that ignores `encoding_format`, and base64 from one
that honours it, where only clients that ask for base64 are run. "instant" answers in
floats and at once: queries are measured there. The servers of `LIMITS` refuse what is
too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clients import CLIENTS, Client
from clients.ours import ADAPTIVE
from clients.rust import RUST

FLOOR = "floor: aiohttp + orjson, async"
HELD = (
    "together-embed, async",
    "together-embed LangChain, async",
    "together-embed LlamaIndex, async",
    FLOOR,
    RUST,
)
"""Whose event loop is watched."""
LIMITS: dict[str, dict[str, object]] = {
    "8 in flight": {"cap": 8},
    "10 a second": {"rate": 10, "burst": 5},
    "100 a second": {"rate": 100, "burst": 10},
}
LIMITED = {"8 in flight": 600, "10 a second": 150, "100 a second": 1_000}
"""Requests that are sent to each of them."""
LIMITED_BATCH = 16
"""Texts of each: what the client does with them is not to be what is measured."""
QUERIES = 500
SERVERS: dict[str, dict[str, object]] = {
    "float": {"base64": "ignore"},
    "base64": {"base64": "honour"},
    "instant": {"base64": "ignore", "base-delay": 0, "per-text": 0},
    **{name: {"base64": "honour", **limits} for name, limits in LIMITS.items()},
}


@dataclass(frozen=True)
class Run:
    """One run of a client.

    Attributes:
        task: As `runners.py` has it.
        server: A name of `SERVERS`.
        client: Who runs.
        texts: How many, or how many queries.
        batch: Texts a request.
    """

    task: str
    server: str
    client: Client
    texts: int
    batch: int


@dataclass(frozen=True)
class Size:
    """How much is run: texts a call, texts a request, and a share of the rest."""

    texts: int
    batch: int
    part: float = 1.0  # of the queries, and of the requests at a limit

    def run(self, task: str, server: str, client: Client) -> Run:
        """Return a run of this size."""
        if task == "queries":
            return Run(task, server, client, max(int(QUERIES * self.part), 1), 1)
        if task == "limits":
            requests = max(int(LIMITED[server] * self.part), 12)
            return Run(task, server, client, requests * LIMITED_BATCH, LIMITED_BATCH)
        texts = max(self.texts // client.share, 1)
        return Run(task, server, client, texts, self.batch)


def plan(chosen: list[Client], size: Size, *, slow: bool, limits: bool) -> list[Run]:
    """Return the runs of one round, in their order.

    The floor runs at both ends of the fast ones. The slow come last: while they wait,
    the system takes memory back, and the next process pays for getting it again.
    """
    runs = [size.run("texts", "float", CLIENTS[FLOOR])]
    runs += (size.run(*each) for each in _fast(chosen))
    runs.append(size.run("texts", "float", CLIENTS[FLOOR]))
    runs += (size.run("queries", "instant", one) for one in _of(chosen, "query"))
    if limits:
        names = (ADAPTIVE, RUST)
        limited = [one for one in chosen if one.key in names]
        runs += (size.run("limits", name, one) for name in LIMITS for one in limited)
    if slow:
        late = [one for one in _of(chosen, "lists") if one.share > 1]
        runs += (size.run("texts", kind, one) for one in late for kind in _kinds(one))
    return runs


def _fast(chosen: list[Client]) -> Iterator[tuple[str, str, Client]]:
    lists = [one for one in _of(chosen, "lists") if one.share == 1]
    for kind in ("float", "base64"):
        for one in lists + _of(chosen, "array"):
            if kind in _kinds(one) and one.key not in (FLOOR, ADAPTIVE):
                yield "texts", kind, one
    for one in chosen:
        if one.key in HELD:
            yield "hold", "float", one
    yield from (("hold", "base64", one) for one in chosen if one.key == HELD[0])


def _of(chosen: list[Client], form: str) -> list[Client]:
    return [one for one in chosen if one.form == form]


def _kinds(client: Client) -> tuple[str, ...]:
    """Return the kinds of answers that a client asks for of its own accord."""
    if client.share > 8:  # it does nothing faster for being sent less
        return ("float",)
    return ("float", "base64") if client.asks_base64 else ("float",)
