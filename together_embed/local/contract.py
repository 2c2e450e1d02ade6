"""Reads a request as the contract has it, or says why it cannot be answered.

`read` gives an `Ask`, or raises `Refused` with a status and the fields of the
contract's error. An empty string and an empty array keep the contract, so they are
answered: with a vector, and with no row. The published contract also allows fields
that it does not name, and no body at all: so does `read`. The live service refuses
both, and so does `read` where the terms are `strict`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Support = Literal["honour", "ignore", "refuse"]

_SHOWN = 200  # characters of a client's own words that an error may repeat


@dataclass(frozen=True)
class Terms:
    """What this endpoint grants: known models, optional fields, sizes."""

    dimension: int
    models: Collection[str] | None = None
    base64: Support = "honour"
    dimensions: Support = "refuse"
    max_bytes: int | None = None
    max_texts: int | None = None
    max_chars: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class Ask:
    """One valid request: the model, the texts, and the form that was asked for."""

    model: str
    texts: list[str]
    base64: bool
    dimension: int
    fields: tuple[str, ...]


class Refused(Exception):  # noqa: N818 -- an answer, not a mishap
    """A request that gets an error; the fields are those of the contract's error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.error = {"message": message, "type": type, "param": param, "code": code}


def read(body: bytes, terms: Terms) -> Ask:
    """Read a request's body.

    Raises:
        Refused: 400 for what is not in the contract, 404 for a model that is not
            there, 422 for too many texts or too long a one.
    """
    if not terms.strict and not body:
        return Ask("", [], False, terms.dimension, ())
    fields = _object(body)
    _no_strangers(fields, terms)
    model = fields.get("model")
    if not isinstance(model, str):
        raise Refused(400, "model: a string is required", param="model")
    texts = _texts(fields)
    base64 = _base64(fields) if terms.base64 == "honour" else False
    dimension = _dimension(fields, terms)
    _model_is_here(model, terms)
    _sizes(texts, terms)
    return Ask(model, texts, base64, dimension, tuple(sorted(fields)))


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Refused(400, "the body has to be a JSON object")
    return fields


def _no_strangers(fields: dict[str, Any], terms: Terms) -> None:
    optional = {"encoding_format": terms.base64, "dimensions": terms.dimensions}
    refused = {name for name, support in optional.items() if support == "refuse"}
    if terms.strict:
        refused |= fields.keys() - {"model", "input"} - optional.keys()
    strangers = sorted(fields.keys() & refused)
    if strangers:
        names = ", ".join(strangers)[:_SHOWN]
        raise Refused(
            400,
            f"Unrecognized request arguments supplied: {names}",
            param=strangers[0][:_SHOWN],
        )


def _texts(fields: dict[str, Any]) -> list[str]:
    given = fields.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        message = "input: a string or an array of strings is required"
        raise Refused(400, message, param="input")
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise Refused(400, f"input[{index}]: a string is required", param="input")
    return given


def _base64(fields: dict[str, Any]) -> bool:
    form = fields.get("encoding_format", "float")
    if form not in ("float", "base64"):
        message = "encoding_format: either float or base64"
        raise Refused(400, message, param="encoding_format")
    return bool(form == "base64")


def _dimension(fields: dict[str, Any], terms: Terms) -> int:
    if terms.dimensions != "honour" or "dimensions" not in fields:
        return terms.dimension
    wanted = fields["dimensions"]
    # A number in JSON is an integer by its value: 8.0 is one.
    number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
    if not number or wanted % 1 or not 1 <= wanted <= terms.dimension:
        message = f"dimensions: an integer from 1 to {terms.dimension}"
        raise Refused(400, message, param="dimensions")
    return int(wanted)


def _model_is_here(model: str, terms: Terms) -> None:
    if terms.models is not None and model not in terms.models:
        raise Refused(
            404,
            f"Unable to access model {model[:_SHOWN]!r}: it is not served here",
            param="model",
            code="model_not_available",
        )


def _sizes(texts: list[str], terms: Terms) -> None:
    if terms.max_texts is not None and len(texts) > terms.max_texts:
        message = f"input: {len(texts)} texts, of which {terms.max_texts} are allowed"
        raise Refused(422, message, param="input", code="too_many_inputs")
    if terms.max_chars is None:
        return
    for index, text in enumerate(texts):
        if len(text) > terms.max_chars:
            message = (
                f"input[{index}]: {len(text)} characters,"
                f" of which {terms.max_chars} are allowed"
            )
            raise Refused(422, message, param="input", code="input_too_long")
