"""Whether what answers is still what filled the store: name, width, weights, prefixes.

The store keeps a note of each model: what its first answers were like, the vector of a
fixed text, and the prefix that each role had. Here they are compared with what is now.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import blake2b
from math import hypot
from operator import mul

from together_embed.caution import warn
from together_embed.engine.roles import Role
from together_embed.engine.wire import excerpt
from together_embed.errors import ModelDriftError, ModelDriftWarning, RoleDriftWarning
from together_embed.settings import Settings
from together_embed.store import Note, Packed, Store, unpack

CANARY = "Miners took canaries along, which fell silent when the air was bad."
"""The fixed text. It goes out as it is, beside the first texts that a process sends."""
FAR = 0.01
"""The cosine distance from which on two vectors of the fixed text are of two models.

The same weights give vectors that differ by 1e-13 between batches, seen on servers of
float32; by some 1e-5 where each number is rounded to bfloat16 (2**-9), and a hundred
times that where weights have 8 bits. Other weights under one name are far beyond."""


class Watch:
    """Compares one client's model with the note of it in a store.

    Args:
        store: Where the note is.
        subject: What it is kept under.
        settings: The client's.
    """

    def __init__(self, store: Store, subject: bytes, settings: Settings) -> None:
        self._store = store
        self._subject = subject
        self._model = settings.model
        self._roles = settings.roles
        self._scrub = settings.scrub
        self._strict = settings.on_drift == "error"
        self._lock = threading.Lock()
        self._like: tuple[int, str | None] | None = None
        self._due: set[Role] = set()
        self._met: set[Role] = set()
        self._asks = settings.watches_weights
        self._asker: object = None
        self._drifted = ""

    @property
    def is_unsure(self) -> bool:
        """Whether the vector of the fixed text is wanted, and not here yet."""
        return self._asks

    @property
    def has_drifted(self) -> bool:
        """Whether that vector was another model's."""
        return bool(self._drifted)

    def canary(self, call: object) -> str | None:
        """Return the fixed text where a call is to send it along, once a process."""
        with self._lock:
            if not self._asks or self._asker is not None:
                return None
            self._asker = call
            return CANARY

    def end(self, call: object) -> None:
        """Let another call ask, where the one that should has not sent it."""
        with self._lock:
            if self._asker is call:
                self._asker = None

    def meet(self, role: Role) -> None:
        """Say that texts of a role are coming; what that means is looked up later."""
        if role not in self._met:
            self._due.add(role)
            self._met.add(role)

    def compare(self, width: int, model: str | None, canary: Packed | None) -> bool:
        """Compare an answer with what the first was like, which is noted.

        Returns:
            Whether it is of the same model, as far as it tells.

        Raises:
            ModelDriftError: It is of another model, and drift is an error. Weights are
                compared once: where they were others, each later answer is one too.
        """
        if self._drifted:
            return self._strict and self._tell(self._drifted)
        model = model and excerpt(model, self._scrub)  # a server's words, like others
        if canary is None and self._like == (width, model):
            return True
        with self._lock:
            noted = self._store.noted(self._subject) or Note()
            if noted.width is None:
                noted = replace(noted, width=width, model=model)
                self._store.note(self._subject, noted)
            if (noted.width, noted.model) != (width, model):
                return self._tell(
                    f"was {noted.model!r} of width {noted.width} when the cache was "
                    f"filled, and now answers as {model!r} of width {width}"
                )
            self._like = width, model
            return canary is None or self._compare_weights(noted, unpack(canary))

    def check_roles(self) -> None:
        """Warn, once a role, where the store was filled with other prefixes."""
        if not self._due:
            return
        with self._lock:
            noted = self._store.noted(self._subject)
            if noted is None or noted.width is None:  # nothing was kept so far
                return
            prefixes = dict(noted.prefixes or {})
            for role in sorted(self._due):
                mine = _digest(self._roles.prefix(role))
                if prefixes.setdefault(role, mine) != mine:
                    warn(RoleDriftWarning(self._other(role)))
            self._due.clear()
            if prefixes != noted.prefixes:
                changed = replace(noted, prefixes=prefixes)
                self._store.note(self._subject, changed)

    def _other(self, role: Role) -> str:
        now = repr(self._roles.prefix(role)[:40])
        return (
            f"the cache's vectors of {self._model} for role {role!r} were made with "
            f"another prefix than this client's, now {now}: an index that was "
            "built from them does not match; set query_prefix, document_prefix or "
            "instructions as they were, or rebuild the index"
        )

    def _compare_weights(self, noted: Note, row: list[float]) -> bool:
        """Compare the vector of the fixed text with the first, which is kept."""
        mine = blake2b(CANARY.encode(), digest_size=8).digest()
        if noted.canary != mine or noted.vector is None:
            changed = replace(noted, canary=mine, vector=row)
            self._store.note(self._subject, changed)
            self._asks = False
            return True
        distance = _distance(noted.vector, row)
        if distance <= FAR:
            self._asks = False
            return True
        self._drifted = (
            "has other weights than when the cache was filled: the vector of a fixed "
            f"text has changed, by a cosine distance of {distance:.2g}"
        )
        self._asks = False  # last: until then, what others keep is unsure
        return self._tell(self._drifted)

    def _tell(self, what: str) -> bool:
        message = f"{self._model} {what}; such vectors do not belong in one index"
        if self._strict:
            raise ModelDriftError(message)
        warn(ModelDriftWarning(message))
        return False


def _distance(one: list[float], other: list[float]) -> float:
    """Return one less the cosine of the angle between two vectors."""
    lengths = hypot(*one) * hypot(*other)
    return 1.0 - sum(map(mul, one, other)) / lengths if lengths else 1.0


def _digest(prefix: str) -> str:
    return blake2b(prefix.encode(), digest_size=8).hexdigest()
