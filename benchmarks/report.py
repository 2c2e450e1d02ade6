"""Turn the results of all rounds into rows, and goals and rows into a table of text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Results = list[dict[str, Any]]
About = dict[str, Any]
Judged = list[dict[str, Any]]

OURS = "together-embed"
WIDE = 80
QUIET = 0.1
"""Of the client's cores: what others may take before a run counts as disturbed."""
TITLES = {
    ("texts", "float"): "Texts, answers of JSON floats",
    ("texts", "base64"): "Texts, answers of base64",
    ("queries", "instant"): "One query after the other, the server's time left out",
    ("hold", "float"): "Longest time the event loop is blocked, JSON floats",
    ("hold", "base64"): "Longest time the event loop is blocked, base64",
    ("limits", "8 in flight"): "At a server that refuses more than 8 in flight",
    ("limits", "10 a second"): "At a server that refuses more than 10 a second",
    ("limits", "100 a second"): "At a server that refuses more than 100 a second",
    ("stream", "base64"): "A stream into a .npy file",
}


@dataclass(frozen=True)
class Row:
    """A client's medians over the rounds, `right` and `failed` of the worst."""

    task: str
    server: str
    client: str
    texts: int = 0
    rate: float = 0.0  # texts a second
    cpu_us: float = 0.0  # a text
    above_us: float = 0.0  # wall a text, without the server's own time
    hold_ms: float = 0.0
    requests: int = 0
    share: float = 0.0  # of the ideal at a limit
    refused: float = 0.0  # of the requests there
    peak_mb: float = 0.0
    disturbed: bool = False  # other processes took more than `QUIET`
    right: int = 0
    failed: str = ""


def summarise(results: Results) -> list[Row]:
    """Return one row a task, server and client, in the order of the table."""
    groups: dict[tuple[str, str, str], Results] = {}
    for run in results:
        place = run["task"], run["server_name"], run["client"]
        groups.setdefault(place, []).append(run)
    order = list(TITLES)
    rows = [_row(*place, runs) for place, runs in groups.items()]
    known = [row for row in rows if (row.task, row.server) in TITLES]
    return sorted(
        known, key=lambda row: (order.index((row.task, row.server)), _rank(row))
    )


def _rank(row: Row) -> float:
    ranks = {"queries": row.cpu_us, "hold": row.hold_ms, "limits": -row.share}
    return ranks.get(row.task, -row.rate)


def _row(task: str, server: str, client: str, runs: Results) -> Row:
    failures = [run["failed"] for run in runs if "failed" in run]
    counted = [run for run in runs if run.get("server")]
    told = _told(counted)
    if failures:
        return Row(task, server, client, failed=failures[0], **told)
    return Row(
        task=task,
        server=server,
        client=client,
        texts=runs[0]["texts"],
        rate=median(run["texts"] / run["wall"] for run in runs),
        cpu_us=median(run["cpu"] / run["texts"] for run in runs) * 1e6,
        above_us=median(_above(run) for run in runs) * 1e6,
        hold_ms=median(run["hold"] for run in runs) * 1e3,
        peak_mb=median(run["peak_mb"] for run in runs),
        right=min(run["right"] for run in runs),
        disturbed=median(run["others"] for run in runs) > QUIET,
        **told,
    )


def _told(runs: Results) -> dict[str, Any]:
    """Return what the server has counted, of a client that failed as well."""
    servers = [run["server"] for run in runs]
    if not servers:
        return {}
    return {
        "requests": round(median(one["requests"] for one in servers)),
        "share": median(one.get("share", 0.0) for one in servers),
        "refused": median(one.get("refused_share", 0.0) for one in servers),
    }


def _above(run: dict[str, Any]) -> float:
    return float((run["wall"] - run["server"].get("served", 0.0)) / run["texts"])


