"""What a client is told: keys, addresses, numbers; and that it keeps its secrets."""

from __future__ import annotations

import copy
import hashlib
import html
import json
import os
import pickle
import traceback
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from together_embed import EmbeddingsClient
from together_embed.address import BASE_URL, base_url
from together_embed.errors import ConfigurationError
from together_embed.key import Key

KEY = "canary-key-0123456789"
LOCAL = "http://127.0.0.1:9/v1"


async def _later() -> str:
    return KEY


def authorization(client: EmbeddingsClient) -> str | None:
    return client.settings.request_headers().get("Authorization")


# The key


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        f"  {KEY}\t",
        f"{KEY}\n",
        f"{KEY}\r\n",
        f'"{KEY}"',
        f"'{KEY}'",
        f'" {KEY} "',
        f"Bearer {KEY}",
        f"bearer   {KEY}",
        f'"Bearer {KEY}"',
        f"\ufeff{KEY}".strip("\ufeff"),
    ],
)
def test_a_key_is_cleaned_of_what_copying_added(written: str) -> None:
    client = EmbeddingsClient("m", api_key=written, base_url=LOCAL)
    assert authorization(client) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "written",
    [
        f"{KEY} {KEY}",
        f"{KEY}\n{KEY}",
        f"{KEY}\x00",
        f"{KEY}é",
        f"\u201c{KEY}\u201d",
        f'"{KEY}',
        f"{KEY}'",
        f"\u200b{KEY}",
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(written: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingsClient("m", api_key=written, base_url=LOCAL)
    shown = f"{caught.value!s}{caught.value!r}{caught.value.__cause__}"
    assert KEY not in shown


def test_a_key_that_is_no_string_is_refused() -> None:
    client = EmbeddingsClient("m", api_key=lambda: 5, base_url=LOCAL)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="int"):
        client.embed(["a"])


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", f" {KEY} ")
    assert authorization(EmbeddingsClient("m")) == f"Bearer {KEY}"


def test_a_key_that_is_set_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    client = EmbeddingsClient("m")
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert authorization(client) == f"Bearer {KEY}"


def test_a_secret_and_a_callable_give_keys() -> None:
    keys = iter(["first-key", "second-key"])
    secret = EmbeddingsClient("m", api_key=SecretStr(KEY), base_url=LOCAL)
    rotating = EmbeddingsClient("m", api_key=lambda: next(keys), base_url=LOCAL)
    assert authorization(secret) == f"Bearer {KEY}"
    assert authorization(rotating) == "Bearer first-key"
    assert authorization(rotating) == "Bearer second-key"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://api.together.xyz",
        "https://api-inference.together.ai/v1",
        "https://API.Together.AI",
        "https://together.ai",
    ],
)
@pytest.mark.parametrize("key", [None, "", "  ", '""'])
def test_no_key_for_a_host_of_togethers_names_the_variable(
    url: str | None, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another-vendors-key")
    client = EmbeddingsClient("m", api_key=key, base_url=url)
    with pytest.raises(ConfigurationError, match="TOGETHER_API_KEY"):
        client.embed(["a"])


@pytest.mark.parametrize(
    "url",
    [LOCAL, "https://nottogether.ai/v1", "https://together.ai.example/v1"],
)
def test_other_hosts_may_go_without_a_key_and_get_no_header(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another-vendors-key")
    assert authorization(EmbeddingsClient("m", base_url=url)) is None


# The address


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://api.together.ai/v1", BASE_URL),
        ("https://api.together.ai/v1/", BASE_URL),
        ("https://api.together.ai", BASE_URL),
        ("https://api.together.ai/", BASE_URL),
        ("https://api.together.ai//v1//", BASE_URL),
        ("https://api.together.ai/v1/v1", BASE_URL),
        ("https://api.together.ai/v1/v1/v1/", BASE_URL),
        ("https://api.together.ai/v1/embeddings", BASE_URL),
        ("https://api.together.ai/v1/embeddings/", BASE_URL),
        ("https://api.together.ai/embeddings", BASE_URL),
        ("  https://api.together.ai/v1\n", BASE_URL),
        ("HTTPS://API.Together.AI/v1", BASE_URL),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1/", "http://[::1]:8000/v1"),
        ("https://gw.example/openai/v1", "https://gw.example/openai/v1"),
        ("https://gw.example/together/", "https://gw.example/together"),
        ("https://gw.example/embeddings", "https://gw.example"),
        ("https://gw.example/v2", "https://gw.example/v2"),
    ],
)
def test_an_address_is_brought_into_one_form(given: str, sent: str) -> None:
    assert base_url(given) == sent
    assert base_url(sent if sent != "https://gw.example" else given) == sent


