"""Bodies: what is sent, what is believed, what is made of errors."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import sys
from typing import Any

import numpy as np
import pytest

from together_embed import errors
from together_embed.engine import quick, wire
from together_embed.engine.outcome import Reply
from together_embed.engine.rows import LISTS, Arrays, ErrorReply, InvalidReply

KEY = "sk-canary-0123456789"


def read(body: bytes, count: int, width: int | None = None) -> list[list[float]]:
    return LISTS.read(wire.read_answer(body, count).embeddings, width)


def answer(*rows: object, **more: object) -> bytes:
    data = [{"index": i, "embedding": row} for i, row in enumerate(rows)]
    return json.dumps({"object": "list", "data": data, **more}).encode()


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def item(index: object, embedding: object = (1.0, 2.0)) -> dict[str, object]:
    return {"index": index, "embedding": embedding}


def body_of(*items: object) -> bytes:
    return json.dumps({"data": list(items)}).encode()


def test_a_body_holds_what_the_user_set_and_nothing_else() -> None:
    assert json.loads(wire.encode("m", ["a", "ü\n"])) == {
        "model": "m",
        "input": ["a", "ü\n"],
    }
    assert json.loads(wire.encode("m", ["a"], {"dimensions": 3}))["dimensions"] == 3


@pytest.mark.parametrize("text", ["", "a", 'quote " \\', "\x00\x1f\x7f", "ü漢😀", "</"])
def test_the_size_of_a_text_is_what_it_adds_to_a_body(text: str) -> None:
    one = len(wire.encode("m", ["x"]))
    assert len(wire.encode("m", ["x", text])) - one == wire.size(text)
    assert wire.size_of_all(["x", text]) == wire.size("x") + wire.size(text)


def test_rows_come_in_the_order_of_the_texts() -> None:
    body = body_of(item(2, [3.0]), item(0, [1.0]), item(1, [2.0]))
    assert read(body, 3) == [[1.0], [2.0], [3.0]]


def test_integers_become_floats() -> None:
    (row,) = read(answer([0, 1, -3, 2.5, 2**70]), 1)
    assert row == [0.0, 1.0, -3.0, 2.5, float(2**70)]
    assert {type(number) for number in row} == {float}


def test_base64_is_taken_item_by_item() -> None:
    rows = read(answer(packed(0.1, -2.0), [3, 4.5]), 2)
    assert rows == [list(struct.unpack("<2f", struct.pack("<2f", 0.1, -2))), [3.0, 4.5]]


def test_what_is_unknown_is_ignored() -> None:
    body = json.dumps(
        {
            "data": [{**item(0), "object": "embedding", "extra": [None]}],
            "usage": None,
            "id": 7,
        }
    ).encode()
    assert read(body, 1) == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 6, "total_tokens": 7}, 7),
        ({"prompt_tokens": 6}, 6),
        ({"prompt_tokens": 6, "total_tokens": 0}, 6),
        ({"total_tokens": 1}, 1),
        ({"total_tokens": 0}, None),
        ({"total_tokens": -1}, None),
        ({"total_tokens": "7"}, None),
        ({"total_tokens": 7.5}, None),
        ({"total_tokens": True}, None),
        ({}, None),
        ([7], None),
        (7, None),
    ],
)
def test_tokens_are_what_a_server_counted_if_that_is_a_number(
    usage: object, tokens: int | None
) -> None:
    assert wire.read_answer(answer([1.0], usage=usage), 1).tokens == tokens


@pytest.mark.parametrize(("name", "model"), [("m-2", "m-2"), (None, None), (7, None)])
def test_the_model_is_the_name_that_the_server_gives(
    name: object, model: str | None
) -> None:
    assert wire.read_answer(answer([1.0], model=name), 1).model == model


@pytest.mark.parametrize(
    ("body", "count", "said"),
    [
        (answer([1.0]), 2, "1 rows for 2 texts"),
        (body_of(item(0), item(2)), 2, "an index outside of 0..1"),
        (body_of(item(0), item(-1)), 2, "an index outside of 0..1"),
        (body_of(item(1), item(1)), 2, "index 1 comes twice"),
    ],
)
def test_a_refused_answer_says_what_is_wrong(
    body: bytes, count: int, said: str
) -> None:
    with pytest.raises(InvalidReply, match=f"^{re.escape(said)}$"):
        read(body, count)


@pytest.mark.parametrize("form", [LISTS, Arrays()], ids=["lists", "arrays"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (([1.0], []), "row 1 is 0 wide, not 1"),
        (([1.0, 2.0], [1.0]), "row 1 is 1 wide, not 2"),
        (([], [1.0]), "row 0 is 0 wide, not wider"),
        (([1.0], base64.b64encode(b"12345").decode()), "row 1 is no base64 of float32"),
        ((packed(1.0), packed(math.nan)), "row 1 holds a number that is no finite"),
        ((packed(1.0), packed(-math.inf)), "row 1 holds a number that is no finite"),
    ],
)
def test_a_row_that_is_not_right_is_named(
    form: Any, rows: tuple[object, ...], said: str
) -> None:
    with pytest.raises(InvalidReply, match=re.escape(said)):
        form.read(wire.read_answer(answer(*rows), len(rows)).embeddings, None)


@pytest.mark.parametrize("form", [LISTS, Arrays()], ids=["lists", "arrays"])
def test_rows_that_stand_at_several_places_share_no_memory(form: Any) -> None:
    block = form.read(wire.read_answer(answer([1.0], [2.0]), 2).embeddings, 1)
    first, second, third = rows = form.spread(block, [0, 1, 0])
    assert [list(row) for row in rows] == [[1.0], [2.0], [1.0]]
    third[0] = 9.0
    assert (first[0], second[0]) == (1.0, 2.0)


@pytest.mark.parametrize("form", [LISTS, Arrays()], ids=["lists", "arrays"])
@pytest.mark.parametrize("code", ["f", "d"])
def test_kept_bytes_are_the_same_numbers_again(form: Any, code: str) -> None:
    rows = [[0.5, -3.0], [0.25, 4.0]]
    block = form.unpack(code, [struct.pack(f"<2{code}", *row) for row in rows])
    assert [list(row) for row in block] == rows
    assert len(form.empty(2, 3)) == 2


HUGE = float(struct.unpack("<f", b"\xff\xff\x7f\x7f")[0])


def test_the_largest_numbers_are_finite() -> None:
    assert read(answer(packed(*[HUGE] * 4096)), 1) == [[HUGE] * 4096]
    assert read(answer([sys.float_info.max] * 2), 1) == [[sys.float_info.max] * 2]


WRONG: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 1),
    "html": (b"<html></html>", 1),
    "half": (answer([1.0, 2.0])[:-9], 1),
    "two documents": (answer([1.0]) * 2, 1),
    "not utf-8": (b'{"data":[{"index":0,"embedding":"\xff\xfe"}]}', 1),
    "null": (b"null", 1),
    "a list": (b"[]", 1),
    "a string": (b'"data"', 1),
    "no data": (b"{}", 1),
    "null data": (b'{"data":null}', 1),
    "data an object": (b'{"data":{}}', 0),
    "data a string": (b'{"data":"ab"}', 2),
    "an error in a 200": (b'{"error":{"message":"x"}}', 1),
    "too few": (answer([1.0]), 2),
    "too many": (answer([1.0], [2.0]), 1),
    "none": (answer(), 1),
    "an item null": (b'{"data":[null]}', 1),
    "an item a list": (b'{"data":[[0,[1.0]]]}', 1),
    "no index": (b'{"data":[{"embedding":[1.0]}]}', 1),
    "no embedding": (b'{"data":[{"index":0}]}', 1),
    "index twice": (body_of(item(0), item(0)), 2),
    "index too high": (body_of(item(1)), 1),
    "index from one": (body_of(item(1), item(2)), 2),
    "index negative": (body_of(item(-1)), 1),
    "index huge": (body_of(item(2**64)), 1),
    "index null": (body_of(item(None)), 1),
    "index a bool": (body_of(item(False)), 1),
    "index a string": (body_of(item("0")), 1),
    "index a fraction": (body_of(item(0.5)), 1),
    "index nested": (b'{"data":[{"index":' + b"[" * 900 + b"]" * 900 + b"}]}", 1),
    "two widths": (answer([1.0, 2.0], [1.0]), 2),
    "two widths in two forms": (answer([1.0, 2.0], packed(1.0)), 2),
    "null row": (answer(None), 1),
    "empty row": (answer([]), 1),
    "empty rows": (answer([], []), 2),
    "an empty string": (answer(""), 1),
    "row an object": (answer({"0": 1.0}), 1),
    "row a number": (answer(1.0), 1),
    "row nested": (answer([[1.0]]), 1),
    "row of strings": (answer(["1.0", "2.0"]), 1),
    "a null number": (answer([None, 1.0]), 1),
    "a bool among numbers": (answer([True, 1.0]), 1),
    "only bools": (answer([True, False]), 1),
    "NaN": (b'{"data":[{"index":0,"embedding":[NaN]}]}', 1),
    "Infinity": (b'{"data":[{"index":0,"embedding":[-Infinity]}]}', 1),
    "infinite when parsed": (b'{"data":[{"index":0,"embedding":[1e999]}]}', 1),
    "an endless integer": (
        b'{"data":[{"index":0,"embedding":[' + b"9" * 400 + b"]}]}",
        1,
    ),
    "no base64": (answer("not base64!"), 1),
    "base64 without its end": (answer(packed(1.0, 2.0, 3.0)[:-1]), 1),
    "base64 of half a number": (answer(base64.b64encode(b"12345678ab").decode()), 1),
    "base64 with junk in it": (answer("!!!!" + packed(1.0, 2.0, 3.0)[4:]), 1),
    "base64 beyond ascii": (answer("ÄÄÄÄ" * 4), 1),
    "base64 NaN": (answer(packed(1.0, math.nan)), 1),
    "base64 infinity": (answer(packed(math.inf, 1.0)), 1),
    "base64 infinities that cancel": (answer(packed(math.inf, -math.inf)), 1),
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda name: name.replace(" ", "-"))
def test_a_200_that_is_not_right_is_refused(wrong: str) -> None:
    body, count = WRONG[wrong]
    with pytest.raises(InvalidReply) as caught:
        read(body, count)
    assert 0 < len(str(caught.value)) < 300


@pytest.mark.parametrize("error", ["no room", {"message": "no room", "code": 7}])
def test_an_error_with_a_status_of_200_is_told_in_its_own_words(error: object) -> None:
    with pytest.raises(ErrorReply, match=r"^no room$"):
        wire.read_answer(json.dumps({"error": error}).encode(), 2)


def test_another_width_than_the_known_one_is_refused() -> None:
    with pytest.raises(InvalidReply):
        read(answer([1.0, 2.0]), 1, width=3)


# Errors


def scrub(words: str) -> str:
    return words.replace(KEY, "[hidden]")


def error_of(status: int, body: object, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.read_error(Reply(status, headers, raw), scrub)


def test_an_error_of_the_contract_is_read_in_full() -> None:
    fields = {"message": "no such key", "type": "auth", "param": "p", "code": "c"}
    error = error_of(401, {"id": "req-1", "error": fields})
    assert type(error) is errors.AuthenticationError
    assert (error.status, error.message) == (401, "no such key")
    assert (error.type, error.param, error.code) == ("auth", "p", "c")
    assert error.request_id == "req-1"


def test_the_request_id_of_the_header_comes_first() -> None:
    error = error_of(
        500, {"id": "a", "error": {"message": "x"}}, **{"x-request-id": "b"}
    )
    assert error.request_id == "b"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m", "type": None, "code": 429}}, "m"),
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"message": "m", "type": "BadRequest"}, "m"),
        ({"detail": [{"loc": ["body", "input", 0], "msg": "m", "input": "x"}]},
         "body.input.0: m"),
        (b"m", "m"),
        (b"<html><head><style>p {}</style></head><body><h1>m</h1></body></html>", "m"),
        (b"", "no message"),
        (b"null", "None"),
        ({}, "no message"),
        ({"error": None}, "no message"),
        ({"error": {"message": None}}, "no message"),
    ],
)  # fmt: skip
def test_every_known_shape_of_an_error_is_read(body: object, message: str) -> None:
    error = error_of(500, body)
    assert error.message == message
    assert type(error) is errors.InternalServerError


def test_a_code_that_is_a_number_becomes_text() -> None:
    assert error_of(429, {"error": {"message": "m", "code": 429}}).code == "429"


def test_a_kind_at_the_top_level_is_seen() -> None:
    body = {"error": {"message": "m", "type": None}, "type": "dynamic_request_limited"}
    assert error_of(429, body).type == "dynamic_request_limited"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900 + b"]" * 900,
        b'{"error":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"error":{"message":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"detail":[{"loc":5,"msg":["m"]}]}',
        b'{"detail":[{"loc":"body","msg":null}]}',
        b'{"detail":[1,null,"x"]}',
        b'{"detail":{"reason":"m"}}',
        b'{"id":{"a":1},"error":{"message":"m","param":["p"],"type":{"x":1}}}',
        b"\xff\xfe\x00",
        b"<" * 5000,
        b"<script" * 900,
        b"\x1b[31mred\x07",
    ],
    ids=range(14),
)
def test_an_odd_body_is_an_error_like_another(body: bytes) -> None:
    error = error_of(503, body)
    assert type(error) is errors.OverloadedError
    assert len(str(error)) < 1200


def test_a_body_that_repeats_a_huge_input_leaves_an_excerpt() -> None:
    text = "word " * 2_000_000
    for body in ({"error": {"message": text}}, {"detail": text}, text.encode()):
        error = error_of(422, body)
        assert len(error.message) <= wire.EXCERPT + 1
        assert "\n" not in error.message


@pytest.mark.parametrize(("length", "kept"), [(300, 300), (301, 301), (9000, 301)])
def test_words_are_kept_up_to_a_length_and_then_cut(length: int, kept: int) -> None:
    message = error_of(400, {"error": {"message": "x" * length}}).message
    assert len(message) == kept
    assert message.endswith("…") == (length > wire.EXCERPT)


def test_what_no_printer_shows_is_a_question_mark() -> None:
    body = {"error": {"message": "a\x1b[2Jb\u202ec", "type": "t" * 101}}
    error = error_of(400, body)
    assert error.message == "a?[2Jb?c"
    assert error.type == "t" * 100


def test_what_a_validator_found_is_told_three_times_at_most() -> None:
    found = [{"loc": ["body", at], "msg": f"m{at}", "input": "hush"} for at in range(4)]
    whole = "body.0: m0; body.1: m1; body.2: m2"
    assert error_of(422, {"detail": found}).message == whole
    assert error_of(422, {"error": {"detail": found}}).message == whole
    both = {"error": {"message": "mine", "detail": found}}
    assert error_of(422, both).message == "mine"
    assert error_of(422, {"detail": [{"loc": "body", "msg": "m"}]}).message == "body: m"


@pytest.mark.parametrize(
    ("places", "param"),
    [
        ([["body", "dimensions"]], "dimensions"),
        ([["body", "input", "str"], ["body", "input", 0]], "input"),
        ([["body", "input"], ["body", "dimensions"]], None),
        ([["body"]], None),
        (["body", ["body", "input"]], None),
        ([], None),
    ],
)
def test_the_field_that_a_validator_minds_is_the_errors_param(
    places: list[object], param: str | None
) -> None:
    found = [{"loc": place, "msg": "m"} for place in places]
    assert error_of(422, {"detail": found}).param == param


@pytest.mark.parametrize("name", ["type", "code"])
def test_a_kind_beside_the_error_counts_where_the_error_has_none(name: str) -> None:
    beside = {"error": {"message": "m", name: None}, name: "beside"}
    assert getattr(error_of(400, beside), name) == "beside"
    within = {"error": {"message": "m", name: "within"}, name: "beside"}
    assert getattr(error_of(400, within), name) == "within"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "words"}, "words"),
        ({"error": 7}, "no message"),
        ({"error": None, "message": "words"}, "words"),
        ({"error": True, "detail": "words"}, "words"),
        ([1, 2], "[1, 2]"),
        (b"\xff plain", "\ufffd plain"),
        (b"<html><style>p{}</style><h1>Bad</h1> gateway", "Bad gateway"),
    ],
)
def test_words_of_any_form_are_read(body: object, message: str) -> None:
    assert error_of(400, body).message == message


@pytest.mark.parametrize("before", [0, 250, 290, 299, 5990, 5999, 60_000])
@pytest.mark.parametrize("filler", ["x", " ", "<p>"])
def test_an_echoed_key_is_hidden_wherever_it_stands(before: int, filler: str) -> None:
    said = (filler * before)[:before] + KEY + " was wrong"
    for body in ({"error": {"message": said}}, {"detail": said}, said.encode()):
        error = error_of(401, body)
        assert KEY[:9] not in str(error)
        assert KEY[:9] not in repr(error)


def test_a_key_in_any_field_is_hidden() -> None:
    fields = {name: f"{name} {KEY}" for name in ("message", "type", "param", "code")}
    error = error_of(401, {"id": KEY, "error": fields}, **{"x-request-id": f"r-{KEY}"})
    assert KEY not in f"{error} {error!r} {vars(error)}"


STATUSES = {
    301: errors.RedirectError,
    307: errors.RedirectError,
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    405: errors.StatusError,
    408: errors.GatewayTimeoutError,
    413: errors.PayloadTooLargeError,
    418: errors.StatusError,
    422: errors.UnprocessableError,
    429: errors.RateLimitError,
    500: errors.InternalServerError,
    502: errors.ServerError,
    503: errors.OverloadedError,
    504: errors.GatewayTimeoutError,
    520: errors.ServerError,
    522: errors.ServerError,
    529: errors.ServerError,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_each_status_has_its_class(status: int, kind: type) -> None:
    assert type(error_of(status, b"")) is kind


@pytest.mark.parametrize("status", [400, 404])
def test_a_model_that_is_not_available_says_what_can_be_done(status: int) -> None:
    body = {"error": {"message": "no such model", "code": "model_not_available"}}
    error = error_of(status, body)
    assert type(error) is errors.ModelNotAvailableError
    assert "dedicated" in str(error)


@pytest.mark.parametrize("place", ["type", "code"])
def test_a_deployment_without_a_replica_says_what_can_be_done(place: str) -> None:
    error = error_of(503, {"error": {"message": "m", place: "routing_error"}})
    assert type(error) is errors.NoReplicaError
    assert error.transient
    assert "20 minutes" in str(error)


def test_a_redirect_says_where_to_without_what_may_be_secret() -> None:
    error = error_of(307, b"", location="https://u:hush@other.example/v1?token=abc")
    assert "https://other.example/v1" in str(error)
    assert "abc" not in str(error)
    assert "hush" not in str(error)
    error = error_of(307, b"", location="/v2?token=abc?more")
    assert error.message == "redirect to /v2"


# Arrays


def array_of(body: bytes, count: int, decode: quick.Decode | None = None) -> Any:
    return Arrays().read(wire.read_answer(body, count, decode).embeddings, None)


def test_arrays_hold_the_same_numbers_as_lists() -> None:
    body = answer(packed(0.1, -2.0), [3, 0.5])
    block = np.asarray(array_of(body, 2))
    assert block.dtype == np.float32
    assert block.tolist() == read(body, 2)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("decode", [None, quick.decoder()], ids=["plain", "simdjson"])
def test_a_200_that_is_not_right_is_no_array_either(
    wrong: str, decode: quick.Decode | None
) -> None:
    body, count = WRONG[wrong]
    with pytest.raises(InvalidReply):
        array_of(body, count, decode)


@pytest.mark.parametrize("decode", [None, quick.decoder()], ids=["plain", "simdjson"])
@pytest.mark.parametrize("row", [[1e39, 1.0], [-1e300, 1e300]])
def test_a_number_beyond_float32_is_refused_in_an_array(
    row: list[float], decode: quick.Decode | None
) -> None:
    with pytest.raises(InvalidReply):
        array_of(answer(row), 1, decode)
