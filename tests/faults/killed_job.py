"""Embeds numbered texts with a store, on one of the six ways, until done or killed.

A program of its own, for `test_ended_processes.py`: way, address, store, number of
texts, and settings of the core in JSON. The key is in the environment.
"""

from __future__ import annotations

import asyncio
import json
import sys


def main(way: str, url: str, store: str, count: str, settings: str) -> None:
    texts = [f"text number {n}" for n in range(int(count))]
    chosen = {"base_url": url, "cache": store, **json.loads(settings)}
    print("ready", flush=True)
    if way.startswith("core"):  # without the time to import the frameworks
        from together_embed import EmbeddingsClient

        client = EmbeddingsClient("m", **chosen)
        if way == "core":
            client.embed(texts)
        else:
            asyncio.run(client.aembed(texts))
    else:
        from ways import WAYS

        (named,) = (one for one in WAYS if one.name == way)
        named.embed(named.make(url, api_key=None, **chosen), texts)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
