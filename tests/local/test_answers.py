"""What the local endpoint answers to right and to wrong requests."""

import base64
import socket
import struct
from typing import Any

import pytest
import requests

from together_embed.local import LocalEndpoint

from .conftest import KEY, Ask


def assert_error(answer: requests.Response, status: int, code: str | None) -> str:
    body = answer.json()
    error = body["error"]
    assert answer.status_code == status
    assert set(body) == {"id", "error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert body["id"] == answer.headers["X-Request-Id"]
    assert error["code"] == code
    assert isinstance(error["type"], str)
    return str(error["message"])


def test_an_answer_has_the_fields_of_the_contract_and_no_others(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        body = ask(endpoint, "one", "two").json()
        expected = [endpoint.embed("one"), endpoint.embed("two")]
    rows = [
        {"index": index, "object": "embedding", "embedding": vector}
        for index, vector in enumerate(expected)
    ]
    assert body == {"object": "list", "model": "m", "data": rows}


def test_base64_holds_the_same_bits_as_the_floats(ask: Ask) -> None:
    with LocalEndpoint(dimension=64) as endpoint:
        packed = ask(endpoint, "a text", encoding_format="base64").json()
        expected = endpoint.embed("a text")
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<64f", raw)) == expected


def test_a_lone_string_an_empty_string_and_an_empty_array_are_answered(
    ask: Ask,
) -> None:
    with LocalEndpoint() as endpoint:
        assert len(ask(endpoint, input="alone").json()["data"]) == 1
        assert len(ask(endpoint, "").json()["data"][0]["embedding"]) == 256
        assert ask(endpoint).json()["data"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ...},
        {"model": None},
        {"model": 3},
        {"input": ...},
        {"input": None},
        {"input": 3},
        {"input": {}},
        {"input": ["text", 3]},
        {"input": [[1, 2]]},
        {"encoding_format": "hex"},
    ],
)
def test_what_breaks_the_contract_is_a_400(ask: Ask, fields: dict[str, Any]) -> None:
    with LocalEndpoint() as endpoint:
        assert_error(ask(endpoint, "text", **fields), 400, None)
        assert endpoint.failed == endpoint.requests == 1


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '"text"', "NaN", "[" * 100_000, "9" * 9999]
)
def test_what_is_no_json_object_is_a_400(body: str) -> None:
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    with LocalEndpoint(strict=True) as endpoint:
        url = f"{endpoint.base_url}/embeddings"
        assert_error(requests.post(url, data=body, headers=headers), 400, None)


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc00 x", b"\xff", b"\xed\xa0\x80"])
def test_what_is_no_unicode_is_a_400(text: bytes) -> None:
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    body = b'{"model":"m","input":"' + text + b'"}'
    with LocalEndpoint() as endpoint:
        url = f"{endpoint.base_url}/embeddings"
        assert_error(requests.post(url, data=body, headers=headers), 400, None)


def test_unknown_fields_are_refused_by_name_where_it_is_strict(ask: Ask) -> None:
    with LocalEndpoint(strict=True) as endpoint:
        message = assert_error(ask(endpoint, "t", user="u", dimensions=8), 400, None)
    assert message == "Unrecognized request arguments supplied: dimensions, user"


def test_optional_fields_are_honoured_ignored_or_refused_as_told(ask: Ask) -> None:
    fields: dict[str, Any] = {"encoding_format": "base64", "dimensions": 8}
    with LocalEndpoint(dimensions="honour") as endpoint:
        vector = ask(endpoint, "t", dimensions=8).json()["data"][0]["embedding"]
        assert vector == endpoint.embed("t", 8)
        assert ask(endpoint, "t", dimensions=8.0).status_code == 200
        for wrong in (0, 257, True, 8.5, 1e300, "8", None):
            assert_error(ask(endpoint, "t", dimensions=wrong), 400, None)
    with LocalEndpoint(base64="ignore", dimensions="ignore") as endpoint:
        vector = ask(endpoint, "t", **fields).json()["data"][0]["embedding"]
        assert vector == endpoint.embed("t")
    with LocalEndpoint(base64="refuse") as endpoint:
        message = assert_error(ask(endpoint, "t", **fields), 400, None)
        assert "encoding_format" in message


