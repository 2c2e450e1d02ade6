"""What is known already: a store on disk, asked and told in the words of one client.

A vector's identity is what was really sent for it, and where: endpoint, model, further
fields, dimensions, the text with its prefix. How it was sent is no part of it: neither
the key nor the batch size nor the encoding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from together_embed.engine.roles import Role
from together_embed.engine.rows import Embedding
from together_embed.errors import ModelDriftError
from together_embed.settings import Settings
from together_embed.store import (
    Note,
    Packed,
    Store,
    canonical,
    identities,
    pack,
    subject,
)
from together_embed.watch import CANARY, Watch

UNSURE = 100_000
"""So many vectors can be taken back. The text that tells goes out with the first ones;
a server that refuses it would let their names grow without end."""


class Memory:
    """The vectors of one client's model in a store, and what the model was like.

    Args:
        store: Where they are.
        settings: The client's, for the identity of its vectors.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._place = (
            settings.place,
            settings.model,
            settings.dimensions,
            canonical(settings.deciding_fields),
        )
        self._subject = subject(*self._place)
        self._watch = Watch(store, self._subject, settings)
        # What this process kept before it was known whether the model is the same.
        self._unsure: deque[bytes] = deque(maxlen=UNSURE)

    def meet(self, role: Role | None) -> None:
        """Say that a call's texts are of a role; costs nothing here."""
        if role is not None:
            self._watch.meet(role)

    def canary(self, call: object) -> str | None:
        """Return a text for a call to send along, to tell whether the model is new."""
        return self._watch.canary(call)

    def recall(self, texts: Sequence[str]) -> list[Packed | None]:
        """Return what is known of each text."""
        self._watch.check_roles()
        return self._store.get_packed(identities(*self._place, texts))

    def keep(
        self,
        texts: Sequence[str],
        embeddings: Sequence[Embedding],
        model: str | None,
    ) -> None:
        """Keep the embeddings of an answer; they are on disk on return.

        Those of a model that has drifted are not kept.

        Raises:
            ModelDriftError: They are of another model, and drift is an error.
        """
        packed = dict(zip(texts, map(_packed, embeddings), strict=True))
        code, data = next(iter(packed.values()))
        canary = packed.pop(CANARY, None)
        width = len(data) // (4 if code == "f" else 8)
        if not self._compare(width, model, canary):
            return
        keys = identities(*self._place, packed)
        unsure = self._watch.is_unsure
        if unsure:  # noted first: another call may find out while these are written
            self._unsure += keys
        self._store.put_packed(zip(keys, packed.values(), strict=True))
        if self._watch.has_drifted:
            self._store.forget(keys)
        elif not unsure:
            self._unsure.clear()
        self._watch.check_roles()

    def end(self, call: object) -> None:
        """Say that a call is over, or sends nothing that the text can go along with."""
        self._watch.end(call)

    @property
    def speed(self) -> float | None:
        """Texts a second that the server carried of late; None where unknown."""
        noted = self._store.noted(self._subject)
        return noted.speed if noted else None

    def note_speed(self, speed: float) -> None:
        """Remember how many texts a second the server carried."""
        noted = self._store.noted(self._subject) or Note()
        self._store.note(self._subject, replace(noted, speed=speed))

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _compare(self, width: int, model: str | None, canary: Packed | None) -> bool:
        """Compare an answer with the note; forget what came before it was known."""
        try:
            fits = self._watch.compare(width, model, canary)
        except ModelDriftError:
            self._store.forget([*self._unsure])
            raise
        if not fits:
            self._store.forget([*self._unsure])
        return fits


def _packed(embedding: Embedding) -> Packed:
    """Pack an embedding that was checked, as it came: base64 is float32 already."""
    if isinstance(embedding, bytes):
        return Packed("f", embedding)
    return pack(embedding if isinstance(embedding, list) else [*map(float, embedding)])
