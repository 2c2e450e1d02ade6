"""The command line's words: what each command takes, and how it answers.

The work is done elsewhere; here are options, files' names and the form of the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
import msgspec

from together_embed.cli.exits import USAGE, CommandError, ending
from together_embed.cli.formats import SOURCES, STDIN, open_source, written
from together_embed.client import EmbeddingsClient

Command = TypeVar("Command", bound=Callable[..., Any])
WIDTH = 80
MODEL_VARIABLE = "TOGETHER_MODEL"


def run(name: str, words: Sequence[str]) -> int:
    """Run a command, and return its exit code."""
    command = {"embed": embed, "plan": plan, "check": check}[name]
    prog = f"together-embed {name}"
    return ending(
        name,
        lambda: command.main(list(words), prog_name=prog, standalone_mode=False),
    )


class Answer(Protocol):
    """What a command has found out or done; its fields are its JSON."""

    @property
    def code(self) -> int:
        """The exit code."""

    def lines(self) -> list[str]:
        """Return it in words."""


def _answer(answer: Answer, as_json: bool) -> int:
    if as_json:
        text = msgspec.json.encode(answer).decode()
    else:
        text = "\n".join(answer.lines())
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return answer.code


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _command(words: str) -> Callable[[Callable[..., int]], click.Command]:
    names = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
    return click.command(context_settings=names, help=words)


_count = click.IntRange(min=1)
_path = click.Path(path_type=Path)


def _model(*, required: bool) -> Callable[[Command], Command]:
    return click.option(
        "-m",
        "--model",
        metavar="NAME",
        envvar=MODEL_VARIABLE,
        required=required,
        help=f"The model [{MODEL_VARIABLE}].",
    )


_server = _options(
    click.option("--base-url", metavar="URL", help="The server [TOGETHER_BASE_URL]."),
    click.option("--dimensions", metavar="N", type=_count, help="Width to ask for."),
)
_columns = _options(
    click.option("--text", metavar="COLUMN", help="Column of the texts [text, …]."),
    click.option("--id", "id_", metavar="COLUMN", help="Column of the ids [id, …]."),
    click.option(
        "--format",
        "kind",
        metavar="FORMAT",
        type=click.Choice(SOURCES),
        help="Format of IN, where its name does not tell.",
    ),
)
_batch = click.option(
    "--batch-size",
    metavar="N",
    type=_count,
    default=100,
    show_default=True,
    help="Texts a request.",
)
_cache = click.option(
    "--cache",
    metavar="FILE",
    type=_path,
    help="Where vectors are kept [OUT.cache.sqlite].",
)
_prefix = click.option(
    "--prefix", "document_prefix", metavar="TEXT", help="Goes in front of each text."
)
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@_command(
    "Embed IN (txt, jsonl, csv, tsv, parquet; - is stdin) into OUT (parquet, jsonl, "
    "npy). Stopped and run again, it goes on."
)
@click.argument("in_", metavar="IN")
@click.argument("out", metavar="OUT", type=_path)
@_model(required=True)
@_server
@_columns
@_prefix
@_batch
@click.option(
    "--max-concurrency",
    metavar="N",
    type=_count,
    help="Requests at once [what the server carries].",
)
@click.option(
    "--requests-per-second",
    metavar="X",
    type=float,
    help="At most [as the server lets].",
)
@_cache
@click.option(
    "--keep-cache", is_flag=True, help="Keep that file when the work is whole."
)
@click.option(
    "--column",
    metavar="NAME",
    default="embedding",
    help="What to call the vectors.",
    show_default=True,
)
@click.option("--no-text", is_flag=True, help="Leave the texts out of OUT.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where it is there.")
@_json
def embed(
    in_: str,
    out: Path,
    cache: Path | None,
    text: str | None,
    id_: str | None,
    kind: str | None,
    keep_cache: bool,
    column: str,
    no_text: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Embed a file's texts, and write the vectors to another."""
    from together_embed.cli.embedding import Job
    from together_embed.cli.sinks import Layout

    _check_out(in_, out, overwrite)
    kept = cache or _beside(out)
    # Vectors of two models in one file would be worth nothing.
    client = EmbeddingsClient(cache=kept, on_drift="error", **settings)
    client.settings.require_key()
    about = {"model": client.settings.model, "endpoint": client.settings.base_url}
    if prefix := client.settings.roles.prefix("document"):
        about["prefix"] = prefix
    layout = Layout(column, not no_text, about)
    source = open_source(in_, kind, text, id_)
    try:
        keeps = keep_cache or cache is not None
        job = Job(client, source, out, layout, kept, keeps)
        return _answer(job.run(), as_json)
    finally:
        source.close()
        client.close()


def _check_out(in_: str, out: Path, overwrite: bool) -> None:
    for path in written(out):
        if not path.exists():
            continue
        if in_ != STDIN and os.path.exists(in_) and path.samefile(in_):
            raise CommandError(f"{path} is IN; name another OUT", USAGE)
        if not overwrite:
            raise CommandError(
                f"{path} is there already; replace it with --overwrite, or name "
                "another OUT",
                USAGE,
            )


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.cache.sqlite")


@_command(
    "Say what embedding the texts of IN would take. Nothing is sent.\n\n"
    "With the OUT or the --cache of an earlier run, what that has done is left out."
)
@click.argument("in_", metavar="IN")
@click.argument("out", metavar="[OUT]", type=_path, required=False)
@_model(required=False)
@_server
@_columns
@_prefix
@_batch
@click.option(
    "--requests-per-second", metavar="X", type=float, help="A limit, for the time."
)
@click.option("--context", metavar="N", type=_count, help="Tokens the model reads.")
@_cache
@_json
def plan(
    in_: str,
    out: Path | None,
    model: str | None,
    text: str | None,
    id_: str | None,
    kind: str | None,
    context: int | None,
    cache: Path | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Say what `embed` would have to do."""
    from together_embed.cli.planning import Wish, survey

    kept = cache or (_beside(out) if out else None)
    source = open_source(in_, kind, text, id_)
    try:
        wish = Wish(model, context, kept, settings)
        return _answer(survey(source, wish), as_json)
    finally:
        source.close()


@_command(
    "Ask the server a few questions, and say what works and what to do.\n\n"
    "Eight short texts are sent in six requests. The key is that in TOGETHER_API_KEY."
)
@_model(required=True)
@_server
@click.option("--timeout", metavar="S", type=float, default=30.0, help="Seconds [30].")
@_json
def check(as_json: bool, **settings: Any) -> int:
    """Say what the server answers."""
    from together_embed.cli.checking import examine

    return _answer(examine(EmbeddingsClient(max_retries=0, **settings)), as_json)
