"""Print how the engine fares in every regime: `python -m simulation [--seeds 5]`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from simulation.measure import Result, measure, worst
from simulation.other import LONG, OTHER
from simulation.regimes import REGIMES

HEADING = f"{'regime':<32} {'share':>6} {'refused':>8} {'to 90 %':>8} {'fair':>5}"


def row(result: Result, seconds: float) -> str:
    """Return a result as a line of at most 80 columns."""
    ninety = "never" if result.ninety is None else f"{result.ninety:.2f} s"
    fair = f"{result.fairness:.2f}"
    failed = f" {result.failed} failed" if result.failed else ""
    return (
        f"{result.name:<32} {result.share:>6.3f} {result.refused:>8.2%} {ninety:>8} "
        f"{fair:>5} {result.requests:>7} {seconds:>4.1f} s{failed}"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="part of a regime's name")
    parser.add_argument("--seeds", type=int, default=1, help="the worst of so many")
    parser.add_argument("--other", action="store_true", help="regimes of other numbers")
    parser.add_argument("--long", action="store_true", help="hours, 100,000,000 texts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    results = []
    if not asked.json:
        print(f"{HEADING} {'sent':>7} {'took':>6}")
    chosen = OTHER if asked.other else LONG if asked.long else REGIMES
    for regime in chosen:
        if asked.name in regime.name:
            began = time.perf_counter()
            results.append(worst([measure(regime, n) for n in range(asked.seeds)]))
            if not asked.json:
                took = time.perf_counter() - began
                print(row(results[-1], took), flush=True)
    if asked.json:
        print(json.dumps([asdict(result) for result in results], indent=2))


if __name__ == "__main__":
    main()
