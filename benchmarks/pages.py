"""Bring what was measured into the pages: tables between marks, and two pictures.

`docs/benchmark.json` is what all of it is made of; a test makes it again and compares,
so that no page claims what that file does not say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chart import MANNERS, SPEED, draw
from report import spelled, verdict

ROOT = Path(__file__).resolve().parent.parent
JSON = "docs/benchmark.json"
IN_SHORT = (
    ("Lists from JSON floats, async, relative to aiohttp by hand", "core"),
    ("Lists from JSON floats, sync, relative to requests by hand", "core"),
    ("Lists from base64, relative to JSON floats by hand", "core, async"),
    ("float32 arrays, relative to the Rust client on JSON floats", "base64, async"),
    ("One warm query, sync, relative to requests by hand", "core"),
    ("Longest time the event loop is blocked", "core, floats"),
    ("Peak memory of a stream into a .npy file", "1,000,000 texts"),
    ("Share of what a rate or concurrency limit allows, nothing set", "8 in flight"),
    ("Texts per second, as a multiple of langchain-together", "LangChain, sync"),
    ("Texts per second, as a multiple of llama-index-together", "LlamaIndex, sync"),
)
"""The goals that the README shows."""


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Write everything, a result a line."""
    parts = []
    for name, value in found.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(one)}" for one in value)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value, indent=1)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def bring(found: dict[str, Any], root: Path = ROOT) -> None:
    """Write the results, the pictures and the parts of the pages below `root`."""
    write_json(root / JSON, found)
    for name, text in made(found, root).items():
        (root / name).write_text(text)


def made(found: dict[str, Any], root: Path = ROOT) -> dict[str, str]:
    """Return the files below `root` that are made of results, as they have to be."""
    rows, about = found["rows"], found["about"]
    note = f"{about['date']}, commit {about['commit']}; see docs/benchmark.md"
    speed = draw("How fast embeddings clients are", SPEED, rows, note)
    manners = draw("How embeddings clients behave", MANNERS, rows, note)
    pages = {"docs/benchmark.md": _whole(found), "README.md": _short(found)}
    return {
        "docs/pictures/benchmark.svg": speed,
        "docs/pictures/benchmark-manners.svg": manners,
        **{name: put(root / name, "benchmark", text) for name, text in pages.items()},
    }


def put(path: Path, name: str, text: str) -> str:
    """Return a page with `text` between the marks of that name."""
    begin, end = (f"<!-- {name}: {side} -->" for side in ("begin", "end"))
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def _whole(found: dict[str, Any]) -> str:
    goals = found["goals"]
    words = found["about"]["words"] if found["rows"] else ["Not measured yet."]
    lines = [line for word in words for line in (word, "")]
    for group in dict.fromkeys(one["group"] for one in goals):
        here = [one for one in goals if one["group"] == group]
        measures = list(here[0]["values"])
        bound = "at least" if here[0]["least"] else "at most"
        lines += [f"**{group}**", "", _row("", *measures, bound, "")]
        lines.append("|---|" + "---:|" * (len(measures) + 1) + "---|")
        lines += [_row(one["what"], *_numbers(one), verdict(one)) for one in here]
        lines.append("")
    return "\n".join(lines).rstrip()


def _short(found: dict[str, Any]) -> str:
    by_place = {(one["group"], one["what"]): one for one in found["goals"]}
    lines = ["| what | measured | aim |", "|---|---:|---:|"]
    for place in IN_SHORT:
        one = by_place[place]
        *values, target = _numbers(one)
        bound = "≥" if one["least"] else "≤"
        names = one["values"]
        shown = ", ".join(
            f"{value} {name}" if len(names) > 1 else value
            for name, value in zip(names, values, strict=True)
        )
        lines.append(_row(f"{place[0]} ({place[1]})", shown, f"{bound} {target}"))
    about = found["about"]
    when = f"Measured on {about['date']}, commit {about['commit']}."
    lines += ["", when if found["rows"] else "Not measured yet."]
    return "\n".join(lines)


def _numbers(one: dict[str, Any]) -> list[str]:
    values = [*one["values"].values(), one["target"]]
    return [spelled(value, one["unit"]) for value in values]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
