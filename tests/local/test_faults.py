"""Each way to fail, as it arrives on the wire."""

import base64
import json
import math
import socket
import struct
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import requests

from together_embed.local import Fault, LocalEndpoint
from together_embed.local.faults import EVERY_WAY, FATAL, Kind, Shape

from .conftest import KEY, Ask

TEXTS = [f"text number {n}" for n in range(5)]


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(dimension=16) as running:
        yield running


def rows_after(ask: Ask, endpoint: LocalEndpoint, kind: Kind, count: int = 5) -> Any:
    endpoint.fail(kind)
    return json.loads(ask(endpoint, *TEXTS[:count]).content)["data"]


def raw_request(endpoint: LocalEndpoint) -> socket.socket:
    """Send a request by hand; the socket is given back before anything is read."""
    body = json.dumps({"model": "m", "input": TEXTS}).encode()
    connection = socket.create_connection(("127.0.0.1", endpoint.port), timeout=10)
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: local\r\nAuthorization: Bearer k\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504, 520, 529]
)
def test_a_status_comes_so_many_times_and_then_no_more(
    ask: Ask, endpoint: LocalEndpoint, status: int
) -> None:
    endpoint.fail(status, times=2, headers={"Retry-After": "1"})
    answers = [ask(endpoint, "t") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert [a.headers.get("Retry-After") for a in answers] == ["1", "1", None]
    assert set(answers[0].json()["error"]) == {"message", "type", "param", "code"}
    assert endpoint.failed == 2


def test_an_error_takes_every_shape_that_servers_use(
    ask: Ask, endpoint: LocalEndpoint
) -> None:
    bodies = {}
    for shape in get_args(Shape):
        endpoint.fail(503, shape=shape)
        bodies[shape] = ask(endpoint, *TEXTS).content
    assert bodies["empty"] == b""
    assert bodies["text"] == b"Told to answer with 503"
    assert bodies["html"].startswith(b"<!DOCTYPE html>")
    assert list(json.loads(bodies["bare"])["error"]) == ["message"]
    assert isinstance(json.loads(bodies["detail"])["detail"], str)
    assert json.loads(bodies["details"])["detail"][0]["input"] == TEXTS
    assert json.loads(bodies["schema"])["error"]["type"] == "service_unavailable"


def test_an_error_says_what_it_is_told_to(ask: Ask, endpoint: LocalEndpoint) -> None:
    routing = Fault("status", status=503, type="routing_error", message="No replica")
    endpoint.fail(routing)
    endpoint.fail(400, body='{"own": "body"}')
    assert ask(endpoint, "t").json()["error"]["type"] == "routing_error"
    assert ask(endpoint, "t").json() == {"own": "body"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_points_elsewhere(
    ask: Ask, endpoint: LocalEndpoint, status: int
) -> None:
    endpoint.fail(Fault.redirect(status, "http://127.0.0.1:9/v1/embeddings"))
    answer = ask(endpoint, "t")
    assert answer.status_code == status
    assert answer.headers["Location"] == "http://127.0.0.1:9/v1/embeddings"


def test_an_echo_repeats_the_key_to_the_client_and_not_in_the_log(
    ask: Ask, endpoint: LocalEndpoint
) -> None:
    endpoint.fail("echo")
    assert f"Bearer {KEY}" in ask(endpoint, "t").json()["error"]["message"]
    assert KEY not in repr(endpoint.log)


def test_reordered_rows_keep_their_index(ask: Ask, endpoint: LocalEndpoint) -> None:
    rows = rows_after(ask, endpoint, "reorder")
    assert [row["index"] for row in rows] == [4, 3, 2, 0, 1]
    for row in rows:
        assert row["embedding"] == endpoint.embed(TEXTS[row["index"]])
    assert endpoint.failed == 0


def test_integers_are_the_same_numbers(ask: Ask) -> None:
    with LocalEndpoint(dimension=512) as endpoint:
        rows = rows_after(ask, endpoint, "integers")
        expected = [endpoint.embed(text) for text in TEXTS]
    assert [row["embedding"] for row in rows] == expected
    assert any(type(number) is int for number in rows[0]["embedding"])


@pytest.mark.parametrize(("count", "seen"), [(5, [0, 1, 2, 3]), (1, [])])
def test_a_short_answer_lacks_its_last_row(
    ask: Ask, endpoint: LocalEndpoint, count: int, seen: list[int]
) -> None:
    rows = rows_after(ask, endpoint, "short", count)
    assert [row["index"] for row in rows] == seen


@pytest.mark.parametrize(
    ("count", "seen"), [(5, [0, 1, 2, 3, 0]), (2, [0, 0]), (1, [0, 0])]
)
def test_a_duplicate_names_one_index_twice(
    ask: Ask, endpoint: LocalEndpoint, count: int, seen: list[int]
) -> None:
    rows = rows_after(ask, endpoint, "duplicate", count)
    assert [row["index"] for row in rows] == seen


def test_an_extra_row_has_an_index_that_nobody_asked_for(
    ask: Ask, endpoint: LocalEndpoint
) -> None:
    rows = rows_after(ask, endpoint, "extra", 2)
    assert [row["index"] for row in rows] == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 5])
