"""Proxies, certificates and credentials: both transports read the same environment."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from relay import Relay

from together_embed import EmbeddingsClient, errors
from together_embed.local import LocalEndpoint

pytestmark = pytest.mark.usefixtures("no_leaks")
KEY = "canary-key-0123456789"
HOST = "embeddings.internal"  # which no resolver knows: only a proxy gets there


@pytest.fixture
def proxy(endpoint: LocalEndpoint) -> Iterator[Relay]:
    with Relay(endpoint.port, proxy=True) as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(endpoint: LocalEndpoint, authority: trustme.CA) -> Iterator[Relay]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", HOST).configure_cert(context)
    with Relay(endpoint.port, tls=context) as running:
        yield running


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def ask(colour: Any, url: str, **settings: Any) -> list[list[float]]:
    client = EmbeddingsClient(
        "m", **{"api_key": KEY, "base_url": url, "max_retries": 0, **settings}
    )
    try:
        return list(colour.embed(client, ["a", "b"]))
    finally:
        colour.close(client)


def bearer(endpoint: LocalEndpoint) -> bool:
    return all(entry.bearer for entry in endpoint.log)


# Proxies


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used(
    colour: Any,
    proxy: Relay,
    right: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    scheme: str,
) -> None:
    monkeypatch.setenv(name, f"{scheme}127.0.0.1:{proxy.port}")
    assert ask(colour, f"http://{HOST}") == right(["a", "b"])
    (head,) = proxy.heads
    assert head.startswith(f"POST http://{HOST}/v1/embeddings HTTP/1.1")


def test_a_proxys_own_credentials_go_to_the_proxy(
    colour: Any, proxy: Relay, right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:pw@127.0.0.1:{proxy.port}")
    assert ask(colour, f"http://{HOST}") == right(["a", "b"])
    assert "proxy-authorization: basic dxnlcjpwdw==" in proxy.heads[0].lower()
    assert f"authorization: bearer {KEY}" in proxy.heads[0].lower()


@pytest.mark.parametrize(
    "spared", ["127.0.0.1", "127.0.0.0/8", "*", "example.com, 127.0.0.1"]
)
def test_no_proxy_is_kept(
    colour: Any,
    proxy: Relay,
    endpoint: LocalEndpoint,
    right: Any,
    monkeypatch: pytest.MonkeyPatch,
    spared: str,
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", spared)
    assert ask(colour, endpoint.base_url) == right(["a", "b"])
    assert proxy.heads == []


def test_a_proxy_that_is_not_there_is_a_connection_that_failed(
    colour: Any, endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(errors.ConnectionFailedError):
        ask(colour, endpoint.base_url)
    assert endpoint.connections == 0


@pytest.mark.parametrize(
    "named",
    ["socks5h://hush@127.0.0.1:{}", "ftp://127.0.0.1:{}", "http://hush:{}x", "x:y"],
)
def test_a_proxy_that_cannot_be_spoken_to_is_told_before_anything_is_sent(
    colour: Any,
    proxy: Relay,
    endpoint: LocalEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    monkeypatch.setenv("ALL_PROXY", named.format(proxy.port))
    with pytest.raises(errors.ConfigurationError, match="SOCKS") as caught:
        ask(colour, endpoint.base_url)
    assert "hush" not in str(caught.value)
    assert proxy.heads == []
    assert endpoint.requests == 0


def test_an_encrypted_call_goes_through_a_proxy_that_sees_no_key(
    colour: Any,
    secure: Relay,
    right: Any,
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Relay(secure.port, proxy=True) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
        assert ask(colour, f"https://{HOST}") == right(["a", "b"])
        (head,) = proxy.heads
    assert head.startswith(f"CONNECT {HOST}:443 ")
    assert KEY not in head
    assert "Python" not in head  # nor any version


@pytest.mark.parametrize("trusts", [True, False])
def test_the_certificate_of_a_proxy_is_checked_whatever_goes_through_it(
    colour: Any,
    endpoint: LocalEndpoint,
    authority: trustme.CA,
    right: Any,
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
    trusts: bool,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if trusts:
        monkeypatch.setenv("SSL_CERT_FILE", bundle)
    with Relay(endpoint.port, tls=context, proxy=True) as proxy:
        monkeypatch.setenv("http_proxy", f"https://127.0.0.1:{proxy.port}")
        if trusts:
            assert ask(colour, f"http://{HOST}") == right(["a", "b"])
        else:
            with pytest.raises(errors.CertificateError):
                ask(colour, f"http://{HOST}")
        assert len(proxy.heads) == trusts


# Certificates


@pytest.mark.parametrize(
    "name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]
)
def test_a_private_authority_is_trusted_where_the_environment_says_so(
    colour: Any,
    secure: Relay,
    endpoint: LocalEndpoint,
    right: Any,
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(name, bundle)
    assert ask(colour, f"https://localhost:{secure.port}") == right(["a", "b"])
    assert bearer(endpoint)


def test_an_authority_that_nobody_vouches_for_gets_no_key(
    colour: Any,
    secure: Relay,
    endpoint: LocalEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("together_embed.engine.retry.BASE_DELAY", 0.002)
    with pytest.raises(errors.CertificateError) as caught:
        ask(colour, f"https://localhost:{secure.port}", max_retries=8)
    assert len(caught.value.attempts) == 1  # asking again does not cure it
    assert "local issuer certificate" in caught.value.message
    assert secure.heads == []
    assert endpoint.requests == 0


PAST = datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("host", "until", "said"),
    [
        ("other.example", None, "Hostname mismatch"),
        ("localhost", PAST, "certificate has expired"),
    ],
)
def test_a_certificate_that_is_not_for_this_host_and_day_gets_no_key(
    colour: Any,
    endpoint: LocalEndpoint,
    authority: trustme.CA,
    bundle: str,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    until: datetime | None,
    said: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host, not_after=until).configure_cert(context)
    with Relay(endpoint.port, tls=context) as relay:
        with pytest.raises(errors.CertificateError) as caught:
            ask(colour, f"https://localhost:{relay.port}")
        assert relay.heads == []
    assert said in caught.value.message


def test_a_bundle_that_is_not_there_is_named(
    colour: Any, secure: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    with pytest.raises(errors.ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        ask(colour, f"https://localhost:{secure.port}")


@pytest.mark.parametrize("content", ["", "none", "-----BEGIN CERTIFICATE-----\nMIIB\n"])
def test_a_bundle_without_certificates_is_named(
    colour: Any,
    secure: Relay,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: str,
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(content)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    with pytest.raises(errors.ConfigurationError, match="CURL_CA_BUNDLE"):
        ask(colour, f"https://localhost:{secure.port}")
    assert secure.heads == []


# Credentials


@pytest.mark.parametrize("key", [KEY, None])
def test_a_netrc_file_is_never_read(
    colour: Any,
    endpoint: LocalEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    key: str | None,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with Relay(endpoint.port) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        if key is None:
            with pytest.raises(errors.AuthenticationError):
                ask(colour, url, api_key=None)
            assert "authorization" not in relay.heads[0].lower()
        else:
            ask(colour, url)
            assert f"authorization: bearer {KEY}" in relay.heads[0].lower()


def test_no_cookie_is_kept(colour: Any, endpoint: LocalEndpoint) -> None:
    endpoint.fail(503, headers={"Set-Cookie": "session=abc; Path=/"})
    ask(colour, endpoint.base_url, max_retries=1)
    assert endpoint.requests == 2
    with Relay(endpoint.port) as relay:
        ask(colour, f"http://127.0.0.1:{relay.port}")
        assert "cookie" not in relay.heads[0].lower()


def test_the_addresss_parameters_arrive_the_same_in_both_colours(
    colour: Any, endpoint: LocalEndpoint
) -> None:
    with Relay(endpoint.port) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        ask(colour, url, query={"api version": "a b+c&d=/?é", "x": "%20"})
        method, target, _ = relay.heads[0].splitlines()[0].split(" ")
    path, _, parameters = target.partition("?")
    assert (method, path) == ("POST", "/v1/embeddings")
    assert parse_qs(parameters) == {"api version": ["a b+c&d=/?é"], "x": ["%20"]}