@pytest.mark.parametrize(
    "given",
    [
        "api.together.ai/v1",
        "ftp://api.together.ai",
        "https://",
        "https:///v1",
        "https://user@api.together.ai/v1",
        f"https://user:{KEY}@api.together.ai/v1",
        f"https://api.together.ai/v1?key={KEY}",
        f"https://api.together.ai/v1#{KEY}",
        "http://[::1",
        "http://localhost:99999",
        "http://localhost:port",
        "https://one two.example",
        f"https://api.together.ai\\@{KEY}.example/v1",
        "https://one\\two.example",
        "https://one..example",
        f"https://{'long' * 16}.example",
        "https://*.example",
        "https://@one.example",
        "https://:@one.example",
        "https://[v1.one]",
        "https://b\u00fccher.example",
        "https://stra\u00dfe.example",
        "https://\uff4fne.example",
        "http://one\u2488example",  # a dot, to some: without one a host is near
        "nonsense",
    ],
)
def test_an_address_that_cannot_work_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingsClient("m", base_url=given)
    assert KEY not in str(caught.value)


def test_the_address_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOGETHER_API_BASE", "https://second.example/v1")
    assert EmbeddingsClient("m").settings.base_url == "https://second.example/v1"
    monkeypatch.setenv("TOGETHER_BASE_URL", "https://first.example")
    assert EmbeddingsClient("m").settings.base_url == "https://first.example/v1"
    monkeypatch.setenv("TOGETHER_BASE_URL", "")
    assert EmbeddingsClient("m").settings.base_url == "https://second.example/v1"


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "http://localhost", "http://[::1]", "http://10.1.2.3"),
        *("http://192.168.0.9:8000", "http://172.16.0.1", "http://vllm:8000"),
        *("http://gpu.local", "http://infinity.internal", "https://example.com"),
    ],
)
def test_a_key_may_go_over_plain_http_within_a_private_network(url: str) -> None:
    client = EmbeddingsClient("m", api_key=KEY, base_url=url)
    assert authorization(client) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "url",
    [
        *("http://api.together.ai", "http://8.8.8.8", "http://example.com:8000/v1"),
        *("http://134744072", "http://0x08080808"),  # 8.8.8.8, to the system
    ],
)
def test_a_key_goes_over_plain_http_to_the_public_only_where_asked_for(
    url: str,
) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        EmbeddingsClient("m", api_key=KEY, base_url=url).embed(["a"])
    client = EmbeddingsClient("m", api_key=KEY, base_url=url, allow_insecure_http=True)
    assert authorization(client) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "secret",
    [
        {"headers": {"authorization": f"Bearer {KEY}"}},
        {"headers": {"X-Api-Key": KEY}},
        {"query": {"api_key": KEY}},
    ],
)
def test_so_does_a_secret_that_is_in_the_place_of_a_key(secret: dict[str, Any]) -> None:
    url = "http://example.com"
    with pytest.raises(ConfigurationError, match="https") as caught:
        EmbeddingsClient("m", base_url=url, **secret).embed(["a"])
    assert KEY not in str(caught.value)
    client = EmbeddingsClient("m", base_url=url, allow_insecure_http=True, **secret)
    assert client.settings.request_headers()
    plain = EmbeddingsClient("m", base_url=url, headers={"X-A": "b"})
    assert authorization(plain) is None


