"""What `check` finds out about a server, and what it advises."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme

pytest.importorskip("pyarrow")

from tests.faults.raw import RawServer
from together_embed.local import LocalEndpoint
from together_embed.local.limits import Limits

from .conftest import Ended, Run


def found(ended: Ended) -> dict[str, Any]:
    return {finding["name"]: finding for finding in ended.json["findings"]}


def test_a_server_that_works_is_described(run: Run, at_endpoint: LocalEndpoint) -> None:
    ended = run("check", "--json")
    assert (ended.code, ended.json["ok"]) == (0, True)
    findings = found(ended)
    assert findings["server"]["value"] == at_endpoint.base_url
    assert findings["key"]["value"] == "accepted"
    assert findings["model"]["value"] == "m"
    assert findings["width"]["value"] == "8"
    assert findings["norm"]["value"].startswith("1")
    assert findings["base64"]["value"] == "honoured"
    assert findings["limits"]["value"] == "none announced"
    assert " ms" in findings["a query"]["value"]
    assert at_endpoint.requests == 6
    assert at_endpoint.connections == 1
    assert sum(at_endpoint.seen.values()) == 8


def test_a_certificate_that_is_not_trusted_is_told_as_such(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(tls=context) as server:
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        ended = run("check", "--json")
        assert server.requests == 0
    finding = found(ended)["connection"]
    assert (ended.code, finding["ok"]) == (1, False)
    assert "REQUESTS_CA_BUNDLE" in finding["value"]


@pytest.mark.parametrize(
    ("status", "subject", "advice"),
    [
        (401, "key", "TOGETHER_API_KEY"),
        (404, "model", "model"),
        (402, "request", "billing"),
        (503, "request", "try again later"),
    ],
)
def test_a_refusal_is_put_down_to_its_subject_with_a_remedy(
    run: Run, at_endpoint: LocalEndpoint, status: int, subject: str, advice: str
) -> None:
    at_endpoint.fail(status, times=None)
    ended = run("check", "--json")
    assert (ended.code, ended.json["ok"]) == (1, False)
    finding = found(ended)[subject]
    assert finding["ok"] is False
    assert finding["value"].startswith(f"{status}")
    assert advice in finding["value"]
    assert at_endpoint.requests == 1
    assert "NO" in run("check").out


def test_a_server_that_is_not_there_is_said_to_be_out_of_reach(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://127.0.0.1:9")
    ended = run("check", "--json")
    assert ended.code == 1
    assert "no connection" in found(ended)["connection"]["value"]


def check_with(
    run: Run, monkeypatch: pytest.MonkeyPatch, *words: str, **how: Any
) -> dict[str, Any]:
    with LocalEndpoint(dimension=8, **how) as endpoint:
        monkeypatch.setenv("TOGETHER_BASE_URL", endpoint.base_url)
        return found(run("check", "--json", *words))


def test_base64_that_is_ignored_or_refused_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how in ("ignore", "refuse"):
        findings = check_with(run, monkeypatch, base64=how)
        assert findings["base64"]["value"].startswith(how)
        assert findings["base64"]["ok"] is not False


def test_dimensions_that_are_ignored_are_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--dimensions", "4")
    findings = check_with(run, monkeypatch, *asked, dimensions="honour")
    assert findings["width"] == findings["width"] | {"ok": True, "value": "4"}
    findings = check_with(run, monkeypatch, *asked, dimensions="ignore")
    assert findings["width"]["ok"] is False
    assert findings["width"]["value"].startswith("8, although 4")


def test_a_model_that_answers_under_another_name_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = check_with(run, monkeypatch, answer_model="another")
    assert "calls another" in findings["model"]["value"]
    assert "index" in findings["model"]["remedy"]


def test_vectors_that_are_not_normalised_are_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = check_with(
        run, monkeypatch, embedder=lambda _text, width: [2.0] + [0.0] * (width - 1)
    )
    assert findings["norm"]["value"].startswith("2.000 and 2.000")
    assert "cosine" in findings["norm"]["remedy"]


def test_announced_limits_are_shown_as_they_stand(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(requests_per_second=50, burst=10, announce="always")
    findings = check_with(run, monkeypatch, limits=limits)
    assert "x-ratelimit-limit: 50" in findings["limits"]["value"]


def test_questions_that_a_limit_cuts_short_are_told_beside_the_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = check_with(run, monkeypatch, limits=Limits(requests_per_second=0.01))
    assert findings["key"]["ok"] is True
    assert findings["base64"]["value"].startswith("unknown: 429")
    assert findings["a query"]["value"].startswith("unknown: 429")


def test_a_server_without_keys_needs_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY")
    findings = check_with(run, monkeypatch, require_key=False)
    assert findings["key"]["value"] == "none is set, none is needed"
