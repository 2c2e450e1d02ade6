"""Where a warning says that it comes from."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from together_embed import caution
from together_embed.errors import LongInputWarning, RoleDriftWarning
from together_embed.store import StoreWarning

LONG = "one two three four five six seven eight nine ten eleven twelve"
CALLS: dict[str, Callable[[Any], object]] = {
    "embed": lambda client: client.embed([LONG], role="query"),
    "batches": lambda client: list(client.embed_batches([[LONG]], role="query")),
    "stream": lambda client: list(client.stream([LONG], role="query")),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_warning_is_given_at_the_line_of_the_user(
    call: Callable[[Any], object], make_client: Any, tmp_path: Path
) -> None:
    cache, other = tmp_path / "vectors.db", tmp_path / "other.db"
    other.write_text("no store of ours " * 100)
    make_client(cache=cache).embed(["text"], role="query")
    long = {"on_long_input": "truncate", "max_input_tokens": 12}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call(make_client(**long))
        call(make_client(cache=cache, query_prefix="q: "))
        call(make_client(cache=other))
    kinds = [warning.category for warning in seen]
    assert kinds == [LongInputWarning, RoleDriftWarning, StoreWarning]
    assert [warning.filename for warning in seen] == [__file__] * 3


def within(path: str) -> Callable[[Callable[[], None]], None]:
    """Make a function that calls what it is given, of a module at a path."""
    names: dict[str, Any] = {"__name__": "framework"}
    exec(compile("def call(it):\n    it()\n", path, "exec"), names)
    call: Callable[[Callable[[], None]], None] = names["call"]
    return call


INSTALLED = "/venv/lib/python3.11/site-packages/framework.py"
TOLD = UserWarning("told")


def test_frameworks_on_the_way_are_passed_over() -> None:
    with pytest.warns(UserWarning, match="told") as seen:
        within(INSTALLED)(lambda: within(INSTALLED)(lambda: caution.warn(TOLD)))
    assert [warning.filename for warning in seen] == [__file__]


def ask_on_a_thread(way: Callable[[Any], None]) -> list[str]:
    """Return where a warning comes from that is given on a thread without a user."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        thread = threading.Thread(target=way, args=(lambda: None,))
        thread.start()
        thread.join()
    return [warning.filename for warning in seen]


def test_without_a_line_of_the_user_it_is_an_installed_programs_or_nobodys() -> None:
    def program(path: str) -> Callable[[Any], None]:
        names: dict[str, Any] = {"warn": caution.warn, "told": TOLD, "__name__": "app"}
        exec(compile("def run(_):\n    warn(told)\n", path, "exec"), names)
        run: Callable[[Any], None] = names["run"]
        return run

    assert ask_on_a_thread(program(INSTALLED)) == [INSTALLED]
    (nobody,) = ask_on_a_thread(program(threading.__file__))
    assert nobody in ("sys", "<sys>")
