"""What one client has found out of a server is known to the next."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.conftest import Colour, client_of
from together_embed.errors import BadRequestError
from together_embed.local import LocalEndpoint


@pytest.fixture
def refusing() -> Any:
    with LocalEndpoint(dimension=8, base64="refuse") as endpoint:
        yield endpoint


def test_a_second_client_does_not_ask_for_what_the_first_was_refused(
    refusing: LocalEndpoint, colour: Colour
) -> None:
    with client_of(refusing) as first:
        colour.embed(first, ["a"])
    assert refusing.requests == 2
    with client_of(refusing) as second:
        colour.embed(second, ["a"])
    assert refusing.requests == 3
    assert second.stats.base64 is False


def test_an_encoding_that_the_user_chose_is_asked_for_all_the_same(
    refusing: LocalEndpoint,
) -> None:
    with client_of(refusing) as first:
        first.embed(["a"])
    second = client_of(refusing, encoding_format="base64")
    with second, pytest.raises(BadRequestError, match="encoding_format"):
        second.embed(["a"])
    assert second.stats.failures == {"400": 1}
    with client_of(refusing) as third:
        third.embed(["a"])
    assert third.stats.failures == {}


def test_another_model_or_other_headers_are_asked_anew(
    refusing: LocalEndpoint,
) -> None:
    with client_of(refusing) as first:
        first.embed(["a"])
    with client_of(refusing, headers={"X-Provider": "other"}) as second:
        second.embed(["a"])
    assert second.stats.failures == {"400": 1}


def test_the_size_of_a_request_is_shared_whatever_the_encoding() -> None:
    with LocalEndpoint(dimension=8, max_texts=4) as endpoint:
        texts = [f"text {number}" for number in range(16)]
        with client_of(endpoint, batch_size=16) as first:
            first.embed(texts)
        assert first.stats.largest == 4
        before = endpoint.requests
        with client_of(endpoint, batch_size=16, encoding_format="float") as second:
            second.embed(texts)
        assert endpoint.requests - before == 4
        assert second.stats.retries == 0


def test_a_new_endpoint_at_an_old_port_is_another_server() -> None:
    with LocalEndpoint(dimension=8, base64="refuse") as endpoint:
        port = endpoint.port
        with client_of(endpoint) as client:
            client.embed(["a"])
    with LocalEndpoint(dimension=8, port=port) as endpoint:
        with client_of(endpoint) as client:
            client.embed(["a"])
        assert client.stats.base64 is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_knows_what_its_parent_knew(refusing: LocalEndpoint) -> None:
    with client_of(refusing) as client:
        client.embed(["a"])
        before = refusing.requests
        child = os.fork()
        if child == 0:
            client.embed(["b"])
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert refusing.requests - before == 1
