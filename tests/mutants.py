"""Tells which mutants of the code the tests kill, of a sample, in minutes.

    python tests/mutants.py together_embed.engine --share 0.1 --tests tests/engine

mutmut makes the mutants, in the folder `mutants`. Its own runner starts pytest for each
of them and would need hours: here one pytest collects once, runs each test once to see
which functions it enters, and forks for each mutant. The child runs the tests that
enter the mutant's function, the quick ones first, until one fails.

It counts as mutmut does: an endless mutant is a killed one, and one that no test enters
is alive. Functions that mutmut leaves out have no mutants, nor has what stands outside
of functions. Needs `os.fork`, and the version of mutmut that pyproject.toml names.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
from mutmut.__main__ import create_mutants
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import (
    copy_also_copy_files,
    copy_src_dir,
    walk_mutatable_files,
)

WORTH = 3.0
"""Seconds of CPU that a mutant's tests may have taken without it: slower tests are left
out. More would kill a few more mutants, and every one that lives costs all of it."""
ENDLESS_CPU, ENDLESS = 5, 60
"""Seconds that a mutant may take on top of twice that: more is a loop, or a wait."""
FATES = ("killed", "endless", "survived", "no tests")


def mutants(begin: tuple[str, ...], share: float, seed: int) -> list[str]:
    """Make all mutants afresh, and draw from those whose names begin so."""
    shutil.rmtree("mutants", ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        set_mutant_under_test("mutant_generation")
        Path("mutants").mkdir()
        copy_src_dir()
        copy_also_copy_files()
        create_mutants(1)
    found = []
    for path in walk_mutatable_files():
        made = SourceFileMutationData(path=path)
        made.load()
        found += [name for name in made.exit_code_by_key if name.startswith(begin)]
    return random.Random(seed).sample(sorted(found), round(share * len(found)))


class Trial:
    """A plugin that runs, in the place of the tests, the tests against mutants."""

    def __init__(self, drawn: list[str], minutes: float) -> None:
        self.fates: dict[str, str] = {}
        self._drawn = drawn
        self._until = time.monotonic() + 60 * minutes
        self._failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        from hypothesis import Phase, settings  # pytest wants to be the first

        # Nobody reads the example, so it need not be made small.
        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", settings.default, phases=phases)
        settings.load_profile("mutants")
        entering = self._entering(session.items)
        gc.collect()
        gc.freeze()  # a child need not look through all of this
        for name in self._drawn:
            if time.monotonic() > self._until:
                break  # what was tried is a sample, too
            tests = entering.get(name.partition("__mutmut_")[0], [])
            self.fates[name] = self._fate(name, sorted(tests, key=lambda one: one[0]))
        return True

    def _runs(self, items: list[pytest.Item]) -> bool:
        """Run tests until one fails, and tell whether none did."""
        self._failed = False
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return False
        return True

    def _entering(
        self, items: list[pytest.Item]
    ) -> dict[str, list[tuple[float, pytest.Item]]]:
        """Run each test once; return, by function, what enters it, and its CPU."""
        entering: dict[str, list[tuple[float, pytest.Item]]] = {}
        set_mutant_under_test("stats")
        for item in items:
            state()._stats.clear()
            began = time.process_time()
            if not self._runs([item]):
                print(f"\nleft out, it fails as things are: {item.nodeid}")
                continue
            took = time.process_time() - began
            for function in state()._stats:
                entering.setdefault(function, []).append((took, item))
        set_mutant_under_test("")
        return entering

    def _fate(self, name: str, tests: list[tuple[float, pytest.Item]]) -> str:
        items, cpu = [], 0.0
        for took, item in tests:
            cpu += took
            if not items or cpu <= WORTH:
                items.append(item)
        if not items:
            return "no tests"
        child = os.fork() or self._try(name, items, cpu)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return "endless"
        return "survived" if status == 0 else "killed"

    def _try(self, name: str, items: list[pytest.Item], cpu: float) -> int:
        """Run the tests against one mutant, in a child that ends here."""
        code = 1
        try:
            items[0].config.pluginmanager.unregister(name="terminalreporter")
            limit = int(time.process_time() + ENDLESS_CPU + 2 * min(cpu, WORTH))
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(ENDLESS + int(2 * min(cpu, WORTH)))
            set_mutant_under_test(name)
            code = int(not self._runs(items))
        finally:
            os._exit(code)


def report(fates: dict[str, str]) -> None:
    """Print what is alive, and the score by module."""
    counts: dict[str, Counter[str]] = {}
    for name, fate in sorted(fates.items()):
        counts.setdefault(name.rpartition(".")[0], Counter())[fate] += 1
        if fate in ("survived", "no tests"):
            diff = get_diff_for_mutant(name).splitlines()[2:]
            changed = [line for line in diff if line.startswith(("+", "-"))]
            print(f"\n{name}: {fate}", *changed, sep="\n")
    counts["all"] = Counter(fates.values())
    print(f"\n{'':51}", *(f"{fate:>9}" for fate in FATES))
    for key, count in counts.items():
        score = 100 * (count["killed"] + count["endless"]) / count.total()
        print(f"{key:42}{score:7.1f} %", *(f"{count[fate]:9}" for fate in FATES))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("begin", nargs="+", help="how names of mutants begin: modules")
    words.add_argument("--tests", nargs="+", required=True, help="for pytest")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--share", type=float, default=1.0)
    words.add_argument("--minutes", type=float, default=float("inf"))
    chosen = words.parse_args()
    root = Path(__file__).parent.parent
    os.chdir(root)
    drawn = mutants(tuple(chosen.begin), chosen.share, chosen.seed)
    trial = Trial(drawn, chosen.minutes)
    sys.path[0] = str(root / "mutants")  # before the project as it is
    os.chdir("mutants")
    quiet = ("-q", "--tb=no", "--no-header", "-p", "no:cacheprovider")
    pytest.main([*quiet, *chosen.tests], plugins=[trial])
    loaded = [Path(str(sys.modules[n.partition(".")[0]].__file__)) for n in drawn[:1]]
    assert all(root / "mutants" in path.parents for path in loaded), loaded
    os.chdir(root)
    report(trial.fates)
    tried = f"{len(trial.fates)} tried of {len(drawn)} drawn"
    print(f"{tried}: seed {chosen.seed}, share {chosen.share}, {version('mutmut')=}")


if __name__ == "__main__":
    main()
