"""Draw what was measured as bars, in SVG that reads in light and in dark.

Two pictures: how fast, and how well-behaved. Each panel has a linear scale of its own,
from zero. Pictures are 480 wide, so that a telephone shows them at nearly their size,
and take what they show from plain values, as `docs/benchmark.json` keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

Rows = list[dict[str, Any]]

WIDTH = 480
LEFT = 206  # where the bars begin
LONGEST = 200
STEP = 20  # from one bar to the next
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px } .note { fill: #59636e; font-size: 11px }
.card { fill: #ffffff; stroke: #d1d9e0 }
.ours { fill: #0969da } .floor { fill: #8c959f } .peer { fill: #c9d1d9 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .card { fill: #151b23; stroke: #3d444d }
  .ours { fill: #4493f8 } .floor { fill: #7d8590 } .peer { fill: #484f58 }
}
"""
SHORT = {
    "floor: aiohttp + orjson": "aiohttp + orjson by hand",
    "floor: requests + orjson": "requests + orjson by hand",
    "baseten-performance-client": "baseten client (Rust)",
    "together-embed adaptive": "together-embed",
}


@dataclass(frozen=True)
class Panel:
    """One set of bars.

    Attributes:
        title: What they show, and which way is better.
        task: Of the rows.
        field: Of a row: the bars' length.
        form: How a value is written.
        servers: Of the rows.
        ending: What the clients' names end with.
        scale: What a value is multiplied by first.
        highest: The value of the longest bar; None is the greatest there is.
        rising: The short bars first.
    """

    title: str
    task: str
    field: str
    form: str
    servers: tuple[str, ...]
    ending: str
    scale: float = 1.0
    highest: float | None = None
    rising: bool = False

    def bars(self, rows: Rows) -> list[tuple[str, float, str]]:
        """Return name, value and client of each bar, the best first."""
        found = [
            (self._name(row), row[self.field] * self.scale, row["client"])
            for row in rows
            if row["task"] == self.task
            and row["server"] in self.servers
            and row["client"].endswith(self.ending)
            and (not row["failed"] or row["share"])
        ]
        if self.task == "limits":  # by their servers: the same limit side by side
            return found
        return sorted(found, key=lambda bar: bar[1], reverse=not self.rising)

    def _name(self, row: dict[str, Any]) -> str:
        name: str = row["client"].removesuffix(self.ending)
        name = SHORT.get(name, name)
        if self.task == "limits":
            short = "Rust client" if "Rust" in name else name
            return f"{row['server']}: {short}"
        if self.ending == ", async, array":
            return f"{name}, {row['server']}"
        return name


SPEED = (
    Panel(
        "Lists, answers of floats: texts a second",
        *("texts", "rate", "{:,.0f}", ("float",), ", async"),
    ),
    Panel(
        "Lists, answers of base64: texts a second",
        *("texts", "rate", "{:,.0f}", ("base64",), ", async"),
    ),
    Panel(
        "float32 arrays: texts a second",
        *("texts", "rate", "{:,.0f}", ("float", "base64"), ", async, array"),
    ),
)
MANNERS = (
    Panel(
        "One query, sync: ms of CPU, less is better",
        *("queries", "cpu_us", "{:,.2f}", ("instant",), ", sync, query", 1e-3),
        rising=True,
    ),
    Panel(
        "Longest hold of the event loop: ms, less is better",
        *("hold", "hold_ms", "{:,.0f}", ("float",), ", async"),
        rising=True,
    ),
    Panel(
        "Share of what a server's limit lets through",
        *("limits", "share", "{:.0%}"),
        servers=("8 in flight", "10 a second", "100 a second"),
        ending=", async",
        highest=1.0,
    ),
)


def draw(title: str, panels: tuple[Panel, ...], rows: Rows, note: str) -> str:
    """Return the SVG of these panels, what it ran on below."""
    parts, y = [], 0
    for panel in panels:
        bars = panel.bars(rows)
        if not bars:
            continue
        parts.append(_text(12, y + 24, panel.title, "title"))
        y += 34
        longest = panel.highest or max(max(value for _, value, _ in bars), 1e-9)
        for name, value, client in bars:
            length = min(max(value / longest, 0.003), 1.0) * LONGEST
            parts += _bar(name, panel.form.format(value), length, _kind(client), y)
            y += STEP
        y += 6
    parts.append(_text(12, y + 14, note, "note"))
    return _frame(title, parts, y + 24)


def _kind(client: str) -> str:
    if client.startswith("together-embed"):
        return "ours"
    return "floor" if client.startswith("floor") else "peer"


def _bar(name: str, shown: str, length: float, kind: str, y: int) -> Iterator[str]:
    yield _text(LEFT - 8, y + 12, name, "", "end")
    yield (
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" '
        f'height="{STEP - 5}"/>'
    )
    yield _text(LEFT + length + 6, y + 12, shown)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _frame(title: str, parts: list[str], height: int) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" '
            f'height="{height - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )
