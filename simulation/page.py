"""Finds a table on a page by its heading, and puts another in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def find_table(text: str, heading: str) -> str:
    """Return the table that begins with the first line of this heading.

    Raises:
        ValueError: The text has no such table.
    """
    first = re.escape(heading.partition("\n")[0])
    found = re.search(rf"^{first}\n.*?(?=\n\n|\n*\Z)", text, re.S | re.M)
    if found is None:
        raise ValueError(f"no table begins with {heading}")
    return found[0]


def put_table(page: Path, heading: str, rows: Sequence[str]) -> None:
    """Replace the page's table of this heading.

    Raises:
        ValueError: The page has no such table.
    """
    text = page.read_text()
    table = "\n".join([heading, *rows])
    page.write_text(text.replace(find_table(text, heading), table, 1))
