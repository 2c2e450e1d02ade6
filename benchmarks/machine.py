"""Say what a comparison ran on: machine, versions, date, settings, server load."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from processes import Cores
    from report import Results

ROOT = Path(__file__).resolve().parent.parent


def describe(
    options: argparse.Namespace, cores: Cores, results: Results, notes: list[str]
) -> dict[str, Any]:
    """Return what the report says about the run: plain values, and lines of text."""
    words = [
        describe_machine(cores),
        describe_settings(options, results),
        describe_versions(results),
        describe_load(results),
        *notes,
    ]
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "commit": commit(),
        "words": words,
        "lines": [line for each in words for line in wrap(each, 80)],
    }


def describe_machine(cores: Cores) -> str:
    """Return the processor, the memory, the system, Python and today's date."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    pinned = "the server on one of its own" if cores.server else "shared"
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores "
        f"({pinned}), {memory_gb():.0f} GB, {platform.system()} {platform.release()}, "
        f"{python}, commit {commit()}."
    )


def processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def memory_gb() -> float:
    """Return the machine's memory in GB (10**9 bytes)."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def commit() -> str:
    """Return the short hash of the commit, with a + where files differ from it."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--dirty=+",
        "--abbrev=9",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def describe_settings(options: argparse.Namespace, results: Results) -> str:
    """Return what the clients and the server were told."""
    rounds = len({run["round"] for run in results})
    return (
        f"{options.batch} texts a request, {options.concurrency} requests at once, "
        f"width {options.width}; an answer comes after {options.base_delay * 1e3:g} ms "
        f"and {options.per_text * 1e3:g} ms a text. Medians of {rounds} interleaved "
        "round(s). Every vector is compared with the right one, bit for bit."
    )


def describe_versions(results: Results) -> str:
    """Return the versions of the packages that ran."""
    versions = {run["package"]: run["version"] for run in results if "version" in run}
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def describe_load(results: Results) -> str:
    """Return how busy the server was, and others, to show what was not measured."""
    ran = [run for run in results if "failed" not in run]
    busy = [run["server"]["cpu_seconds"] / run["wall"] for run in ran]
    others = [run["others"] for run in ran]
    return (
        f"The server used at most {max(busy, default=0):.0%} of its core; other "
        f"processes at the median {median(others or [0]):.0%} of the clients', at most "
        f"{max(others, default=0):.0%}."
    )
