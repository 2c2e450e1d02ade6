"""How a command ends: its exit code, and one line for whatever went wrong."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import click

from together_embed.errors import ConfigurationError, EmbeddingsError

DONE, FAILED, USAGE, SOME_FAILED, STOPPED = 0, 1, 2, 3, 130
"""130 is what shells report of a program that Ctrl-C ended."""


class CommandError(Exception):
    """A command cannot do its work; the message is one line and names a remedy.

    Attributes:
        code: The exit code.
    """

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def ending(name: str, work: Callable[[], Any], options: Mapping[str, str]) -> int:
    """Run a command and return its exit code; say in one line what went wrong.

    Args:
        name: What the command is called.
        work: Does it.
        options: Its options, by the names of the settings that they stand for.
    """
    try:
        with _warnings_in_a_line(name):
            return int(work() or DONE)
    except click.UsageError as error:
        wrong = error.format_message().rstrip(".")
        return _say(name, f"{wrong}; see together-embed {name} --help", USAGE)
    except CommandError as error:
        return _say(name, str(error), error.code)
    except ConfigurationError as error:
        return _say(name, _spelled(str(error), options), USAGE)
    except EmbeddingsError as error:
        return _say(name, reason(error), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return _say(name, "stopped", STOPPED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(name, f"{where}{error.strerror or error}", FAILED)


def reason(error: EmbeddingsError) -> str:
    """Return what an error says, without numbers of texts that only a program knows."""
    bare = copy(error)
    bare.indices = ()
    return str(bare)


def _spelled(words: str, options: Mapping[str, str]) -> str:
    """Call settings by the options of the command; only programs can pass the key."""
    words = words.replace(" or pass api_key", "")
    settings = r"\b[a-z]+(?:_[a-z]+)+\b"  # not those that are plain words, as "model"
    return re.sub(settings, lambda found: options.get(found[0], found[0]), words)


def _say(name: str, message: str, code: int) -> int:
    line = f"together-embed {name}: {' '.join(message.split())}"
    if sys.stderr.isatty():  # which would break it amid a word
        columns = max(40, shutil.get_terminal_size().columns - 1)
        line = textwrap.fill(
            line, columns, break_long_words=False, break_on_hyphens=False
        )
    sys.stderr.write(f"{line}\n")
    return code


@contextmanager
def _warnings_in_a_line(name: str) -> Iterator[None]:
    """Show a warning as what it says, without the line of code that raised it."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _say(name, f"warning: {message}", DONE)

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
