"""The endpoint that the project brings along, for tests, demos and prototypes.

`LocalEndpoint` is a real HTTP server on loopback that speaks the embeddings contract,
can be told to fail, and counts what it was asked. `Fault` names one way to fail.
Both are loaded at first use, so that importing this package costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from together_embed.local.faults import Fault
    from together_embed.local.server import LocalEndpoint

__all__ = ["Fault", "LocalEndpoint"]


def __getattr__(name: str) -> object:
    """Load what was asked for, and with it aiohttp where the server needs it."""
    if name == "LocalEndpoint":
        from together_embed.local.server import LocalEndpoint

        return LocalEndpoint
    if name == "Fault":
        from together_embed.local.faults import Fault

        return Fault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
