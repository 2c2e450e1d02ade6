"""Together AI's embeddings endpoint, and every server of its contract, from Python.

`EmbeddingsClient` embeds texts, sync and async; `together_embed.errors` is what it
raises; `together_embed.local` is an endpoint on this machine to try it with.
"""

from together_embed.client import EmbeddingsClient
from together_embed.engine.stats import BatchStats, Stats
from together_embed.errors import EmbeddingsError

__all__ = ["BatchStats", "EmbeddingsClient", "EmbeddingsError", "Stats", "__version__"]
__version__ = "0.1.0"
