"""Draw texts a second as bars, in an SVG that reads in light and in dark.

Colours come from CSS in the file itself, which follows the reader's colour scheme; the
scale is linear, so that twice the length is twice the speed.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from report import OURS, Row, starred

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 860
LEFT = 270  # where the bars begin
LONGEST = 500
STEP = 24  # from one bar to the next
TITLES = {"float": "Answers of JSON floats", "base64": "Answers of base64"}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.note { font-size: 11px; fill: #59636e }
.ours { fill: #0969da } .floor { fill: #8c959f } .peer { fill: #c9d1d9 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 }
  .ours { fill: #4493f8 } .floor { fill: #6e7681 } .peer { fill: #3d444d }
}
"""


def draw(rows: list[Row], about: dict[str, Any]) -> str:
    """Return the SVG: a panel for each kind of answer, what it ran on below."""
    shown = [row for row in rows if not row.failed]
    scale = LONGEST / max((row.rate for row in shown), default=1.0)
    parts, y = [], 0
    for kind in dict.fromkeys(row.answers for row in shown):
        y += 34
        title = f"{TITLES[kind]}: texts a second, more is better"
        parts.append(f'<text class="title" x="12" y="{y - 8}">{title}</text>')
        for row in (row for row in shown if row.answers == kind):
            parts += _bar(row, y, scale)
            y += STEP
    for note in f"{about['settings']}\n{about['machine']}".splitlines():
        y += 16
        parts.append(f'<text class="note" x="12" y="{y}">{escape(note)}</text>')
    return _frame(parts, y + 12)


def _bar(row: Row, y: int, scale: float) -> Iterator[str]:
    length = max(row.rate * scale, 1.0)
    kind = row.client.startswith(OURS) and "ours"
    kind = kind or (row.client.startswith("floor") and "floor") or "peer"
    middle = y + 13
    yield f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">'
    yield f"{escape(row.client)}</text>"
    yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="18"/>'
    yield f'<text x="{LEFT + length + 6:.1f}" y="{middle}">{starred(row)}</text>'


def _frame(parts: list[str], height: int) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img">',
            "<title>Texts a second of embeddings clients</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )
