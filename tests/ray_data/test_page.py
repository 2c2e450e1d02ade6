"""The programs on the page on scale run, each in its engine; its table is the script's.

Spark needs a Java runtime and `pip install pyspark`; where they are missing, as in CI,
its program is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from simulation.page import find_table
from simulation.scale import CASES, HEADING
from together_embed.local import LocalEndpoint

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
PROGRAMS = dict(
    re.findall(
        r"^```python title=\"(\w+)\.py\"\n(.*?)^```", PAGE.read_text(), re.S | re.M
    )
)
LOOPBACK = {
    "ray.init()": (
        "ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, "
        "_node_ip_address='127.0.0.2', object_store_memory=200_000_000)"
    ),
    "size=10": "size=2",
    "builder.getOrCreate": (
        "builder.master('local[2]').config('spark.ui.enabled', 'false')"
        ".config('spark.driver.bindAddress', '127.0.0.1')"
        ".config('spark.driver.host', '127.0.0.1').getOrCreate"
    ),
}
"""How the programs are kept on this machine, and small."""
MISSING = {
    "with_ray": None if find_spec("ray") else "Ray has no wheel for this Python",
    "with_dask": None if find_spec("dask") else "Dask is not installed",
    "with_spark": None
    if find_spec("pyspark") and shutil.which("java")
    else "pyspark or a Java runtime is not installed",
}


def test_each_program_has_an_engine() -> None:
    assert PROGRAMS.keys() == MISSING.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_on_the_page_fills_a_folder(name: str, tmp_path: Path) -> None:
    if reason := MISSING[name]:
        pytest.skip(reason)
    for folder in ("data/passages", "scratch"):
        (tmp_path / folder).mkdir(parents=True)
    for half in range(2):
        ids = list(range(50 * half, 50 * half + 50))
        table = pa.table({"id": ids, "text": [f"passage {n}" for n in ids]})
        parquet.write_table(table, tmp_path / f"data/passages/{half}.parquet")
    code = PROGRAMS[name]
    for words, others in LOOPBACK.items():
        code = code.replace(words, others)
    for folder in ("data", "scratch"):
        code = code.replace(f'"/{folder}', f'"{tmp_path}/{folder}')
    script = tmp_path / f"{name}.py"
    script.write_text(code)
    with LocalEndpoint(dimension=8) as endpoint:
        ours = {
            "TOGETHER_API_KEY": "k",
            "TOGETHER_BASE_URL": endpoint.base_url,
            "PYTHONPATH": str(PAGE.parents[1]),
            "PYSPARK_PYTHON": sys.executable,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
        }
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, **ours},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        rows = parquet.read_table(tmp_path / "data/vectors").to_pylist()
        assert {row["id"] for row in rows} == set(range(100))
        for row in rows:
            assert row["embedding"] == endpoint.embed(row["text"])
            assert row["error"] is None


def test_the_table_on_the_page_is_what_the_script_gives() -> None:
    lines = find_table(PAGE.read_text(), HEADING).splitlines()
    assert lines[:2] == HEADING.splitlines()
    assert len(lines) == 2 + len(CASES)
    quick = [n for n, case in enumerate(CASES) if case.share == 1.0]
    assert quick
    for place in quick:
        assert lines[2 + place] == CASES[place].row()
