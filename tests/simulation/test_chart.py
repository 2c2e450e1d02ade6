"""The pictures that are drawn of the simulation's results."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from simulation import chart
from simulation.measure import Result

SVG = "{http://www.w3.org/2000/svg}"


def result(name: str, share: float, refused: float = 0.0) -> Result:
    return Result(name, share, refused, 0.0, 1.0, 100, 0)


def bars(picture: str) -> list[float]:
    boxes = ElementTree.fromstring(picture).iter(f"{SVG}rect")
    return [float(box.attrib["width"]) for box in boxes if box.get("class") == "bar"]


def test_a_bar_is_as_long_as_its_share() -> None:
    half, whole = bars(chart.regimes([result("a", 0.5), result("b", 1.0)]))
    assert half * 2 == whole == chart.LONGEST


def test_a_share_over_one_stays_within_the_picture() -> None:
    assert bars(chart.regimes([result("a", 1.3)])) == [chart.LONGEST]


def test_names_and_refusals_are_written_out() -> None:
    picture = chart.regimes([result("<10 & more", 0.5, refused=0.123)])
    words = [text.text for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    assert "<10 & more" in words
    assert "12.3%" in words


def test_what_is_followed_is_drawn_beside_what_would_be_ideal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = [replace(regime, seconds=10.0) for regime in chart.REGIMES]
    monkeypatch.setattr(chart, "REGIMES", short)
    picture = ElementTree.fromstring(chart.following())
    lines = [line.get("class") for line in picture.iter(f"{SVG}polyline")]
    assert lines == ["ideal", "line"] * len(chart.FOLLOWED)
