"""The command line's words: what each command takes, and how it answers.

The work is done elsewhere; here are options, files' names and the form of the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec

from together_embed.cli import options
from together_embed.cli.exits import USAGE, CommandError, ending
from together_embed.cli.formats import STDIN, open_source, written
from together_embed.client import EmbeddingsClient


def run(name: str, words: Sequence[str]) -> int:
    """Run a command, and return its exit code."""
    command = {"embed": embed, "plan": plan, "check": check}[name]
    prog = f"together-embed {name}"
    return ending(
        name,
        lambda: command.main(list(words), prog_name=prog, standalone_mode=False),
        {option.name: option.opts[-1] for option in command.params if option.name},
    )


class Answer(Protocol):
    """What a command has found out or done; its fields are its JSON."""

    @property
    def code(self) -> int:
        """The exit code."""
        ...

    def lines(self) -> list[str]:
        """Return it in words."""
        ...


def _answer(answer: Answer, as_json: bool) -> int:
    if as_json:
        text = msgspec.json.encode(answer).decode()
    else:
        text = "\n".join(answer.lines())
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return answer.code


@options.command(
    "Embed IN (txt, jsonl, csv, tsv, parquet, -) into OUT (parquet, jsonl, npy)."
)
@click.argument("in_", metavar="IN")
@click.argument("out", metavar="OUT", type=options.path)
@options.model(required=True)
@options.server
@options.columns
@options.prefix
@options.lengths
@options.batch
@click.option(
    "--max-concurrency",
    metavar="N",
    type=options.count,
    help="Maximum requests in flight [adapts].",
)
@click.option(
    "--requests-per-second",
    metavar="X",
    type=float,
    help="Maximum request rate [adapts].",
)
@options.cache
@click.option("--keep-cache", is_flag=True, help="Keep that file when all is done.")
@click.option(
    "--column",
    metavar="NAME",
    default="embedding",
    help="Column of the vectors.",
    show_default=True,
)
@click.option("--no-text", is_flag=True, help="Leave the texts out of OUT.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@options.json
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
    if not out.parent.is_dir():
        raise CommandError(f"{out.parent} is no folder; create it first", USAGE)
    for path in written(out):
        if not path.exists():
            continue
        if in_ != STDIN and os.path.exists(in_) and path.samefile(in_):
            raise CommandError(f"{path} is IN; name another OUT", USAGE)
        if not overwrite:
            raise CommandError(
                f"{path} exists already; replace it with --overwrite, or name "
                "another OUT",
                USAGE,
            )


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.cache.sqlite")


@options.command(
    "Estimate what it takes to embed the texts of IN. Nothing is sent.\n\n"
    "With the OUT or the --cache of an earlier run, texts that are done do not count."
)
@click.argument("in_", metavar="IN")
@click.argument("out", metavar="[OUT]", type=options.path, required=False)
@options.model(required=False)
@options.server
@options.columns
@options.prefix
@options.batch
@click.option(
    "--requests-per-second",
    metavar="X",
    type=float,
    help="Rate limit, to estimate the time.",
)
@click.option(
    "--max-input-tokens",
    metavar="N",
    type=options.count,
    help="The model's context in tokens.",
)
@options.cache
@options.json
def plan(
    in_: str,
    out: Path | None,
    model: str | None,
    text: str | None,
    id_: str | None,
    kind: str | None,
    max_input_tokens: int | None,
    cache: Path | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Say what `embed` would have to do."""
    from together_embed.cli.planning import Wish, survey

    kept = cache or (_beside(out) if out else None)
    source = open_source(in_, kind, text, id_)
    try:
        wish = Wish(model, max_input_tokens, kept, settings)
        return _answer(survey(source, wish), as_json)
    finally:
        source.close()


@options.command(
    "Test the server: key, model, width, base64, limits, latency.\n\n"
    "Eight short texts are sent in six requests. The key is read from TOGETHER_API_KEY."
)
@options.model(required=True)
@options.server
@click.option(
    "--timeout",
    metavar="S",
    type=float,
    default=30.0,
    help="Seconds for a request [30].",
)
@options.json
def check(as_json: bool, **settings: Any) -> int:
    """Say what the server answers."""
    from together_embed.cli.checking import examine

    return _answer(examine(EmbeddingsClient(max_retries=0, **settings)), as_json)
