"""Start what runs beside the harness: the peers' environment, servers and clients.

Every process gets its core where the system lets a process choose: the servers the
last one, a client all the others. On one core, or where there is no choice, they share.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".peers"
LONGEST = 240.0
"""Seconds that a client may take for one run."""


@dataclass(frozen=True)
class Cores:
    """The cores that the servers and the clients stay on; empty means no choice."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @classmethod
    def share_out(cls) -> Cores:
        """Give the servers one core and the clients the rest."""
        if not hasattr(os, "sched_getaffinity"):
            return cls((), ())
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return cls((), ())
        return cls((cores[-1],), tuple(cores[:-1]))


def interpreter(folder: Path) -> Path:
    """Return the interpreter of an environment."""
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def make_peers() -> Path:
    """Return the interpreter of the peers' environment, made anew if its list changed.

    Raises:
        subprocess.CalledProcessError: pip could not install them.
    """
    python = interpreter(PEERS)
    wanted = (HERE / "peers.txt").read_text() + sys.version
    stamp = PEERS / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing the peers into {PEERS.name}/ …", file=sys.stderr)
    venv.create(PEERS, with_pip=True, clear=True)
    install = ["-m", "pip", "install", "--quiet", "-r", str(HERE / "peers.txt")]
    subprocess.run([str(python), *install], check=True)
    stamp.write_text(wanted)
    return python


def clean_environment() -> dict[str, str]:
    """Return this environment without proxies and without anybody's real key."""
    dropped = ("TOGETHER", "OPENAI", "LANGSMITH", "LANGCHAIN", "BASETEN")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": str(HERE.parent)}


@contextlib.contextmanager
def serving(options: dict[str, object], cores: Cores) -> Iterator[str]:
    """Run a server with `options` for the length of the block; yield its URL."""
    command = [sys.executable, str(HERE / "server.py")]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    command += [f"--cpu={core}" for core in cores.server]
    server = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.stdin.close()  # which ends it


def run_client(
    python: Path, words: list[str], arguments: dict[str, object], cores: Cores
) -> dict[str, Any]:
    """Run a client once in a process of its own; return what it printed.

    One that failed gives `{"failed": the last line it wrote}`.
    """
    command = [str(python), *words]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    if cores.client:
        command += ["--cpus", *map(str, cores.client)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=clean_environment(),
            check=False,
            timeout=LONGEST * (1 + float(str(arguments["texts"])) / 100_000),
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return {"failed": f"{type(error).__name__}: {error}"[-120:]}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": lines[-1][:120]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
