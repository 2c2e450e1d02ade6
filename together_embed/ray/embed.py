"""A batch of rows in, the same rows with their vectors out, for engines that map them.

Everything about requests is the client's. What this adds are columns: texts are taken
out of one, vectors and failures put into two others, in whichever of three forms the
batch has come (an Arrow table, a dictionary of numpy arrays, a pandas frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from together_embed.client import EmbeddingsClient
from together_embed.engine.roles import Role
from together_embed.errors import ConfigurationError, EmbeddingsError, InputError
from together_embed.ray.limit import Bounds, SharedLimit, Tenant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]


class EmbedBatches:
    """Embed a column of each batch that it is called with.

    For `Dataset.map_batches` of Ray Data, with `batch_format="pyarrow"`; an instance is
    a function for Spark's `mapInPandas` and Dask's `map_partitions`. It holds one
    client, can be called by many threads at once, and pickles without the key.

    A text that cannot be sent (null, blank), or that the server refuses, has a reason
    in `error` and no vector. What no text is to blame for (a wrong key, an outage that
    outlasts `max_retries`) is raised, and ends the job: it would befall all others.

    Args:
        model: The model's name.
        text: The column that holds the texts.
        embedding: The column for the vectors: float32 lists of one fixed size in Arrow,
            null where the text failed; an array of shape (rows, width) in numpy, NaN
            there; arrays in pandas, None there.
        error: The column for what a text failed with, null where it did not.
        role: Which of the client's prefixes goes in front of each text, if it has any.
        limit: A limit that is shared with other actors of the cluster.
        actors: Without a `limit`: how many of these there are. Each keeps to that part
            of `requests_per_second`, `tokens_per_minute` and `max_concurrency`.
        settings: Further settings of `EmbeddingsClient`. `api_key` may be a callable;
            without it each worker reads `TOGETHER_API_KEY` from its environment.

    Raises:
        ConfigurationError: A setting cannot work, or holds a key that would be pickled.
    """

    def __init__(
        self,
        model: str,
        *,
        text: str = "text",
        embedding: str = "embedding",
        error: str = "error",
        role: Role | None = "document",
        limit: SharedLimit | None = None,
        actors: int = 1,
        **settings: Any,
    ) -> None:
        key = settings.get("api_key")
        if key is not None and not callable(key):
            del key, settings  # reports of errors show a frame's variables
            raise ConfigurationError(
                "api_key would be pickled with the job: set TOGETHER_API_KEY where the "
                "workers run, or pass a function that returns the key"
            )
        bounds = Bounds.among(settings)
        if limit is not None and (bounds != Bounds() or actors != 1):
            raise ConfigurationError("the limits belong to `limit`: set them there")
        self._text, self._embedding, self._error = text, embedding, error
        self._role: Role | None = role
        self._client = EmbeddingsClient(
            model, **{**settings, **bounds.part(actors).settings()}
        )
        here = self._client.settings
        if here.holds_secret:
            raise ConfigurationError(
                "headers or query hold a secret, which would be pickled"
            )
        self._tenant = Tenant(self._client, limit) if limit else None
        self._width = here.dimensions or 0
        url = {"base_url": here.base_url}  # the worker's environment may differ
        columns = {"text": text, "embedding": embedding, "error": error, "role": role}
        shares = {"limit": limit, "actors": actors}
        self._state = {"model": model, **settings, **url, **columns, **shares}

    @property
    def client(self) -> EmbeddingsClient:
        """The client; its `stats` are those of this process."""
        return self._client

    def __call__(self, batch: Any) -> Any:
        """Return the batch with the two columns; other columns stay as they are.

        Args:
            batch: A `pyarrow.Table`, a dictionary of numpy arrays, or a pandas
                `DataFrame`; what comes out is of the same form.

        Raises:
            EmbeddingsError: Something that no text is to blame for.
        """
        if isinstance(batch, dict):
            rows, failed = self._embed([*batch[self._text]])
            errors = _objects(failed)
            return {**batch, self._embedding: rows, self._error: errors}
        if hasattr(batch, "to_pydict"):
            rows, failed = self._embed(batch[self._text].to_pylist())
            return self._arrow(batch, rows, failed)
        rows, failed = self._embed(batch[self._text].tolist())
        cells = np.empty(len(failed), dtype=object)
        cells[:] = [None if failed[n] else row for n, row in enumerate(rows)]
        columns = {self._embedding: cells, self._error: _objects(failed)}
        return batch.assign(**columns)

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"EmbedBatches({self._client.settings.model!r}, text={self._text!r})"

    def _embed(self, texts: list[Any]) -> tuple[Rows, list[str | None]]:
        """Return a row for each text, and for each that has none the reason."""
        failed = [self._refusal(text) for text in texts]
        places = [place for place, reason in enumerate(failed) if reason is None]
        found: dict[int, Rows] = {}
        with self._at_work():
            for number, rows in self._client.stream_arrays(
                (texts[place] for place in places),
                role=self._role,
                ordered=False,
                on_error="return",
            ):
                if isinstance(rows, EmbeddingsError):
                    failed[places[number]] = _reason(rows)
                else:
                    found[number] = rows
                    self._width = rows.shape[1]
        whole = np.full((len(texts), self._width), np.nan, np.float32)
        for number, rows in found.items():
            whole[places[number : number + len(rows)]] = rows
        return whole, failed

    def _at_work(self) -> AbstractContextManager[object]:
        return self._tenant or nullcontext()

    def _refusal(self, text: Any) -> str | None:
        """Tell why a text cannot be sent, if it cannot."""
        if not isinstance(text, str):
            return "InputError: there is no text"
        try:
            self._client.check([text])
        except InputError as error:
            return _reason(error)
        return None

    def _arrow(self, table: Any, rows: Rows, failed: list[str | None]) -> Any:
        import pyarrow as pa

        if self._width:
            mask = pa.array([reason is not None for reason in failed], pa.bool_())
            numbers = pa.array(rows.ravel())
            vectors = pa.FixedSizeListArray.from_arrays(numbers, self._width, mask=mask)
        else:  # no vector has been seen yet, so that no width is known
            vectors = pa.nulls(len(failed))
        errors = pa.array(failed, pa.string())
        for name, column in ((self._embedding, vectors), (self._error, errors)):
            if name in table.column_names:
                table = table.drop_columns([name])
            table = table.append_column(name, column)
        return table


def _objects(reasons: Sequence[str | None]) -> NDArray[np.object_]:
    column = np.empty(len(reasons), dtype=object)
    column[:] = reasons
    return column


def _reason(error: EmbeddingsError) -> str:
    """Return what an error says, without the number that its text had in the call."""
    bare = copy(error)
    bare.indices = ()
    return f"{type(error).__name__}: {bare}"
