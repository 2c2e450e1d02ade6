"""Numbers as people read them."""

from __future__ import annotations


def clock_words(seconds: float) -> str:
    """Return a length of time as people read it."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def many(count: int, noun: str) -> str:
    """Return a number of things; `noun` names one of them."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