def test_any_key_will_do_unless_one_is_named(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        assert ask(endpoint, "t", key="anything").status_code == 200
        for key in (None, "", " "):
            assert_error(ask(endpoint, "t", key=key), 401, "invalid_api_key")
    with LocalEndpoint(api_key=KEY) as endpoint:
        assert ask(endpoint, "t").status_code == 200
        message = assert_error(ask(endpoint, "t", key="no"), 401, "invalid_api_key")
        assert KEY not in message
    with LocalEndpoint(require_key=False) as endpoint:
        assert ask(endpoint, "t", key=None).status_code == 200


def test_a_model_that_is_not_served_is_a_404(ask: Ask) -> None:
    with LocalEndpoint(models=["here"]) as endpoint:
        assert ask(endpoint, "t", model="here").status_code == 200
        assert_error(ask(endpoint, "t", model="gone"), 404, "model_not_available")


def test_sizes_are_limited_where_limits_are_set(ask: Ask) -> None:
    with LocalEndpoint(max_texts=2, max_chars=5, max_bytes=2000) as endpoint:
        assert ask(endpoint, "12345", "b").status_code == 200
        assert_error(ask(endpoint, "a", "b", "c"), 422, "too_many_inputs")
        message = assert_error(ask(endpoint, "a", "123456"), 422, "input_too_long")
        assert message.startswith("input[1]: 6 characters")
        assert_error(ask(endpoint, "x" * 2000), 413, "request_too_large")


def test_a_body_of_many_megabytes_is_taken_where_no_limit_is_set(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        assert ask(endpoint, "word " * 1_000_000).status_code == 200


def test_other_paths_and_methods_get_the_schema_too() -> None:
    with LocalEndpoint() as endpoint:
        url = f"{endpoint.base_url}/embeddings"
        assert_error(requests.post(f"{url}/"), 404, "not_found")
        assert_error(requests.get(endpoint.base_url), 404, "not_found")
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            answer = requests.request(method, url)
            assert_error(answer, 405, None)
            assert answer.headers["Allow"] == "POST"


def test_usage_and_the_name_of_another_model_come_where_asked_for(ask: Ask) -> None:
    with LocalEndpoint(usage=True, answer_model="successor") as endpoint:
        body = ask(endpoint, "three little words", "one").json()
    assert body["model"] == "successor"
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_a_function_can_take_the_place_of_hashing(ask: Ask) -> None:
    with LocalEndpoint(
        dimension=2, embedder=lambda text, width: [len(text) + 0.1] * width
    ) as endpoint:
        body = ask(endpoint, "four").json()
        assert body["data"][0]["embedding"] == endpoint.embed("four")
    assert endpoint.embed("four") == pytest.approx([4.1, 4.1])
    assert endpoint.embed("four") != [4.1, 4.1], "rounded to float32"


def test_the_published_contract_can_be_kept_to_the_letter(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        assert ask(endpoint, "t", user="u").status_code == 200
        headers = {"Authorization": "Bearer k"}
        answer = requests.post(f"{endpoint.base_url}/embeddings", headers=headers)
        assert answer.json() == {"object": "list", "model": "", "data": []}


def test_an_embedder_that_fails_is_a_500_and_is_logged(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalEndpoint(embedder=lambda text, width: [1.0 / len(text)]) as endpoint:
        answer = ask(endpoint, "")
        assert (answer.status_code, endpoint.failed) == (500, 1)
        assert ask(endpoint, "a").status_code == 200
    assert "ZeroDivisionError" in answer.json()["error"]["message"]
    assert "ZeroDivisionError" in caplog.text
    assert KEY not in caplog.text


def test_a_broken_request_is_not_quoted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        LocalEndpoint() as endpoint,
        socket.create_connection(
            ("127.0.0.1", endpoint.port), timeout=10
        ) as connection,
    ):
        line = f"Authorization: Bearer {KEY}\0\r\n"
        connection.sendall(f"POST / HTTP/1.1\r\n{line}\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.0 400")
    assert KEY not in caplog.text
