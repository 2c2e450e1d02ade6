"""What is known already: a store on disk, asked and told in the words of one client.

A vector's identity is what was really sent for it, and where: endpoint, model, further
fields, dimensions, the text with its prefix. How it was sent is no part of it: neither
the key nor the batch size nor the encoding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from together_embed.engine.rows import Embedding
from together_embed.engine.wire import excerpt
from together_embed.errors import ModelDriftError, ModelDriftWarning
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


class Memory:
    """The vectors of one client's model in a store, and what the model was like.

    Args:
        store: Where they are.
        settings: The client's, for the identity of its vectors.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._strict = settings.on_drift == "error"
        self._scrub = settings.scrub
        extra = {**settings.extra_body}
        extra.pop("encoding_format", None)
        self._place = (
            settings.base_url,
            settings.model,
            settings.dimensions,
            canonical(extra),
        )
        self._subject = subject(*self._place)
        self._like: tuple[int, str | None] | None = None

    def recall(self, texts: Sequence[str]) -> list[Packed | None]:
        """Return what is known of each text."""
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
        packed = [_packed(embedding) for embedding in embeddings]
        code, data = packed[0]
        if self._has_drifted(len(data) // (4 if code == "f" else 8), model):
            return
        keys = identities(*self._place, texts)
        self._store.put_packed(zip(keys, packed, strict=True))

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

    def _has_drifted(self, width: int, model: str | None) -> bool:
        """Compare what answers are like with what they were like at first."""
        model = model and excerpt(model, self._scrub)  # a server's words, like others
        if self._like == (width, model):
            return False
        noted = self._store.noted(self._subject)
        if noted is None:
            noted = Note(width=width, model=model)
            self._store.note(self._subject, noted)
        if (noted.width, noted.model) == (width, model):
            self._like = width, model
            return False
        message = (
            f"{self._place[1]} was {noted.model!r} of width {noted.width} when the "
            f"store was filled, and answers now as {model!r} of width {width}: their "
            "vectors do not belong in one index"
        )
        if self._strict:
            raise ModelDriftError(message)
        warnings.warn(ModelDriftWarning(message), stacklevel=2)
        return True


def _packed(embedding: Embedding) -> Packed:
    """Pack an embedding that was checked, as it came: base64 is float32 already."""
    if isinstance(embedding, bytes):
        return Packed("f", embedding)
    return pack(embedding)