def test_uneven_vectors_have_two_widths(
    ask: Ask, endpoint: LocalEndpoint, count: int
) -> None:
    rows = rows_after(ask, endpoint, "uneven", count)
    assert {len(row["embedding"]) for row in rows} == {16, 15}


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        ("nan", lambda vector: math.isnan(vector[0])),
        ("null_number", lambda vector: vector[0] is None),
        ("null_row", lambda vector: vector is None),
        ("empty_row", lambda vector: vector == []),
        ("strings", lambda vector: all(isinstance(n, str) for n in vector)),
    ],
)
def test_one_vector_is_spoilt(
    ask: Ask, endpoint: LocalEndpoint, kind: Kind, spoilt: Any
) -> None:
    vectors = [row["embedding"] for row in rows_after(ask, endpoint, kind)]
    assert spoilt(vectors.pop(2))
    assert vectors == [endpoint.embed(text) for text in TEXTS[:2] + TEXTS[3:]]


def test_base64_carries_a_nan_too(ask: Ask, endpoint: LocalEndpoint) -> None:
    endpoint.fail("nan")
    row = ask(endpoint, "t", encoding_format="base64").json()["data"][0]
    assert math.isnan(struct.unpack_from("<f", base64.b64decode(row["embedding"]))[0])


def test_bodies_that_are_no_answer(ask: Ask, endpoint: LocalEndpoint) -> None:
    endpoint.script(["truncated", "not_json", "no_data", Fault("nested", size=5000)])
    truncated, page, no_data, nested = (ask(endpoint, *TEXTS) for _ in range(4))
    assert truncated.content.startswith(b'{"object":"list"')
    with pytest.raises(requests.exceptions.JSONDecodeError):
        truncated.json()
    assert page.headers["Content-Type"].startswith("text/html")
    assert no_data.json() == {"object": "list"}
    assert nested.content == b"[" * 5000
    assert {a.status_code for a in (truncated, page, no_data, nested)} == {200}


@pytest.mark.parametrize("kind", ["reset", "hang_up", "cut", "reset_midway"])
def test_a_broken_connection_is_an_error_of_the_client(
    ask: Ask, endpoint: LocalEndpoint, kind: Kind
) -> None:
    endpoint.fail(kind)
    with pytest.raises(requests.RequestException):
        ask(endpoint, *TEXTS)
    assert ask(endpoint, *TEXTS).status_code == 200
    assert endpoint.connections == 2
    assert endpoint.texts == len(TEXTS)