def write_table(rows: list[Row], judged: Judged, about: About) -> str:
    """Return the whole report, 80 columns wide."""
    lines = [*about["lines"], ""]
    lines += [*write_goals(judged), ""]
    for place in dict.fromkeys((row.task, row.server) for row in rows):
        here = [row for row in rows if (row.task, row.server) == place]
        lines += [TITLES[place], *_lines(here), ""]
    lines.append(f"* other processes took over {QUIET:.0%} of the client's cores")
    return "\n".join(lines)


def write_goals(judged: Judged) -> list[str]:
    """Return the goals as lines."""
    lines: list[str] = []
    for group in dict.fromkeys(one["group"] for one in judged):
        here = [one for one in judged if one["group"] == group]
        names = list(here[0]["values"])
        heads = "".join(f"{name:>8}" for name in _padded(names))
        bound = "at least" if here[0]["least"] else "at most"
        lines += [f"{group}", f"  {'':36}{heads}{bound:>10}"]
        lines += [_goal_line(one) for one in here]
    return lines


def _padded(words: list[str]) -> list[str]:
    return ["", *words][-2:]


def _goal_line(one: dict[str, Any]) -> str:
    unit = one["unit"]
    values = _padded([spelled(value, unit) for value in one["values"].values()])
    found = "".join(f"{value:>8}" for value in values)
    return (
        f"  {one['what']:36}{found}{spelled(one['target'], unit):>10}  {verdict(one)}"
    )


def spelled(value: float | None, unit: str) -> str:
    """Return a number as it is read, with its unit."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{value:.1%}"
    number = f"{value:,.0f}" if unit or value >= 10 else f"{value:.2f}"
    return f"{number} {unit}".rstrip()


def verdict(one: dict[str, Any]) -> str:
    """Return whether a goal is met, in words."""
    return {True: "met", False: "not met", None: "not run"}[one["met"]]


def _lines(rows: list[Row]) -> list[str]:
    heads, cells = COLUMNS[rows[0].task]
    lines = [f"  {'':42}" + "".join(f"{head:>9}" for head in heads)]
    for row in rows:
        name = f"  {_name(row):42}"
        if row.failed:
            lines += _failure(row, name)
            continue
        shown = "".join(f"{cell:>9}" for cell in cells(row))
        wrong = "" if row.right == row.texts else f"\n    {row.right:,} vectors right"
        lines.append(f"{name}{shown}{wrong}")
    return lines


def _name(row: Row) -> str:
    name = row.client.removesuffix(", query")
    return f"{name}*" if row.disturbed else name


def _failure(row: Row, name: str) -> list[str]:
    if row.task == "limits" and row.requests:  # what it had sent by then tells enough
        cells = "".join(f"{cell:>9}" for cell in _of_limits(row))
        return [f"{name}{cells}", f"    gave up: {row.failed}"[:WIDE]]
    return [f"{name}  failed", f"    {row.failed}"[:WIDE]]


def _of_texts(row: Row) -> list[str]:
    return [
        f"{row.texts:,}",
        f"{row.rate:,.0f}",
        f"{row.cpu_us:,.0f}",
        f"{row.peak_mb:,.0f}",
    ]


def _of_limits(row: Row) -> list[str]:
    return [f"{row.requests:,}", f"{row.share:.1%}", f"{row.refused:.1%}"]


COLUMNS: dict[str, Any] = {
    "texts": (("texts", "texts/s", "CPU µs", "peak MB"), _of_texts),
    "stream": (("texts", "texts/s", "CPU µs", "peak MB"), _of_texts),
    "queries": (
        ("CPU ms", "wall ms"),
        lambda row: [f"{row.cpu_us / 1e3:.2f}", f"{row.above_us / 1e3:.2f}"],
    ),
    "hold": (("ms",), lambda row: [f"{row.hold_ms:,.1f}"]),
    "limits": (("requests", "share", "refused"), _of_limits),
}


def plain(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain values."""
    return [asdict(row) for row in rows]
