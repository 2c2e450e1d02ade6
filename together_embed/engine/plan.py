"""What all jobs of a client have in common, what a client has learned, and a request.

Plain values, but for `Dialect`, which changes as answers come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec import Struct

from together_embed.engine import wire
from together_embed.engine.batching import Batch
from together_embed.engine.lengths import Limit
from together_embed.engine.portion import Portion
from together_embed.engine.shape import AS_SENT, Shape
from together_embed.engine.signals import Permit


@dataclass
class Dialect:
    """What a client has learned about the way its server wants to be asked.

    Attributes:
        base64: Whether the server takes `encoding_format: base64`; None where nobody
            knows yet.
        learns: Whether that may change; False where the user chose the encoding.
        portion: How large a request it takes.
        honoured: Requests that asked for base64 and were answered right.
    """

    base64: bool | None
    learns: bool = True
    portion: Portion = field(default_factory=Portion)
    honoured: int = 0


@dataclass(frozen=True)
class Plan:
    """What all jobs of a client have in common.

    Attributes:
        model: The model's name, as it is sent.
        extra: Further fields of the request's body.
        batch_size: Texts a request, at most.
        max_batch_bytes: Bytes of a request's body, at most.
        timeout: Seconds from sending a request to its whole answer, or None.
        deadline: Seconds for a whole call, or None.
        width: The width that every vector must have, or None.
        scrub: Takes the key out of a server's words.
        allow_blank: Whether blank texts are sent.
        keeps: Whether answers are put into `fresh`, for a store.
        limit: How long texts may be, and what is done with longer ones, or None.
        shape: What is done to vectors before they are handed out.
        ready: Raises where nothing can be sent, for want of a key.
    """

    model: str
    extra: Mapping[str, Any]
    batch_size: int
    max_batch_bytes: int
    timeout: float | None
    deadline: float | None
    width: int | None
    scrub: Callable[[str], str]
    allow_blank: bool = False
    keeps: bool = False
    limit: Limit | None = None
    shape: Shape = AS_SENT
    ready: Callable[[], object] | None = None

    @cached_property
    def asking(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The further fields of a request for floats, and of one for base64."""
        return self.extra, {**self.extra, "encoding_format": "base64"}

    @cached_property
    def room(self) -> int:
        """Bytes of texts that fit into a body beside its other fields."""
        return self.max_batch_bytes - len(wire.encode(self.model, [], self.asking[1]))


class Ticket(Struct, eq=False):
    """One request on its way.

    Attributes:
        body: The bytes to post.
        batch: What they ask for.
        sent_at: When it was launched.
        seconds: How long it may take, to its whole answer; None means without end.
        base64: Whether it asks for base64.
        permit: The flow's leave to send it.
        over: Its outcome is known, or no longer wanted.
        expected: It was refused as a probe of the flow's own choice.
        serves: The server answered others right, not long before its outcome came.
        twin: The other request for the same batch, while both may bring its vectors.
        other: The same, for good.
        beaten: Its twin brought them.
    """

    body: bytes
    batch: Batch
    sent_at: float
    seconds: float | None
    base64: bool
    permit: Permit
    over: bool = False
    expected: bool = False
    serves: bool = False
    twin: Ticket | None = None
    other: Ticket | None = None
    beaten: bool = False


class Step(Struct, frozen=True):
    """What a driver has to do next.

    Attributes:
        launches: Requests to send now.
        patience: Seconds to wait for a landing or a wake; None means without end.
        expired: Requests whose time is over: nobody waits for them any more.
        alone: The one request to send is all that there is to do, and to wait for.
    """

    launches: list[Ticket]
    patience: float | None
    expired: list[Ticket]
    alone: bool = False