def test_a_reset_and_a_closed_connection_differ(endpoint: LocalEndpoint) -> None:
    endpoint.script(["reset", "hang_up"])
    with raw_request(endpoint) as connection, pytest.raises(ConnectionResetError):
        read_all(connection)
    with raw_request(endpoint) as connection:
        assert read_all(connection) == b""


def test_a_cut_body_is_half_of_what_was_promised(endpoint: LocalEndpoint) -> None:
    endpoint.fail("cut")
    with raw_request(endpoint) as connection:
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    promised = int(head.lower().split(b"content-length: ")[1].split()[0])
    assert len(body) == promised // 2


def test_a_connection_is_closed_after_its_answer_without_a_word(
    endpoint: LocalEndpoint,
) -> None:
    endpoint.fail("close")
    with raw_request(endpoint) as connection:
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()
    assert len(json.loads(body)["data"]) == len(TEXTS)
    assert endpoint.failed == 0


def test_a_dripping_body_is_whole_in_the_end(ask: Ask) -> None:
    with LocalEndpoint(dimension=1) as endpoint:
        endpoint.fail(Fault("drip", seconds=0))
        assert ask(endpoint, "t").json()["data"][0]["embedding"] == endpoint.embed("t")


def test_an_answer_that_never_comes_ends_when_the_client_leaves(
    endpoint: LocalEndpoint,
) -> None:
    endpoint.fail("hang")
    with raw_request(endpoint) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    with raw_request(endpoint) as connection:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    assert {entry.status for entry in endpoint.log} == {0, 200}


def test_a_bomb_is_small_on_the_wire_and_large_in_the_hand(
    ask: Ask, endpoint: LocalEndpoint
) -> None:
    endpoint.fail(Fault("bomb", size=3_000_000))
    answer = ask(endpoint, "t")
    assert len(answer.content) == 3_000_000
    assert int(answer.headers["Content-Length"]) < 10_000


def test_a_flood_is_as_long_as_it_says(ask: Ask, endpoint: LocalEndpoint) -> None:
    endpoint.fail(Fault("flood", size=1_000_001))
    assert ask(endpoint, "t").content == b" " * 1_000_001


def test_headers_and_lengths_can_be_wrong(endpoint: LocalEndpoint) -> None:
    endpoint.script([Fault("long_header", size=100_000), "long_length", "short_length"])
    answers = []
    for _ in range(3):
        with raw_request(endpoint) as connection:
            connection.settimeout(0.3)
            answer = b""
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except TimeoutError:
                pass
            answers.append(answer.partition(b"\r\n\r\n"))
    surplus = [
        int(head.lower().split(b"content-length: ")[1].split()[0]) - len(body)
        for head, _, body in answers
    ]
    assert surplus == [0, 100, -100]
    assert b"X-Long: " + b"x" * 100_000 in answers[0][0]


def test_what_cannot_happen_is_refused_when_it_is_set(endpoint: LocalEndpoint) -> None:
    for wrong in ("shorter", 200, 99, 600):
        with pytest.raises(ValueError, match=r"fault|status"):
            endpoint.fail(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="redirect"):
        Fault.redirect(200)
    with pytest.raises(ValueError, match="shape"):
        endpoint.fail(500, shape="round")  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", EVERY_WAY + FATAL, ids=lambda f: f"{f.kind}")
def test_a_fault_is_counted_as_what_it_is(
    ask: Ask, endpoint: LocalEndpoint, fault: Fault
) -> None:
    endpoint.fail(fault)
    try:
        ask(endpoint, *TEXTS)
    except requests.RequestException:
        assert not fault.lawful
    assert endpoint.requests == 1
    assert endpoint.failed == (0 if fault.lawful else 1)
    assert endpoint.texts == (len(TEXTS) if fault.lawful else 0)
    assert endpoint.log[0].fault == fault.kind
    silent = fault.kind in ("reset", "hang_up")
    assert endpoint.log[0].status == (0 if silent else fault.status)
