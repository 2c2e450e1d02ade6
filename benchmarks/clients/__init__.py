"""The clients that are compared: importing this puts all of them on the list."""

from clients import floor, ours, peers, rust
from clients.registry import CLIENTS, Client, Job

__all__ = ["CLIENTS", "Client", "Job", "floor", "ours", "peers", "rust"]
