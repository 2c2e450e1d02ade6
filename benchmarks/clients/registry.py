"""Keep the list of clients that are compared, and what each is told.

A client is a function that takes a `Job` and returns its `embed`. What that does is
the client's form: "lists" and "array" take texts and give one vector a text, in order;
"query" takes one text and gives its vector. Where `embed` is a coroutine function, the
function itself was called on the event loop that `embed` will run on. Nothing is
imported at the top of a client's module that only its own environment holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Embed = Callable[[Any], Any]
Make = Callable[["Job"], Embed]
Colour = Literal["sync", "async"]
Form = Literal["lists", "array", "query"]
Home = Literal["ours", "peers"]

MODEL = "bench/canned"
KEY = "not-a-key"


@dataclass
class Job:
    """What a client is told: where the server is, and how to go about it."""

    url: str  # ends in /v1
    batch: int
    concurrency: int
    closers: list[Callable[[], Awaitable[None] | None]] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The URL for those who add `/v1` themselves."""
        return self.url.removesuffix("/v1")

    def cut(self, texts: list[str]) -> list[list[str]]:
        """Return `texts` in batches."""
        return [texts[i : i + self.batch] for i in range(0, len(texts), self.batch)]


@dataclass(frozen=True)
class Client:
    """One row of the table."""

    name: str
    colour: Colour
    make: Make
    home: Home  # whose environment it runs in
    package: str  # whose version is reported
    share: int  # it is given one text in so many: the slow get fewer
    asks_base64: bool  # of its own accord
    form: Form = "lists"

    @property
    def key(self) -> str:
        """The name that is one client's alone."""
        form = "" if self.form == "lists" else f", {self.form}"
        return f"{self.name}, {self.colour}{form}"


CLIENTS: dict[str, Client] = {}


def client(
    name: str,
    colour: Colour,
    *,
    home: Home,
    package: str,
    share: int = 1,
    asks_base64: bool = False,
    form: Form = "lists",
) -> Callable[[Make], Make]:
    """Put the decorated function on the list."""

    def register(make: Make) -> Make:
        made = Client(name, colour, make, home, package, share, asks_base64, form)
        CLIENTS[made.key] = made
        return make

    return register
