"""Draw what the simulation finds, as SVG that reads in light and in dark.

`python -m simulation.chart docs/pictures` writes `regimes.svg`, a bar for each regime,
and `following.svg`, the throughput of three of them over time. Pictures are 480 wide,
so that a telephone shows them at nearly their size.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from html import escape
from pathlib import Path

from simulation.measure import Result, measure
from simulation.regimes import REGIMES, Regime
from simulation.world import Landing

WIDTH = 480
LEFT = 218  # where the bars begin
LONGEST = 190  # of a bar: all that the server carries
STEP = 20  # from one bar to the next
PANEL = 96  # height of a panel
BIN = 2.0  # seconds that a point of a line stands for
FOLLOWED = {
    "queue, 32 slots": 120.0,
    "cap 10, then 40, by turns": 240.0,
    "10, then 40 a second, by turns": 240.0,
}
"""The regimes that are drawn over time, and for how many seconds."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px } .note { fill: #59636e }
.card { fill: #ffffff; stroke: #d1d9e0 } .bar, .dot { fill: #0969da }
.whole { fill: #eaeef2 } .line { fill: none; stroke: #0969da; stroke-width: 1.5 }
.ideal { fill: none; stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 4 3 }
.axis { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .card { fill: #151b23; stroke: #3d444d } .bar, .dot { fill: #4493f8 }
  .whole { fill: #2a313c } .line { stroke: #4493f8 } .ideal { stroke: #9198a1 }
  .axis { stroke: #3d444d }
}
"""


def regimes(results: list[Result]) -> str:
    """Return a bar for each result: the share of what the server would carry."""
    parts = [
        _text(12, 22, "Share of what the server would carry", "title"),
        _text(WIDTH - 12, 22, "refused", "note", "end"),
    ]
    y = 34
    for result in results:
        length = min(1.0, result.share) * LONGEST
        middle = y + 11
        parts += [
            _text(LEFT - 8, middle, result.name, "", "end"),
            _box(LEFT, y, LONGEST, STEP - 6, "whole"),
            _box(LEFT, y, length, STEP - 6, "bar"),
            _text(WIDTH - 12, middle, f"{result.refused:.1%}", "note", "end"),
        ]
        y += STEP
    return _frame("The client in every regime of the simulation", parts, y + 4)


def following(seed: int = 0) -> str:
    """Return a panel for each of `FOLLOWED`: what was carried, what would have been."""
    parts: list[str] = []
    y = 0
    for name, seconds in FOLLOWED.items():
        regime = next(one for one in REGIMES if one.name == name)
        landings = regime.run(seed).landings
        parts += _panel(regime, landings, seconds, y)
        y += PANEL + 52
    parts.append(_text(12, y + 14, "dashed: what the server would carry", "note"))
    return _frame("Requests a second, over time", parts, y + 24)


def _panel(
    regime: Regime, landings: list[Landing], seconds: float, top: int
) -> Iterator[str]:
    count = int(seconds / BIN)
    carried = [0.0] * count
    for landing in landings:
        if landing.status == 200 and landing.at < seconds:
            carried[int(landing.at / BIN)] += landing.texts / BIN
    ideal = [regime.ideal((number + 0.5) * BIN) for number in range(count)]
    highest = max(*carried, *ideal) * 1.1
    bottom = top + 30 + PANEL
    yield _text(12, top + 20, f"{regime.name}: requests a second", "title")
    yield f'<path class="axis" d="M40 {bottom}H{WIDTH - 12}"/>'
    for level in sorted({round(min(ideal)), round(max(ideal))}):
        yield _text(34, bottom - level / highest * PANEL + 4, f"{level}", "note", "end")
    yield _line("ideal", ideal, highest, bottom)
    yield _line("line", carried, highest, bottom)
    yield _text(40, bottom + 15, "0 s", "note")
    yield _text(WIDTH - 12, bottom + 15, f"{seconds:.0f} s", "note", "end")


def _line(kind: str, levels: list[float], highest: float, bottom: int) -> str:
    wide = (WIDTH - 52) / (len(levels) - 1)
    points = " ".join(
        f"{40 + number * wide:.1f},{bottom - level / highest * PANEL:.1f}"
        for number, level in enumerate(levels)
    )
    return f'<polyline class="{kind}" points="{points}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" '
        f'height="{height:.0f}"/>'
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


def main() -> None:
    """Write both pictures into a folder."""
    parser = argparse.ArgumentParser(prog="python -m simulation.chart")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    results = [measure(regime) for regime in REGIMES]
    (folder / "regimes.svg").write_text(regimes(results))
    (folder / "following.svg").write_text(following())


if __name__ == "__main__":
    main()
