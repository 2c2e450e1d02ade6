"""Bounds that a user sets on an adapter reach the client."""

from __future__ import annotations

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding


def test_bounds_on_the_rate_are_passed_on_by_both_adapters() -> None:
    bounds = {"requests_per_second": 5.0, "tokens_per_minute": 1000.0}
    for model in (
        TogetherEmbeddings(model="m", base_url="http://127.0.0.1:1", **bounds),
        TogetherEmbedding("m", api_base="http://127.0.0.1:1", **bounds),
    ):
        settings = model.client.settings
        assert settings.requests_per_second == 5.0
        assert settings.tokens_per_minute == 1000.0
