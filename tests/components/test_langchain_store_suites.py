"""LangChain's own suite for vector stores, run over each with these embeddings.

The stores pass it with embeddings that are made up; with ours they have to as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_stores import STORES, Place
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langchain_together_embed import TogetherEmbeddings


class OverOurs(VectorStoreIntegrationTests):
    """The suite over one of the stores."""

    store: str
    gaps: tuple[str, ...] = ()
    """Tests that the store fails with any embeddings, by the start of their names."""

    @pytest.fixture
    def vectorstore(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        embeddings: TogetherEmbeddings,
    ) -> Iterator[VectorStore]:
        postgres = None
        if self.store.startswith("pg"):
            postgres = request.getfixturevalue("postgres")
        if request.node.name.startswith(self.gaps):
            request.applymarker(pytest.mark.xfail(strict=True, reason="the store's"))
        asynchronous = request.node.name.endswith("_async")
        with STORES[self.store](Place(tmp_path, postgres, asynchronous, 128)) as open_:
            yield open_(embeddings)


class TestInMemory(OverOurs):
    store = "in_memory"


class TestChroma(OverOurs):
    store = "chroma"


class TestPgvector(OverOurs):
    store = "pgvector"


class TestPgTable(OverOurs):
    store = "pg_table"


class TestFaiss(OverOurs):
    store = "faiss"
    gaps = (  # it refuses to add an id twice, and to delete one that it has not
        "test_delete_missing_content",
        "test_add_documents_with_ids_is_idempotent",
        "test_add_documents_by_id_with_mutation",
    )


del OverOurs  # not to be collected itself
