"""The options that several commands share, and how a command is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from together_embed.cli.formats import SOURCES

Command = TypeVar("Command", bound=Callable[..., Any])
WIDTH = 80
"""Columns of a terminal: help is not set wider where there are more."""
MODEL_VARIABLE = "TOGETHER_MODEL"


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def command(words: str) -> Callable[[Callable[..., int]], click.Command]:
    """Make a command of a function; `words` is what its help says of it."""
    names = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
    return click.command(context_settings=names, help=words)


count = click.IntRange(min=1)
path = click.Path(path_type=Path)


def model(*, required: bool) -> Callable[[Command], Command]:
    """Return the option that names the model."""
    return click.option(
        "-m",
        "--model",
        metavar="NAME",
        envvar=MODEL_VARIABLE,
        required=required,
        help=f"The model [{MODEL_VARIABLE}].",
    )


server = _all(
    click.option("--base-url", metavar="URL", help="The server [TOGETHER_BASE_URL]."),
    click.option(
        "--dimensions", metavar="N", type=count, help="Vector width to request."
    ),
)
columns = _all(
    click.option("--text", metavar="COLUMN", help="Column of the texts [text, …]."),
    click.option("--id", "id_", metavar="COLUMN", help="Column of the ids [id, …]."),
    click.option(
        "--format",
        "kind",
        metavar="FORMAT",
        type=click.Choice(SOURCES),
        help="Format of IN, if not clear from its name.",
    ),
)
batch = click.option(
    "--batch-size",
    metavar="N",
    type=count,
    default=100,
    show_default=True,
    help="Maximum texts in a request.",
)
lengths = _all(
    click.option(
        "--on-long-input",
        metavar="HOW",
        type=click.Choice(("error", "truncate", "split")),
        help="Long texts: error, truncate, split.",
    ),
    # Of use with the first only, which its errors and the page say: help is one screen.
    click.option("--max-input-tokens", metavar="N", type=count, hidden=True),
    click.option("--tokenizer", metavar="FILE", hidden=True),
)
cache = click.option(
    "--cache",
    metavar="FILE",
    type=path,
    help="File to resume from [OUT.cache.sqlite].",
)
prefix = click.option(
    "--prefix", "document_prefix", metavar="TEXT", help="Text to put before each text."
)
json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
