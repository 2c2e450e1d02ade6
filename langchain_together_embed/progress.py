"""The bar of `show_progress_bar`: tqdm's, moved by the core."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from together_embed.engine.telling import OnProgress
from together_embed.errors import ConfigurationError


def needs_tqdm() -> None:
    """Say what to install where there is nothing to draw a bar with.

    Raises:
        ConfigurationError: tqdm is not installed.
    """
    if find_spec("tqdm") is None:
        raise ConfigurationError("show_progress_bar=True needs tqdm: pip install tqdm")


@contextmanager
def bar(texts: Sized, *, shown: bool) -> Iterator[OnProgress | None]:
    """Show a bar that counts texts for the time of the block, if it is to be shown."""
    if not shown:
        yield None
        return
    tqdm = import_module("tqdm.auto").tqdm  # for those who want to see a bar
    with tqdm(total=len(texts), unit="text", desc="Embedding") as drawn:
        yield drawn.update
