"""Names the ways in which an answer can go wrong, as plain values.

A `Fault` says what happens to one request. It does nothing itself: `carry.py` carries
it out, `schedule.py` chooses which request it befalls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal[
    # Instead of an answer of 200:
    "status",  # a status of your choice, its body in one of many shapes
    "redirect",  # 301, 302, 303, 307 or 308 to `location`
    "echo",  # an error whose message repeats the Authorization header
    "reset",  # the connection is reset before the answer begins
    "hang_up",  # the connection is closed, in good order, before the answer begins
    "hang",  # never an answer, and the connection stays open
    # On the way of an answer:
    "cut",  # closed in the middle of the body
    "reset_midway",  # reset in the middle of the body
    "delay",  # an answer `seconds` later
    "drip",  # the body comes one byte every `seconds`
    "close",  # closed after the answer, without saying so in a header
    # In the body of an answer:
    "reorder",  # the rows in another order, each with its right index
    "integers",  # whole numbers without a point: 0 for 0.0
    "short",  # the last row is missing
    "extra",  # one row too many
    "duplicate",  # two rows with one index
    "truncated",  # the JSON ends half way, and the length agrees with it
    "not_json",  # a page of HTML with status 200
    "no_data",  # an object without `data`
    "nan",  # the literal NaN in a vector
    "null_number",  # a null in a vector
    "null_row",  # null for a vector
    "empty_row",  # [] for a vector
    "uneven",  # one vector is shorter than the others
    "strings",  # the numbers as strings
    # What is meant to harm:
    "flood",  # a body of `size` bytes
    "nested",  # `size` opening brackets
    "bomb",  # `size` zeros, compressed
    "long_header",  # a header of `size` bytes
    "long_length",  # a Content-Length that promises more than comes
    "short_length",  # a Content-Length of less than what comes
]
Shape = Literal["schema", "bare", "detail", "details", "html", "text", "empty"]

_LAWFUL: frozenset[Kind] = frozenset(
    ("reorder", "integers", "delay", "drip", "close"),
)
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True)
class Fault:
    """One way to fail, for one request.

    Attributes:
        kind: What happens; each kind is explained beside its name in this module.
        status: HTTP status for the kinds `status`, `redirect` and `echo`.
        shape: Form of the error's body for the kind `status`: `schema` as the contract
            has it, `bare` with a message and nothing else, `detail` a string,
            `details` a list that repeats the input, `html`, `text`, `empty`.
        body: A body of your own instead, sent as it is, as JSON where it looks so.
        headers: Headers added to the answer.
        message: The error's message; a plain one by default.
        type: The error's `type`, where the shape has one.
        code: The error's `code`, where the shape has one.
        seconds: How long, for `delay`; how long between two bytes, for `drip`.
        size: How many bytes, for the kinds that flood.
        location: Where a `redirect` points.
    """

    kind: Kind
    status: int = 200
    shape: Shape = "schema"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    type: str | None = None
    code: str | None = None
    seconds: float = 0.05
    size: int = 1 << 20
    location: str = "/v1/embeddings"

    def __post_init__(self) -> None:
        """Refuse what no request could meet."""
        if self.kind not in get_args(Kind):
            known = ", ".join(get_args(Kind))
            raise ValueError(f"no fault is called {self.kind!r}; there are: {known}")
        if self.shape not in get_args(Shape):
            raise ValueError(f"no error has the shape {self.shape!r}")
        if self.kind == "redirect" and self.status not in _REDIRECTS:
            raise ValueError(f"{self.status} is no redirect")
        if self.kind in ("status", "echo") and not 400 <= self.status <= 599:
            raise ValueError(f"an error has a status of 400 to 599, not {self.status}")

    @property
    def lawful(self) -> bool:
        """Whether the answer, odd as it is, keeps the contract."""
        return self.kind in _LAWFUL

    @classmethod
    def redirect(cls, status: int = 307, location: str = "/v1/embeddings") -> "Fault":
        """Point the client to `location` with 301, 302, 303, 307 or 308."""
        return cls("redirect", status=status, location=location)

    @classmethod
    def echo(cls, status: int = 401) -> "Fault":
        """Repeat the Authorization header in the error, as careless servers do."""
        return cls("echo", status=status)

    @classmethod
    def of(cls, what: "Fault | Kind | int") -> "Fault":
        """Make a fault of a status, of a kind's name, or of a fault itself."""
        if isinstance(what, Fault):
            return what
        if isinstance(what, int):
            if what in _REDIRECTS:
                return cls.redirect(what)
            return cls("status", status=what)
        if what in ("echo", "redirect"):
            return cls.echo() if what == "echo" else cls.redirect()
        return cls(what)


def _statuses(*pairs: tuple[int, Shape]) -> tuple[Fault, ...]:
    return tuple(Fault("status", status=status, shape=shape) for status, shape in pairs)


#: Answers that are odd and right: a client takes them as they are.
LAWFUL: tuple[Fault, ...] = (
    Fault("reorder"),
    Fault("integers"),
    Fault("close"),
)

#: Statuses that pass: the same request may be answered a moment later.
PASSING: tuple[Fault, ...] = _statuses(
    (429, "schema"),
    (500, "schema"),
    (500, "details"),
    (502, "html"),
    (503, "schema"),
    (503, "detail"),
    (504, "text"),
    (520, "empty"),
    (522, "html"),
    (524, "html"),
    (529, "empty"),
)

#: Connections that break before a whole answer is there.
BROKEN: tuple[Fault, ...] = (
    Fault("reset"),
    Fault("hang_up"),
    Fault("cut"),
    Fault("reset_midway"),
)

#: Answers of status 200 that no client may believe.
WRONG: tuple[Fault, ...] = (
    Fault("short"),
    Fault("extra"),
    Fault("duplicate"),
    Fault("truncated"),
    Fault("not_json"),
    Fault("no_data"),
    Fault("nan"),
    Fault("null_number"),
    Fault("null_row"),
    Fault("empty_row"),
    Fault("uneven"),
    Fault("strings"),
)

#: Statuses that asking again does not cure.
FATAL: tuple[Fault, ...] = _statuses(
    (400, "schema"),
    (400, "details"),
    (401, "schema"),
    (401, "bare"),
    (402, "schema"),
    (403, "schema"),
    (404, "schema"),
    (413, "html"),
    (422, "details"),
    (422, "schema"),
)

#: Every way to go wrong that a patient client gets over, without waiting for a timeout.
EVERY_WAY: tuple[Fault, ...] = PASSING + BROKEN + WRONG + LAWFUL
