"""Turn the results of all rounds into rows, a table and the verdict on the bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

Results = list[dict[str, Any]]
Measure = Callable[[dict[str, Any]], float]

FLOOR = "floor: aiohttp + orjson, async"
RIVAL = "langchain-together"
OURS = "together-embed"

# What the project asks of itself: of the floor's texts/s, and of the rival's.
BAR_FLOOR = 0.85
BAR_RIVAL = 150.0

QUIET = 0.1
"""Of the client's cores: what others may take before a run counts as disturbed."""


@dataclass(frozen=True)
class Row:
    """A client's medians over the rounds, `right` and `failed` of the worst."""

    client: str
    answers: str  # what the server sends when asked for base64
    texts: int
    rate: float = 0.0  # texts a second
    to_floor: float = 0.0  # the client's rate over the floor's of the same round
    cpu_us: float = 0.0  # a text
    requests: int = 0
    in_flight: int = 0  # at most
    cpu_to_floor: float = 0.0
    peak_mb: float = 0.0
    disturbed: bool = False  # other processes took more than `QUIET`
    right: int = 0
    failed: str = ""


def rate_of(result: dict[str, Any]) -> float:
    """Return the texts a second of one run."""
    return float(result["texts"] / result["wall"])


def cpu_of(result: dict[str, Any]) -> float:
    """Return the microseconds of CPU a text of one run."""
    return float(result["cpu"] / result["texts"] * 1e6)


def summarise(results: Results) -> list[Row]:
    """Return one row a client and kind of answer, fastest first within a kind."""
    groups: dict[tuple[str, str], Results] = {}
    for result in results:
        groups.setdefault((result["answers"], result["client"]), []).append(result)
    floors = floor_means(results, rate_of)
    cpus = floor_means(results, cpu_of)
    rows = [_row(kind, runs, floors, cpus) for (kind, _), runs in groups.items()]
    return sorted(rows, key=lambda row: (row.answers != "float", -row.rate))


def floor_means(results: Results, measure: Measure) -> dict[int, float]:
    """Return the mean of the floor's runs in each round, by the round's number."""
    found: dict[int, list[float]] = {}
    for result in results:
        if result["client"] == FLOOR and "failed" not in result:
            found.setdefault(result["round"], []).append(measure(result))
    return {number: mean(of_round) for number, of_round in found.items()}


def _row(
    kind: str, runs: Results, floors: dict[int, float], cpus: dict[int, float]
) -> Row:
    name = runs[0]["client"]
    failures = [run["failed"] for run in runs if "failed" in run]
    if failures:
        return Row(name, kind, 0, failed=failures[0])

    def over(floor: dict[int, float], measure: Measure) -> float:
        known = [run for run in runs if run["round"] in floor]
        ratios = [measure(run) / floor[run["round"]] for run in known]
        return median(ratios) if ratios else 0.0

    return Row(
        client=name,
        answers=kind,
        texts=runs[0]["texts"],
        rate=median(map(rate_of, runs)),
        to_floor=over(floors, rate_of),
        cpu_us=median(map(cpu_of, runs)),
        cpu_to_floor=over(cpus, cpu_of),
        requests=round(median(run["server"]["requests"] for run in runs)),
        in_flight=max(run["server"]["max_in_flight"] for run in runs),
        peak_mb=median(run["peak_mb"] for run in runs),
        right=min(run["right"] for run in runs),
        disturbed=median(run["others"] for run in runs) > QUIET,
    )


_HEAD = (
    f"{'':34}{'texts':>7}{'texts/s':>9}{'floor':>7}{'CPU µs':>8}"
    f"{'requests':>9}{'at once':>8}{'peak MB':>8}{'right':>7}"
)


def write_table(rows: list[Row], about: dict[str, Any]) -> str:
    """Return the table, 97 columns wide, with what it was measured on."""
    lines = [about["machine"], about["settings"], about["versions"], about["load"]]
    for kind in dict.fromkeys(row.answers for row in rows):
        title = {"float": "JSON floats", "base64": "base64, where asked for"}[kind]
        lines += ["", f"Answers: {title}", _HEAD, "─" * len(_HEAD)]
        lines += [_line(row) for row in rows if row.answers == kind]
    lines += [
        "",
        "floor: texts/s over those of the floor in the same round. CPU: a text.",
        f"*: other processes took over {QUIET:.0%} of the client's cores.",
    ]
    return "\n".join([*lines, *verdicts(rows)])


def _line(row: Row) -> str:
    if row.failed:
        return f"{row.client:34}  failed: {row.failed[:52]}"
    return (
        f"{row.client:34}{row.texts:>7,}{starred(row):>9}{_ratio(row.to_floor):>7}"
        f"{row.cpu_us:>8,.0f}{row.requests:>9,}{row.in_flight:>8,}"
        f"{row.peak_mb:>8,.0f}{row.right:>7,}"
    )


def starred(row: Row) -> str:
    """Return the texts a second, with a star where other processes disturbed them."""
    return f"{'*' if row.disturbed else ''}{row.rate:,.0f}"


def _ratio(value: float) -> str:
    """Return two significant digits at least: 1.02, 0.38, 0.0024."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def verdicts(rows: list[Row]) -> list[str]:
    """Return a line for each of our paths: its ratios, and if they meet the bar."""
    rates = {(row.answers, row.client): row.rate for row in rows}
    lines = []
    for row in rows:
        if not row.client.startswith(OURS) or row.failed:
            continue
        colour = row.client.rpartition(", ")[2]
        rival = rates.get((row.answers, f"{RIVAL}, {colour}"), 0.0)
        times = row.rate / rival if rival else 0.0
        lines.append(_verdict(row, times))
    return [
        "",
        f"The bar: {BAR_FLOOR} of the floor, {BAR_RIVAL:.0f} x {RIVAL}.",
        *lines,
    ]


def _verdict(row: Row, times: float) -> str:
    met = row.to_floor >= BAR_FLOOR and times >= BAR_RIVAL
    word = "" if not times else "met" if met else "not met"
    word += ", disturbed" if row.disturbed else ""
    rival = f"{times:,.0f} x" if times else "not run"
    return (
        f"{row.client:34}{row.answers:>7}{row.to_floor:>7.2f} of the floor (CPU "
        f"{row.cpu_to_floor:.2f}), rival {rival}  {word}"
    ).rstrip()
