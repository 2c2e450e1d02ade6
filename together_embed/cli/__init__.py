"""The command `together-embed`: subcommands by name, each loaded when it is used.

`serve` works with the base install; the other commands say what to install where the
extra `cli` is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from together_embed import __version__

USAGE = """\
usage: together-embed <command> [options]

commands:
  embed    embed the texts of a file, and write the vectors to another file
  plan     estimate what it takes to embed a file; nothing is sent
  check    test whether the server, the key and the model work
  serve    run a local embeddings endpoint, for tests and prototypes

See `together-embed <command> --help`. The key is read from TOGETHER_API_KEY.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some rows failed, 130 Ctrl-C.
"""
NEEDED = ("click", "rich", "numpy", "pyarrow")
"""What the extra `cli` brings."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except KeyboardInterrupt:  # while it loads, as a rule: each has its own words later
        return _fail("stopped", 130)


def _run(words: list[str]) -> int:
    name = words[0] if words else "--help"
    if name == "serve":
        from together_embed.local.serve import serve

        return serve(words[1:])
    if name in ("embed", "plan", "check"):
        return _extra(words)
    if name in ("-h", "--help"):
        return _show(USAGE)
    if name == "--version":
        return _show(f"together-embed {__version__}\n")
    return _fail(f"there is no command {name!r}; see together-embed --help", 2)


def _extra(words: list[str]) -> int:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return _fail(
            f'{words[0]} needs {", ".join(missing)}: pip install "together-embed[cli]"',
            1,
        )
    from together_embed.cli.commands import run

    return run(words[0], words[1:])


def _show(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, say; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"together-embed: {message}\n")
    return code
