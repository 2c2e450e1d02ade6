"""The command `together-embed`: subcommands by name, each loaded when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = """\
usage: together-embed <command> [options]

commands:
  serve    run an embeddings endpoint on this machine, for trying things out

`together-embed <command> --help` tells more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["serve"]:
        from together_embed.local.serve import serve

        return serve(words[1:])
    asked = not words or words[0] in ("-h", "--help")
    (sys.stdout if asked else sys.stderr).write(USAGE)
    return 0 if asked else 2
