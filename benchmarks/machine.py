"""Say what a comparison ran on: machine, versions, date, settings, server load."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from processes import Cores
    from report import Results

ROOT = Path(__file__).resolve().parent.parent


def describe(
    options: argparse.Namespace, cores: Cores, results: Results
) -> dict[str, Any]:
    """Return what the table and the JSON say about the run, as lines of text."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(cores),
        "settings": describe_settings(options),
        "versions": describe_versions(results),
        "load": describe_load(results),
        "commit": commit(),
    }


def describe_machine(cores: Cores) -> str:
    """Return the processor, the memory, the system, Python and today's date."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    pinned = "server on a core of its own" if cores.server else "cores shared"
    return (
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores "
        f"({pinned}), {memory_gb():.0f} GB,\n{platform.system()} {platform.release()}, "
        f"{python}, commit {commit()}"
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


def describe_settings(options: argparse.Namespace) -> str:
    """Return what the clients and the server were told."""
    return (
        f"{options.batch} texts a request, {options.concurrency} requests at once, "
        f"width {options.width}, a reply after {options.base_delay * 1e3:g} ms + "
        f"{options.per_text * 1e3:g} ms a text,\nmedians over {options.rounds} round(s)"
    )


def describe_versions(results: Results) -> str:
    """Return the versions of the packages that ran, in lines of up to 97 columns."""
    versions = {
        result["package"]: result["version"]
        for result in results
        if "failed" not in result
    }
    lines = [""]
    for package, version in sorted(versions.items()):
        entry = f"{package} {version}"
        if len(lines[-1]) + len(entry) > 95:
            lines.append("")
        lines[-1] += f", {entry}" if lines[-1] else entry
    return ",\n".join(lines)


def describe_load(results: Results) -> str:
    """Return how busy the server was, and others, to show what was not measured."""
    ran = [result for result in results if "failed" not in result]
    busy = [result["server"]["cpu_seconds"] / result["wall"] for result in ran]
    others = [result["others"] for result in ran]
    return (
        f"the server used at most {max(busy, default=0):.0%} of its core, other "
        f"processes at most {max(others, default=0):.0%} of the clients'"
    )