def test_a_key_goes_through_a_proxy_of_the_public_only_where_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hush@proxy.example.com:3128")
    near: dict[str, Any] = {"api_key": KEY, "base_url": "http://vllm:8000"}
    with pytest.raises(ConfigurationError, match=r"proxy\.example\.com") as caught:
        EmbeddingsClient("m", **near).embed(["a"])
    assert "hush" not in str(caught.value)
    client = EmbeddingsClient("m", **near, allow_insecure_http=True)
    assert authorization(client) == f"Bearer {KEY}"
    far = EmbeddingsClient("m", api_key=KEY, base_url="https://example.com")
    assert authorization(far) == f"Bearer {KEY}"
    monkeypatch.setenv("NO_PROXY", "vllm")
    assert authorization(EmbeddingsClient("m", **near)) == f"Bearer {KEY}"


# Numbers and fields


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""},
        {"model": None},
        {"model": "a\ud800"},
        {"api_key": KEY.encode()},
        {"api_key": [KEY]},
        {"api_key": {"key": KEY}},
        {"api_key": _later},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"max_batch_bytes": 0},
        {"max_retries": -1},
        {"max_concurrency": 0},
        {"requests_per_second": 0},
        {"requests_per_second": -1.0},
        {"requests_per_second": float("nan")},
        {"requests_per_second": "3"},
        {"tokens_per_minute": 0},
        {"tokens_per_minute": True},
        {"tokens_per_minute": 5e-324},
        {"hedge": "x"},
        {"query_prefix": 3},
        {"document_prefix": "\ud800"},
        {"query": {"a": None}},
        {"query": {"a": "\ud800"}},
        {"query": {"\ud800": 1}},
        {"on_long_input": "split", "max_input_tokens": "9"},
        {"on_long_input": "split", "max_input_tokens": 9, "count_tokens": 9},
        {"on_long_input": "split", "max_input_tokens": 9, "count_tokens": _later},
        {"on_batch": 3},
        {"on_batch": _later},
        {"dimensions": 0},
        {"dimensions": "8"},
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": "60"},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": 1e12},
        {"timeout": (1.0, 0.0)},
        {"timeout": (1.0, 2.0, 3.0)},
        {"deadline": 0},
        {"deadline": float("inf")},
        {"encoding_format": "hex"},
        {"extra_body": {"input": ["x"]}},
        {"extra_body": {"model": "x"}},
        {"extra_body": {"dimensions": 3}},
        {"extra_body": {"x": object()}},
        {"extra_body": {"x": {1, 2}}},
        {"extra_body": {"x": float("nan")}},
        {"headers": {"X-Note": f"{KEY}\r\nInjected: yes"}},
        {"headers": {"X-Note": f"{KEY}é"}},
        {"headers": {"X Note": "x"}},
        {"headers": {"": "x"}},
        {"headers": {"X-Note": 5}},
        {"headers": {"content-length": "5"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
    ],
    ids=lambda wrong: str(wrong).split(" at 0x")[0],  # the same in each process
)
def test_a_setting_that_cannot_work_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingsClient(**{"model": "m", **wrong})
    assert KEY not in f"{caught.value}{caught.value.__cause__}"
    assert [*wrong][-1] in str(caught.value)


def test_a_users_header_takes_the_place_of_ours_in_any_spelling() -> None:
    client = EmbeddingsClient(
        "m",
        base_url="https://api.together.ai/v1",
        headers={"user-agent": "mine", "AUTHORIZATION": "Basic x"},
    )
    headers = client.settings.request_headers()
    assert headers["User-Agent"] == "mine"
    assert headers["Authorization"] == "Basic x"
    assert len({name.lower() for name in headers}) == len(headers)


# Secrets


def test_the_key_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    for source in (KEY, None, SecretStr(KEY), lambda: KEY):
        client = EmbeddingsClient("m", api_key=source, base_url=LOCAL)
        settings = client.settings
        assert authorization(client) == f"Bearer {KEY}"
        shown = [repr(client), str(client), repr(settings), str(settings)]
        shown += [repr(settings.key), str(settings.key), f"{settings.key}"]
        shown += [repr(pickle.dumps(client)), repr(pickle.dumps(settings))]
        assert KEY not in "".join(shown)


