"""Embeddings at the size of a cluster: with Ray Data, and wherever batches are mapped.

`EmbedBatches` is the class for `Dataset.map_batches`, `SharedLimit` divides one limit
among its actors, and `remaining` leaves out what is written already. Ray itself is
loaded by the last two alone: `EmbedBatches` serves Spark and Dask without it.
"""

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        'together_embed.ray needs numpy and pyarrow: pip install "together-embed[ray]"'
    ) from error

from together_embed.ray.embed import EmbedBatches
from together_embed.ray.limit import SharedLimit
from together_embed.ray.resume import remaining

__all__ = ["EmbedBatches", "SharedLimit", "remaining"]
