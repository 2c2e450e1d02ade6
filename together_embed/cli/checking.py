"""The work of `together-embed check`: a few questions to a server, and what they show.

Nothing is retried: what a server says at first is what there is to see.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from statistics import median

from together_embed.cli.asking import Answered, Asking
from together_embed.cli.exits import DONE, FAILED, reason
from together_embed.client import EmbeddingsClient
from together_embed.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    EmbeddingsError,
    ForbiddenError,
    ModelNotAvailableError,
    RequestTimeoutError,
    UnprocessableError,
)
from together_embed.settings import Settings

TEXTS = ("How tall is the Eiffel Tower?", "A recipe for onion soup.")
QUERIES = 4
"""Requests that are timed, after the first has opened the connection."""
LIMITS = re.compile(r"x-(ratelimit|tokenlimit)-|retry-after", re.IGNORECASE)
UNIT = 1e-3
"""How far from 1 the norm of a normalised vector may be."""
LABEL = 11
WIDTH = 79


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        ok: Whether it is as it should be; None where there is no should.
        value: What was found.
        remedy: What to do where it is not as it should be.
    """

    name: str
    ok: bool | None
    value: str
    remedy: str | None = None


@dataclass(frozen=True)
class Examination:
    """All that was found.

    Attributes:
        ok: Whether texts can be embedded.
        findings: One for each thing that was looked at.
    """

    ok: bool
    findings: list[Finding]

    @property
    def code(self) -> int:
        """The exit code."""
        return DONE if self.ok else FAILED

    def lines(self) -> list[str]:
        """Return it in words."""
        said: list[str] = []
        for finding in self.findings:
            mark = {True: "ok", False: "NO", None: "  "}[finding.ok]
            label = f"{mark} {finding.name}".ljust(LABEL + 3)
            words = ". ".join(filter(None, (finding.value, finding.remedy)))
            indent = " " * len(label)
            said += textwrap.wrap(
                words, WIDTH, initial_indent=label, subsequent_indent=indent
            )
        return said


def examine(client: EmbeddingsClient) -> Examination:
    """Ask a client's server, and say what was found.

    Raises:
        ConfigurationError: A setting cannot work, or there is no key.
    """
    settings = client.settings
    settings.require_key()
    asking = Asking(settings)
    try:
        findings = list(_findings(asking, settings))
    finally:
        asking.close()
    return Examination(all(f.ok is not False for f in findings), findings)


def _findings(asking: Asking, settings: Settings) -> Iterator[Finding]:
    yield Finding("server", None, settings.base_url)
    try:
        first = asking.ask(*TEXTS)
    except EmbeddingsError as error:
        yield from _failed(error, settings)
        return
    has_key = settings.key.reveal() is not None
    yield Finding("key", True, "accepted" if has_key else "none is set, none is needed")
    yield _model(first, settings)
    yield _width(first, settings)
    yield _norm(first)
    yield _base64(asking, first)
    yield _limits(first)
    yield _time(asking, first)


def _failed(error: EmbeddingsError, settings: Settings) -> Iterator[Finding]:
    """Say what the first answer shows, if it is a failure."""
    subject = "request"
    if isinstance(error, (AuthenticationError, ForbiddenError)):
        subject = "key"
    elif isinstance(error, ModelNotAvailableError):
        subject = "model"
    elif isinstance(error, (ConnectionFailedError, RequestTimeoutError)):
        subject = "connection"
    if subject in ("model", "request"):
        yield Finding("model", None, settings.model)
    yield Finding(subject, False, reason(error))


def _model(first: Answered, settings: Settings) -> Finding:
    if first.model in (None, settings.model):
        return Finding("model", True, settings.model)
    return Finding(
        "model",
        None,
        f"{settings.model}, which the server calls {first.model}",
        "Make sure that it is the model that your index was built with.",
    )


def _width(first: Answered, settings: Settings) -> Finding:
    width, asked = len(first.rows[0]), settings.dimensions
    if asked in (None, width):
        return Finding("width", True, f"{width:,}")
    return Finding(
        "width",
        False,
        f"{width:,}, although {asked:,} was asked for",
        "This server ignores dimensions: leave it out",
    )


def _norm(first: Answered) -> Finding:
    norms = [hypot(*row) for row in first.rows]
    if all(abs(norm - 1) <= UNIT for norm in norms):
        return Finding("norm", None, "1: vectors are normalised")
    shown = " and ".join(f"{norm:.3f}" for norm in norms)
    return Finding(
        "norm",
        None,
        f"{shown}: vectors are not normalised",
        "Let your index compare them by cosine, not by dot product",
    )


def _base64(asking: Asking, first: Answered) -> Finding:
    try:
        answer = asking.ask(*TEXTS, encoding_format="base64")
    except (BadRequestError, UnprocessableError):
        value = "refused; the client asks for floats from then on"
    except EmbeddingsError as error:
        value = f"unknown: {reason(error)}"
    else:
        value = "honoured" if answer.base64 else "ignored: numbers come as text"
        if answer.base64 and len(answer.rows[0]) != len(first.rows[0]):
            return Finding("base64", False, "of another width", FLOAT)
    return Finding("base64", None, value)


FLOAT = 'Make clients with encoding_format="float"'


def _time(asking: Asking, first: Answered) -> Finding:
    try:
        times = [asking.ask(f"{TEXTS[0]} {n}").seconds * 1000 for n in range(QUERIES)]
    except EmbeddingsError as error:
        return Finding("a query", None, f"unknown: {reason(error)}")
    span = f"{min(times):.0f} to {max(times):.0f}"
    return Finding(
        "a query",
        None,
        f"{median(times):.0f} ms (median of {QUERIES}, {span}; the first request "
        f"took {first.seconds * 1000:.0f})",
    )


def _limits(first: Answered) -> Finding:
    """Show what the answer's headers say of limits, as it stands there."""
    said = [
        f"{name.lower()}: {value[:40]}"
        for name, value in first.headers.items()
        if LIMITS.match(name)
    ]
    return Finding("limits", None, ", ".join(said[:8]) or "none announced")
