"""Errors: what they say, that they are short, that they survive a pickle."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from together_embed import errors
from together_embed.errors import Attempt, EmbeddingsError, StatusError

CLASSES = [
    getattr(errors, name)
    for name in errors.__all__
    if isinstance(getattr(errors, name), type)
    and issubclass(getattr(errors, name), EmbeddingsError)
]
ATTEMPTS = (Attempt(None, "broke", 0.5), Attempt(503, "busy", 1.25))


def made(kind: type[EmbeddingsError], message: str = "what happened") -> Any:
    common: dict[str, Any] = {"indices": (3, 4, 5), "attempts": ATTEMPTS}
    if issubclass(kind, StatusError):
        names = {"type": "t", "param": "p", "code": "c", "request_id": "req-9"}
        return kind(message, status=503, **names, **common)
    return kind(message, **common)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_a_pickle(kind: Any, protocol: int) -> None:
    error = made(kind)
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_can_be_copied(kind: Any) -> None:
    assert vars(copy.deepcopy(made(kind))) == vars(made(kind))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_says_what_happened_to_which_inputs_and_what_to_do(kind: Any) -> None:
    text = str(made(kind))
    assert "what happened" in text
    assert "inputs 3 to 5" in text
    assert "2 attempts" in text
    assert kind.advice in text
    if issubclass(kind, StatusError):
        assert text.startswith("503 c: ")
        assert "req-9" in text


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_never_long(kind: Any) -> None:
    error = made(kind)
    error.indices = tuple(range(0, 2_000_000, 2))
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ((7,), "input 7"),
        ((7, 8), "inputs 7 to 8"),
        ((1, 3), "inputs 1, 3"),
        ((1, 3, 5, 7, 9, 11), "inputs 1, 3, 5, 7, 9, … (6 in all)"),
    ],
)
def test_inputs_are_named_in_few_words(indices: tuple[int, ...], said: str) -> None:
    assert f"({said})" in str(EmbeddingsError("m", indices=indices))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.InputError, ValueError),
        (errors.DeadlineExceededError, TimeoutError),
        (errors.RequestTimeoutError, TimeoutError),
        (errors.ConnectionFailedError, ConnectionError),
    ],
)
def test_errors_are_caught_by_the_names_that_python_has(
    kind: type, builtin: type
) -> None:
    assert issubclass(kind, builtin)


def test_the_tree_in_the_modules_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in CLASSES:
        assert kind.__name__ in drawn


def test_what_may_pass_says_so_and_the_rest_does_not() -> None:
    transient = {kind.__name__ for kind in CLASSES if kind.transient}
    assert transient == {
        *("ConnectionFailedError", "RequestTimeoutError", "InvalidResponseError"),
        *("RateLimitError", "ServerError", "InternalServerError", "OverloadedError"),
        *("NoReplicaError", "GatewayTimeoutError"),
    }
