"""schemathesis against the endpoint, with the endpoint's own document.

Run as the command: its plugin for pytest reaches into pytest's private parts.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from together_embed.local import LocalEndpoint

from .conftest import KEY

pytest.importorskip("schemathesis")


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"dimensions": "honour", "base64": "ignore", "usage": True},
        {"strict": True},
    ],
    ids=lambda chosen: " ".join(chosen) or "plain",
)
def test_nothing_is_found_against_it(chosen: dict[str, Any], tmp_path: Path) -> None:
    with LocalEndpoint(api_key=KEY, dimension=4, **chosen) as endpoint:
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color"),
                f"{endpoint.root_url}/openapi.json",
                *(
                    "--url",
                    endpoint.base_url,
                    "--header",
                    f"Authorization: Bearer {KEY}",
                ),
                *("--max-examples", "30", "--seed", "1", "--generation-deterministic"),
            ],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        statuses = {entry.status for entry in endpoint.log}
    assert found.returncode == 0, found.stdout + found.stderr
    assert "No issues found" in found.stdout
    assert {200, 400, 401} <= statuses
    assert not {status for status in statuses if status >= 500}
    assert endpoint.requests > 50
