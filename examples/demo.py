"""Index this project's documentation in both frameworks, and ask both three questions.

Run it by `make demo`. With TOGETHER_API_KEY set it embeds with Together (the model is
TOGETHER_MODEL's, or a default); without one it starts the local endpoint, which hashes
words and needs no network.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from langchain_together_embed import TogetherEmbeddings
from llama_index_together_embed import TogetherEmbedding
from together_embed import EmbeddingsClient, EmbeddingsError
from together_embed.local import LocalEndpoint

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_MODEL = "intfloat/multilingual-e5-large-instruct"
QUESTIONS = (
    "What happens when a call fails halfway?",
    "How long does the client wait for a dedicated deployment to start?",
    "Is a text sent twice when several concurrent calls want it?",
)
console = Console(width=min(Console().width, 100))


class Passage(NamedTuple):
    """A paragraph of the documentation, and the page and heading it stands under."""

    text: str
    place: str


class Found(NamedTuple):
    """What a framework gives back for a question."""

    score: float
    passage: Passage


Search = Callable[[str], Found]


def read_passages() -> list[Passage]:
    """Cut the README and the pages of docs/ into paragraphs and items of lists."""
    passages = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))):
        heading = page.name
        prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
        for block in re.split(r"\n\s*\n|\n(?=- |\d+\. )", prose):
            if match := re.match(r"#+ (.*)", block):
                heading = f"{page.name}: {match[1]}"
            elif len(block) > 60 and block[0] not in "|:!<" and "test_" not in block:
                plain = re.sub(r"[*`]|^(- |\d+\. )", "", block.strip())
                passages.append(Passage(" ".join(plain.split()), heading))
    return passages


def fill_langchain(model: TogetherEmbeddings, passages: list[Passage]) -> Search:
    """Fill a LangChain vector store, and return a way to search it."""
    documents = [Document(p.text, metadata={"place": p.place}) for p in passages]
    store = InMemoryVectorStore.from_documents(documents, model)

    def search(question: str) -> Found:
        ((best, score),) = store.similarity_search_with_score(question, k=1)
        return Found(score, Passage(best.page_content, best.metadata["place"]))

    return search


def fill_llama_index(model: TogetherEmbedding, passages: list[Passage]) -> Search:
    """Fill a LlamaIndex index, and return a way to search it."""
    nodes = [TextNode(text=p.text, metadata={"place": p.place}) for p in passages]
    for node in nodes:
        node.excluded_embed_metadata_keys = ["place"]
    index = VectorStoreIndex(nodes, embed_model=model)
    retriever = index.as_retriever(similarity_top_k=1)

    def search(question: str) -> Found:
        (best,) = retriever.retrieve(question)
        text = best.node.get_content()
        return Found(best.score or 0.0, Passage(text, best.node.metadata["place"]))

    return search


@contextmanager
def watched(name: str, total: int, client: EmbeddingsClient) -> Iterator[None]:
    """Show a bar that follows a client's progress, then one line of counts."""
    before, start = client.stats, time.perf_counter()

    class Bar(Progress):
        def get_renderables(self) -> Any:
            for task in self.tasks:
                task.completed = client.stats.texts - before.texts
            return super().get_renderables()

    columns = TextColumn(f"  {name:<12}"), BarColumn(40), MofNCompleteColumn()
    hidden = not console.is_terminal
    with Bar(*columns, console=console, transient=True, disable=hidden) as bar:
        bar.add_task(name, total=total)
        yield
    seconds = time.perf_counter() - start
    requests = client.stats.requests - before.requests
    console.print(
        f"  [green]✓[/] {name:<12}[bold]{total}[/] texts, "
        f"[bold]{requests}[/] request{'s' * (requests != 1)}, "
        f"[bold]{seconds:.2f}[/] s"
    )


def answer_of(found: dict[str, Found]) -> Group:
    """Lay out what each framework found, and a passage that both found once."""
    lines = []
    passages = [one.passage for one in found.values()]
    for number, (name, (score, passage)) in enumerate(found.items(), 1):
        head = Text(f"{name:<12}", style="bold cyan")
        head.append(f"{score:.2f}  ", style="green")
        head.append(passage.place, style="dim")
        lines.append(head)
        if passage not in passages[number:]:
            lines.append(Text(shorten(passage.text, 240, placeholder=" …")))
    return Group(*lines)


def main() -> int:
    """Run the demo; return 1 where the endpoint does not embed."""
    online = bool(os.environ.get("TOGETHER_API_KEY"))
    passages = read_passages()
    with nullcontext() if online else LocalEndpoint(delay=0.1) as local:
        url = None if local is None else local.base_url
        key = None if online else "local"
        model = os.environ.get("TOGETHER_MODEL", DEFAULT_MODEL)
        langchain = TogetherEmbeddings(
            model=model, api_key=key, base_url=url, chunk_size=8
        )
        llama_index = TogetherEmbedding(
            model_name=model, api_key=key, api_base=url, embed_batch_size=8
        )
        console.print()
        where = llama_index.client.settings.base_url
        what = model if online else "local endpoint: hashes words, no language model"
        console.print(f"  [bold]together-embed[/] at {where}\n  {what}\n")
        try:
            with watched("LangChain", len(passages), langchain.client):
                ask_langchain = fill_langchain(langchain, passages)
            with watched("LlamaIndex", len(passages), llama_index.client):
                ask_llama_index = fill_llama_index(llama_index, passages)
            for question in QUESTIONS:
                found = {
                    "LangChain": ask_langchain(question),
                    "LlamaIndex": ask_llama_index(question),
                }
                panel = Panel(answer_of(found), title=question, title_align="left")
                console.print()
                console.print(panel)
        except EmbeddingsError as error:
            reason = escape(f"{type(error).__name__}: {error}")
            console.print(f"  [red]✗[/] {reason}\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
