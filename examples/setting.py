"""What the examples share: a server that embeds, and a text to search."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from together_embed.local import LocalEndpoint

HANDBOOK = Path(__file__).with_name("handbook.md")
"""Of a lighthouse that is made up."""

MODEL = os.environ.get("TOGETHER_MODEL", "intfloat/multilingual-e5-large-instruct")


class Passage(NamedTuple):
    """A paragraph, and the heading that it stands under."""

    text: str
    heading: str


@contextmanager
def server() -> Iterator[None]:
    """Embed with Together where there is a key, else with the local endpoint.

    The local endpoint hashes words and needs no network. It is found as any server is:
    by the two variables that the adapters read.
    """
    if os.environ.get("TOGETHER_API_KEY"):
        yield
        return
    with LocalEndpoint() as local:
        os.environ["TOGETHER_API_KEY"] = "local"
        os.environ["TOGETHER_BASE_URL"] = local.base_url
        yield


def passages(page: Path = HANDBOOK) -> list[Passage]:
    """Cut a page into its paragraphs."""
    found, heading = [], ""
    for block in page.read_text().split("\n\n"):
        if block.startswith("#"):
            heading = block.strip("# \n")
        else:
            found.append(Passage(block.strip(), heading))
    return found


def shown(text: str) -> str:
    """Indent a passage, and break its lines where a terminal would."""
    margin = " " * 8
    return textwrap.fill(text, 80, initial_indent=margin, subsequent_indent=margin)
