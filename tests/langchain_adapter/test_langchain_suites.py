"""LangChain's own suites for embeddings, against the local endpoint."""

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_together_embed import TogetherEmbeddings
from together_embed.local import LocalEndpoint


class TestUnitSuite(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return TogetherEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "m"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], Any]:
        environment = {
            "TOGETHER_API_KEY": "of-the-environment",
            "TOGETHER_API_BASE": "http://127.0.0.1:9/v1/",
        }
        expected = {
            "together_api_key": "of-the-environment",
            "together_api_base": "http://127.0.0.1:9/v1/",
        }
        return environment, {"model": "m"}, expected


class TestIntegrationSuite(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def served(self, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOGETHER_API_BASE", endpoint.base_url)

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return TogetherEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "m", "max_retries": 0}