def test_headers_and_fields_of_the_user_are_not_printed() -> None:
    client = EmbeddingsClient(
        "m",
        base_url=LOCAL,
        headers={"X-Api-Key": KEY},
        query={"key": KEY},
        extra_body={"user": KEY},
    )
    assert KEY not in f"{client!r}{client.settings!r}"


def test_a_pickled_client_finds_its_key_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = EmbeddingsClient("m", api_key=KEY, base_url=LOCAL, batch_size=7)
    twin = pickle.loads(pickle.dumps(client))
    assert twin.settings.batch_size == 7
    assert authorization(twin) is None
    monkeypatch.setenv("TOGETHER_API_KEY", "the-one-over-there")
    assert authorization(twin) == "Bearer the-one-over-there"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copied_client_keeps_its_key(copied: Any) -> None:
    client = EmbeddingsClient("m", api_key=KEY, base_url=LOCAL)
    assert authorization(copied(client)) == f"Bearer {KEY}"


def test_a_server_that_repeats_a_rotated_key_is_not_repeated() -> None:
    keys = iter(["first-secret", "second-secret"])
    settings = EmbeddingsClient(
        "m", api_key=lambda: next(keys), base_url=LOCAL, headers={"X-Key": "Basic hush"}
    ).settings
    settings.request_headers()
    settings.request_headers()
    said = settings.scrub("no: first-secret, second-secret, hush")
    assert said == "no: [hidden], [hidden], [hidden]"


@pytest.mark.parametrize("key", ["canary0123456789", "cAn/ary+key=01&x<y>%41\\=="])
def test_a_server_that_repeats_a_key_encoded_is_not_repeated(key: str) -> None:
    settings = EmbeddingsClient("m", api_key=key, base_url=LOCAL).settings
    settings.request_headers()
    raw = key.encode()
    spelled = [
        *(quote(key), quote(key, safe=""), quote(key, safe="").lower()),
        *(json.dumps(key), json.dumps(key).replace("/", "\\/"), html.escape(key)),
        *(key.upper(), hashlib.sha256(raw).hexdigest()),
        *(b64encode(before + raw).decode() for before in (b"", b":", b"Bearer ")),
        urlsafe_b64encode(b"me:" + raw + b"!").decode(),
    ]
    for echo in spelled:
        assert settings.scrub(f"the words {echo} around").count("[hidden]") == 1
        # What is left: the encoded word in front, and bits of the last letter.
        assert len(settings.scrub(echo).replace("[hidden]", "")) <= 12


def test_a_client_that_could_not_be_made_can_be_shown_in_a_traceback() -> None:
    with pytest.raises(ConfigurationError) as caught:
        EmbeddingsClient("m", batch_size=0)
    with_locals = traceback.TracebackException.from_exception(
        caught.value, capture_locals=True
    )
    assert "EmbeddingsClient(not made)" in "".join(with_locals.format())


def test_making_a_client_reads_no_file_and_opens_no_socket() -> None:
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    client = EmbeddingsClient("m", base_url=LOCAL)
    after = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    assert len(before) == len(after)
    assert isinstance(client.settings.key, Key)


SECRETS: dict[str, Any] = {
    "headers": {
        "Authorization": "Bearer gateway-1",
        "X-Api-Key": "gateway-2",
        "Ocp-Apim-Subscription-Key": "gateway-3",
        "Cookie": "session=gateway-4; shard=7",
        "X-A": "b",
    },
    "query": {"api_key": "gateway/5", "version": "v2"},
}


def test_headers_and_parameters_that_carry_secrets_are_left_out_of_a_pickle() -> None:
    client = EmbeddingsClient("m", base_url="http://127.0.0.1:1", **SECRETS)
    data = pickle.dumps(client)
    assert b"gateway" not in data
    assert pickle.loads(data).settings.headers == {"X-A": "b"}
    assert pickle.loads(data).settings.query == {"version": "v2"}


def test_a_server_that_repeats_headers_and_address_is_not_repeated() -> None:
    client = EmbeddingsClient("m", base_url="http://127.0.0.1:1", **SECRETS)
    said = f"{SECRETS} ?api_key=gateway%2F5&version=v2"
    assert "gateway" not in client.settings.scrub(said)
    assert "version=v2" in client.settings.scrub(said)
