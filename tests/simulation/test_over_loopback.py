"""The client against the modelled servers, as `python -m simulation.wire` lets it.

What shares they reach is the business of a quiet machine, and not looked at here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simulation.page import find_table, put_table
from simulation.wire import HEADING, ON_THE_WIRE, carry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tuning.md"
TRIED = ("429 above 8", "at most 32 texts a request", "1 in 10 fails, 32 slots")


@pytest.mark.parametrize("name", TRIED)
def test_real_clients_get_their_texts_from_a_modelled_server(name: str) -> None:
    (regime,) = (one for one in ON_THE_WIRE if one.name == name)
    result = carry(replace(regime, seconds=1.0))
    assert result.requests > 10
    assert result.share > 0
    assert not result.failed


def test_the_table_on_the_page_has_every_regime() -> None:
    rows = find_table(PAGE.read_text(), HEADING).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [
        regime.name for regime in ON_THE_WIRE
    ]


def test_a_table_is_found_by_its_heading_and_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n| a | b |\n|---|---|\n| old | 1 |\n\nafter\n")
    put_table(page, "| a | b |\n|---|---|", ["| new | 2 |"])
    assert page.read_text() == "before\n\n| a | b |\n|---|---|\n| new | 2 |\n\nafter\n"
    with pytest.raises(ValueError, match="no table"):
        put_table(page, "| c |\n|---|", [])
