"""What this process has learned of the servers that its clients talk to.

A server that refuses base64, or more than so many texts a request, refuses them from
the next client as well: clients of one base URL and model share what one of them found
out. A forked child starts with what its parent knew.
"""

from __future__ import annotations

from contextlib import suppress

from together_embed.engine.plan import Dialect
from together_embed.settings import Settings

MOST = 256
"""Servers and models that are remembered; the oldest are forgotten first."""

_Place = tuple[str, str, int]
_known: dict[_Place, Dialect] = {}


def dialect(settings: Settings) -> Dialect:
    """Return how the server of these settings wants to be asked, as far as is known.

    Where the encoding is the user's choice, only the size of requests is shared.
    """
    # A gateway may choose the server behind it by headers and query.
    rest = (*settings.headers.items(), *settings.query.items())
    place = settings.base_url, settings.model, hash(frozenset(rest))
    shared = _known.setdefault(place, Dialect(None))  # atomic: threads need no lock
    with suppress(KeyError, RuntimeError):  # another thread was faster
        while len(_known) > MOST:
            del _known[next(iter(_known))]
    chosen = settings.chosen_base64
    if chosen is None:
        return shared
    return Dialect(chosen, learns=False, portion=shared.portion)


def forget(base_url: str) -> None:
    """Forget what is known of a base URL: another server is there now."""
    for place in [*_known]:
        if place[0] == base_url:
            _known.pop(place, None)
