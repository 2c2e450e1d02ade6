"""Runs the tests with the oldest and the newest packages, on every Python.

`nox` runs all of it, `nox -s lowest-3.10` one session. A Python that is not installed
is skipped with a word. `make test` runs what is left out here: components and pages.
"""

from __future__ import annotations

import nox
from packaging.requirements import Requirement

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

nox.options.sessions = ["lowest", "year_old", "newest", "broken"]
nox.options.error_on_missing_interpreters = False

FIRST_WHEELS = {
    "3.11": {"numpy": "1.23.2"},
    "3.12": {"numpy": "1.26.0", "msgspec": "0.18.4"},
    "3.13": {
        "aiohttp": "3.10.6",
        "msgspec": "0.19.0",
        "numpy": "2.1.0",
        "pydantic": "2.8.0",
        "pysimdjson": "7.0.0",
    },
}
"""The oldest versions that are built for a Python, where our bound is older."""

TOOLS = [
    *("click", "hypothesis", "opentelemetry-sdk", "pytest"),
    *("pytest-asyncio", "rich", "schemathesis", "tokenizers", "tqdm", "trustme"),
    "uvloop",
]
TESTS = [
    f"tests/{folder}"
    for folder in (
        *("client", "engine", "faults", "langchain_adapter", "llama_index", "local"),
        *("store", "transports", "typing"),
    )
]


def bounds(python: str) -> list[str]:
    """Pin each package that the project names to the oldest version that it takes."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"]]
    for extra in ("arrays", "langchain", "llama-index", "otel", "simdjson"):
        named += extras[extra]
    wheels = FIRST_WHEELS.get(python, {})
    pins = []
    for requirement in map(Requirement, named):
        (bound,) = requirement.specifier
        oldest = wheels.get(requirement.name, bound.version)
        pins.append(f"{requirement.name}=={oldest}")
    return pins


def test(session: nox.Session, *words: str) -> None:
    """Run the tests of the core and of both adapters."""
    session.run("python", "-m", "pytest", "-q", *words, *(session.posargs or TESTS))


@nox.session(python=PYTHONS)
def lowest(session: nox.Session) -> None:
    """Test with the oldest packages that pyproject.toml allows, and urllib3 1."""
    python = str(session.python)
    session.install("-e", ".", *bounds(python), "urllib3<2", *TOOLS)
    test(
        session,
        # LangChain's suites need a newer langchain-core than the adapter does.
        "--ignore=tests/langchain_adapter/test_langchain_suites.py",
        # An old aiohttp calls the method QUERY a bad request, not one it knows not.
        "--ignore=tests/local/test_contract.py",
        # There the test's own client is urllib3 1, which misses what was cut off.
        "--deselect=tests/local/test_faults.py"
        "::test_a_broken_connection_is_an_error_of_the_client[cut]",
        # Old aiohttp and urllib3 hold more at once, and read any length of headers.
        "-knot a_bomb_is and not ten_gigabytes and not a_head_without_measure",
        # Up to 3.12.0 aiohttp closes encrypted connections after their loop is gone.
        "-Wignore:unclosed:ResourceWarning",
        "-Wignore::DeprecationWarning",  # what is old does as one did
    )


@nox.session(python="3.12")
def year_old(session: nox.Session) -> None:
    """Test with what was the newest of the frameworks a year ago."""
    session.install(
        *("-e", ".[arrays,simdjson]", "langchain-core<1", "langchain<1"),
        *("langchain-tests<1", "langchain-together<1", "llama-index-core<0.14"),
        *("pydantic<2.12", *TOOLS),
    )
    # LangChain then let this warning of its own through where threads asked at once.
    test(session, "-Wignore:Importing debug from langchain root:UserWarning")


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Test with the newest packages that there are."""
    groups = nox.project.load_toml("pyproject.toml")["dependency-groups"]
    session.install("--upgrade-strategy=eager", "-U", "-e", ".[all]", *groups["test"])
    test(session)


@nox.session(python="3.12")
@nox.parametrize("how", ["order", "missing"])
def broken(session: nox.Session, how: str) -> None:
    """Show that each component's test fails where the core is broken."""
    groups = nox.project.load_toml("pyproject.toml")["dependency-groups"]
    session.install("-e", ".[all]", *groups["test"], *groups["components"])
    session.run(
        *("python", "-m", "pytest", "-q", "--tb=no", "-p", "broken_core"),
        *("tests/components", "-k", "not suites and not migrating"),
        env={"BROKEN": how, "PYTHONPATH": "tests/components"},
    )
