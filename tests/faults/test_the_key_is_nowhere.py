"""A canary key is looked for wherever a program leaves traces, and is in no place.

The one place where it belongs is the `Authorization` header of a request; the server
here sees it there, and repeats it in every way that a careless one could.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import os
import pickle
import signal
import ssl
import subprocess
import sys
import time
import traceback
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import trustme
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumpd, dumps
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import SecretStr, ValidationError

from together_embed import EmbeddingsError
from together_embed.cli import main
from together_embed.errors import ConfigurationError
from together_embed.local import Fault, LocalEndpoint

from .raw import Act, Exchange, RawServer, body_for, http
from .ways import KEY, WAYS, Way

TEXTS = ["one text", "another"]
SPELLINGS = (KEY, KEY[6:-6], b64encode(KEY.encode()).decode()[4:-4])
PURPOSE = ssl.Purpose.CLIENT_AUTH
LOUD = ("", "requests", "urllib3", "aiohttp", "asyncio", "llama_index", "langchain")


def told(*shown: Any) -> list[str]:
    """Return the spellings of the key that are somewhere in what is shown."""
    said = "\n".join(
        text.decode("latin-1") if isinstance(text, bytes) else str(text)
        for text in shown
    )
    return [spelling for spelling in SPELLINGS if spelling in said]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect what all libraries log, at DEBUG, and all warnings."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)r"))
    loggers = [logging.getLogger(name) for name in LOUD]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield stream
    stream.write("".join(map(str, warned)))
    loggers[0].removeHandler(handler)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)
    assert told(stream.getvalue()) == []


# What servers repeat


def repeating(status: str, *headers: str, body: str | None = None) -> Act:
    said = json.dumps({"error": {"message": f"no: {KEY}"}}) if body is None else body
    whole = http(said.encode(), *(h.format(KEY=KEY) for h in headers), status=status)

    def act(exchange: Exchange) -> None:
        exchange.send(whole)
        exchange.hang_up()

    return act


def in_the_model(exchange: Exchange) -> None:
    """Put it where a model's name stands: that is kept, compared and warned of."""
    body = json.loads(body_for(exchange.texts))
    body["model"] = f"m of {KEY} {time.monotonic()}"
    exchange.send(http(json.dumps(body).encode()))


def in_a_header_that_is_none(exchange: Exchange) -> None:
    exchange.send(f"HTTP/1.1 200 OK\r\nBearer {KEY}\r\nX-A: b\r\n\r\n{{}}".encode())
    exchange.hang_up()


FIELDS = dict.fromkeys(("message", "type", "param", "code", "id"), f"{KEY}")
REPEATED: dict[str, Act] = {
    "message": repeating("401 Unauthorized"),
    "every-field": repeating(
        "400 Bad", body=json.dumps({"id": KEY, "error": FIELDS, **FIELDS})
    ),
    "detail": repeating("422 No", body=json.dumps({"detail": f"Bearer {KEY}"})),
    "details": repeating(
        "422 No",
        body=json.dumps({"detail": [{"loc": [KEY], "msg": KEY, "input": KEY}]}),
    ),
    "name-of-a-field": repeating("500 No", body=json.dumps({"error": {KEY: KEY}})),
    "page": repeating("502 Bad", body=f"<html><b>{KEY}</b></html>"),
    "text": repeating("503 Busy", body=f"{'x' * 290} {KEY}"),
    "reason": repeating(f"403 {KEY}"),
    "encoded": repeating(
        "401 No", body=f"no: {b64encode(f'Bearer {KEY}'.encode()).decode()}"
    ),
    "request-id": repeating("500 No", "X-Request-Id: {KEY}"),
    "redirect": repeating("307 There", "Location: http://{KEY}@h/{KEY}?k={KEY}#{KEY}"),
    "hints": repeating("429 Slow", "Retry-After: {KEY}", "X-RateLimit-Reset: {KEY}"),
    "cookie": repeating("200 OK", "Set-Cookie: {KEY}; =;{KEY}", body="{}"),
    "odd-cookie": repeating("200 OK", "Set-Cookie: a[{KEY}]=\x01{KEY}", body="{}"),
    "odd-header": repeating("200 OK", "X {KEY}: {KEY}", body="{}"),
    "coding": repeating("200 OK", "Content-Encoding: {KEY}", body="{}"),
    "length": repeating("200 OK", "Content-Length: {KEY}"),
    "type": repeating("200 OK", "Content-Type: {KEY}; charset={KEY}", body=KEY),
    "error-with-200": repeating("200 OK"),
    "answer-that-is-none": repeating("200 OK", body=f'{{"data": "{KEY}"}}'),
    "row": repeating(
        "200 OK", body=json.dumps({"data": [{"index": 0, "embedding": KEY}] * 2})
    ),
    "header-that-is-none": in_a_header_that_is_none,
    "model": in_the_model,
}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk an exception, what it came from, and what it came amid of."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        found = todo.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            todo += [found.__cause__, found.__context__]
            todo += [one for one in found.args if isinstance(one, BaseException)]


def shown_by(error: BaseException) -> Iterator[Any]:
    """Show an exception in all the ways that programs do."""
    for one in chain(error):
        yield from (str(one), repr(one), one.args, vars(one))
        yield getattr(one, "__notes__", ())
        yield getattr(one, "errors", tuple)()  # pydantic's, with what was put in
        with_locals = traceback.TracebackException.from_exception(
            one, capture_locals=True
        )
        # The test's own frames hold the key for certain.
        with_locals.stack = traceback.StackSummary.from_list(
            frame for frame in with_locals.stack if "tests/faults" not in frame.filename
        )
        yield "".join(f"{frame.line} {frame.locals}" for frame in with_locals.stack)
    yield pickle.dumps(error)
    yield copy.deepcopy(error)


@pytest.mark.parametrize("place", REPEATED)
def test_a_key_that_a_server_repeats_is_in_no_error_log_warning_or_file(
    way: Way, make: Any, log: io.StringIO, tmp_path: Path, place: str
) -> None:
    with RawServer(REPEATED[place]) as server:
        store = str(tmp_path / "v.db")
        model = make(
            way, server.url, max_retries=1, cache=store, encoding_format="float"
        )
        caught: EmbeddingsError | None = None
        with suppress(EmbeddingsError):
            way.embed(model, TEXTS)
        try:  # where it finds another model's name than before
            way.embed(model, ["a third"])
        except EmbeddingsError as error:
            caught = error
        assert any(f"Authorization: Bearer {KEY}" in head for head in server.heads)
    assert caught is not None or place == "model"
    if caught is not None:
        for shown in shown_by(caught):
            assert told(shown) == []
    assert told(*files(tmp_path)) == []


# What reports of errors show, with the variables of each frame


class OutOfTimeError(Exception):
    """What a queue of jobs raises amid one that takes too long."""


def fail() -> None:
    mine = "as it was"
    raise ValueError(mine)


def variables_of(error: ValueError) -> dict[str, Any]:
    """Return those of the frame that an error was raised in."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_locals


@pytest.mark.parametrize("way", WAYS[::2], ids=lambda way: way.name)
@pytest.mark.parametrize("raised", [KeyboardInterrupt, OutOfTimeError])
def test_what_breaks_off_a_sync_request_takes_no_key_along(
    way: Way, make: Any, raised: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        raise raised

    def act(exchange: Exchange) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        exchange.pause()

    before = signal.signal(signal.SIGINT, stop)
    try:
        fail()
    except ValueError as error:
        handled = error
        with RawServer(act) as server, pytest.raises(raised) as caught:
            way.embed(make(way, server.url), TEXTS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert variables_of(handled) == {"mine": "as it was"}
    for shown in shown_by(caught.value):
        assert told(shown) == []


@pytest.mark.parametrize("way", WAYS[1::2], ids=lambda way: way.name)
async def test_what_breaks_off_an_async_request_takes_no_key_along(
    way: Way, make: Any
) -> None:
    loop, asking = asyncio.get_running_loop(), asyncio.current_task()
    assert asking is not None
    cancel = asking.cancel

    def act(exchange: Exchange) -> None:
        loop.call_soon_threadsafe(cancel)
        exchange.pause()

    with RawServer(act) as server:
        model = make(way, server.url)
        try:
            fail()
        except ValueError as error:
            handled = error
            with pytest.raises(asyncio.CancelledError) as caught:
                await getattr(model, way.method)(TEXTS)
        assert variables_of(handled) == {"mine": "as it was"}
        await way.client(model).aclose()
    for shown in shown_by(caught.value):
        assert told(shown) == []


WRONG: dict[str, dict[str, Any]] = {
    "setting": {"batch_size": 0},
    "address": {"base_url": "none"},
    "public": {"base_url": "http://embeddings.example"},
    "space": {"api_key": f"{KEY} {KEY}"},
    "bytes": {"api_key": KEY.encode()},
    "list": {"api_key": [KEY]},
    "rotated": {"api_key": lambda: f"{KEY} {KEY}"},
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_wrong_setting_raises_takes_no_key_along(way: Way, wrong: str) -> None:
    with pytest.raises((ConfigurationError, ValidationError)) as caught:
        way.embed(way.make("http://127.0.0.1:9", **WRONG[wrong]), TEXTS)
    for shown in shown_by(caught.value):
        assert told(shown) == []


def test_a_proxy_that_repeats_its_password_is_not_repeated(
    transport: Way, make: Any, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeat(exchange: Exchange) -> None:
        got = [line for line in server.heads[-1].splitlines() if "Proxy" in line]
        said = json.dumps({"error": {"message": f"{KEY}: {got}"}})
        exchange.send(http(said.encode(), status="407 Who are you"))

    with RawServer(repeat) as server:
        address = server.url.rpartition("/")[2]
        monkeypatch.setenv("http_proxy", f"http://user:{KEY}@{address}")
        model = make(transport, "http://embeddings.internal", api_key="another-key")
        with pytest.raises(EmbeddingsError, match="407") as caught:
            transport.embed(model, TEXTS)
    basic = b64encode(f"user:{KEY}".encode()).decode()
    assert f"Proxy-Authorization: Basic {basic}" in server.heads[0]
    for shown in shown_by(caught.value):
        assert told(shown) == []
        assert basic not in str(shown)


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


# What objects show


def objects(model: Any, client: Any) -> Iterator[Any]:
    """Show a model, its client and its settings in all the ways that programs do."""
    for twin in (model, copy.copy(model), copy.deepcopy(model)):
        yield from (repr(twin), str(twin), f"{twin}")
    for held in (model, client, client.settings):
        yield from (pickle.dumps(held, p) for p in range(pickle.HIGHEST_PROTOCOL + 1))
    yield from (repr(client), repr(client.settings), client.stats)
    # Of the headers, which are the user's own words, this is the plain content.
    yield {k: v for k, v in asdict(client.settings).items() if k != "headers"}
    yield client.namespace("query")
    if isinstance(model, Embeddings):  # which LangChain's tracers write so
        yield from (dumps(model), dumpd(model))
        retriever = InMemoryVectorStore(model).as_retriever()
        yield from (dumps(retriever), repr(retriever))
    for name in ("model_dump", "model_dump_json", "to_dict", "to_json", "to_payload"):
        if hasattr(model, name):
            yield getattr(model, name)()
    if hasattr(model, "model_dump"):
        yield from (model.model_dump(mode="json"), type(model).model_json_schema())


@pytest.mark.parametrize("way", WAYS[::2], ids=lambda way: way.name)
@pytest.mark.parametrize("source", ["text", "secret", "function", "environment"])
def test_no_object_shows_the_key(
    way: Way, source: str, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    key: Any = {"text": KEY, "secret": SecretStr(KEY), "function": ask_for_key}
    if source == "environment":
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    with LocalEndpoint(dimension=8, api_key=KEY) as endpoint:
        headers = {
            "headers" if way is WAYS[0] else "default_headers": {"X-Api-Key": KEY}
        }
        model = way.make(endpoint.base_url, api_key=key.get(source), **headers)
        assert way.embed(model, TEXTS) == [endpoint.embed(text) for text in TEXTS]
        shown = [*objects(model, way.client(model)), *map(repr, endpoint.log)]
        way.close(model)
    assert told(*shown) == []


@pytest.mark.parametrize("way", WAYS[2::2], ids=lambda way: way.name)
def test_no_object_shows_a_key_that_it_was_given_later(way: Way) -> None:
    field = "api_key" if way is WAYS[4] else "together_api_key"
    with LocalEndpoint(dimension=8, api_key=KEY) as endpoint:
        model = way.make(endpoint.base_url, api_key="another-key")
        twin = model.model_copy(update={field: KEY})
        setattr(model, field, KEY)
        for given in (model, twin):
            assert way.embed(given, TEXTS) == [endpoint.embed(text) for text in TEXTS]
            shown = [*objects(given, way.client(given)), vars(given)]
            assert told(*shown) == []
            way.close(given)


def ask_for_key() -> str:
    return KEY


# What libraries log, with everything turned on


async def test_a_loop_in_debug_mode_logs_no_key(log: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # each callback is logged as a slow one
    with LocalEndpoint(dimension=8) as endpoint:
        endpoint.script(["reset", 429, "cut", "echo"])
        async with WAYS[1].make(endpoint.base_url, batch_size=1) as client:
            with suppress(EmbeddingsError):
                await client.aembed([f"text {n}" for n in range(9)])
    loop.set_debug(False)
    assert "asyncio" in log.getvalue()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_what_http_client_prints_of_requests_holds_none_of_ours(
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    secure: bool,
) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(PURPOSE)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    with RawServer(tls=context if secure else None) as server:
        WAYS[0].embed(make(WAYS[0], server.url), TEXTS)
    assert told(*capfd.readouterr()) == []


def test_what_a_users_own_function_raises_is_not_handed_on(
    make: Any, log: io.StringIO
) -> None:
    """In warnings and statistics, that is: to who called it goes as it is."""

    def raise_it(*_: object) -> str:
        raise RuntimeError(f"no: {KEY}")

    told_of: list[Any] = []
    with LocalEndpoint(dimension=8) as endpoint:
        for way in WAYS[:2]:
            way.embed(make(way, endpoint.base_url, on_batch=raise_it), TEXTS)
            settings = {"api_key": raise_it, "on_batch": told_of.append}
            with pytest.raises(RuntimeError, match="no: "):
                way.embed(make(way, endpoint.base_url, **settings), TEXTS)
    assert [batch.reason for batch in told_of] == ["RuntimeError"] * 2


def test_the_local_endpoint_logs_no_key(make: Any, log: io.StringIO) -> None:
    with LocalEndpoint(dimension=8, api_key=KEY) as endpoint:
        endpoint.script(["reset", "cut", Fault.echo(500), "long_header", "drip", None])
        for way in WAYS[:2]:
            with suppress(EmbeddingsError):
                way.embed(make(way, endpoint.base_url, max_retries=2), TEXTS)
        assert endpoint.requests >= 4
        assert told(*map(repr, endpoint.log), repr(vars(endpoint))) == []


# LlamaIndex's observers, and what it writes


class Listener(BaseEventHandler):
    events: list[Any] = []  # noqa: RUF012 - a field of pydantic's, copied for each

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.mark.parametrize("way", WAYS[4:], ids=lambda way: way.name)
def test_no_event_span_or_persisted_pipeline_holds_the_key(
    way: Way, log: io.StringIO, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, listener, spans = get_dispatcher(), Listener(), SimpleSpanHandler()
    debug = LlamaDebugHandler(print_trace_on_end=True)
    root.add_event_handler(listener)
    root.add_span_handler(spans)
    with LocalEndpoint(dimension=8) as endpoint:
        model = way.make(
            endpoint.base_url,
            callback_manager=CallbackManager([debug]),
            cache=str(tmp_path / "v.db"),
        )
        pipeline = IngestionPipeline(transformations=[model])
        documents = [Document(text=text) for text in TEXTS]
        if way.name.endswith("async"):
            asyncio.run(pipeline.arun(documents=documents))
        else:
            pipeline.run(documents=documents)
        endpoint.fail(Fault.echo(401))
        with suppress(EmbeddingsError):
            way.embed(model, ["a third"])
        pipeline.persist(str(tmp_path / "pipeline"))
        way.close(model)
    root.event_handlers.remove(listener)
    root.span_handlers.remove(spans)
    assert listener.events
    pairs = debug.get_event_pairs()
    ended = [*spans.completed_spans, *spans.dropped_spans]
    shown = [repr(one) for one in (*listener.events, *pairs, *ended)]
    shown += [event.model_dump_json() for event in listener.events]
    assert told(*shown, *files(tmp_path), *capfd.readouterr()) == []


# The command


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["words", "json"])
def test_a_check_shows_no_key_of_what_a_server_repeats(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: Any
) -> None:
    pytest.importorskip("pyarrow", reason="the command needs it")

    def repeat(exchange: Exchange) -> None:
        body = json.loads(body_for(exchange.texts))
        body["model"] = f"{KEY} \x1b[2J"
        headers = f"X-RateLimit-Limit: {KEY}", f"X-RateLimit-{KEY}: 1"
        exchange.send(http(json.dumps(body).encode(), *headers))

    with RawServer(repeat) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        assert main(["check", "-m", "m", "--base-url", server.url, *form]) == 0
    out, err = capfd.readouterr()
    assert "which the server calls [hidden] ?[2J" in out
    assert "\x1b" not in out
    assert "001b" not in out
    assert told(out, err) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux's /proc")
def test_the_command_shows_no_key_in_the_process_list_its_output_or_its_files(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pyarrow", reason="the command needs it")
    (tmp_path / "in.jsonl").write_text('{"text": "one text"}\n{"text": "another"}\n')
    start = "import sys; from together_embed.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "embed", "in.jsonl"]
    with LocalEndpoint(dimension=8) as endpoint:
        endpoint.fail("hang")
        environ = {
            **os.environ,
            "PYTHONPATH": os.getcwd(),
            "TOGETHER_API_KEY": KEY,
            "TOGETHER_BASE_URL": endpoint.base_url,
        }
        with subprocess.Popen(
            [*command, "out.npy", "--model", "m"],
            env=environ,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            while not endpoint.requests and process.poll() is None:
                time.sleep(0.01)
            listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            endpoint.fail(Fault.echo(401), times=None)
            process.terminate()
            out, _ = process.communicate(timeout=30)
        echoed = subprocess.run(
            [*command, "out.npy", "--model", "m"],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert b"together_embed" in listed
    assert echoed.returncode != 0
    assert b"hidden" in echoed.stdout + echoed.stderr
    assert told(listed, out, echoed.stdout, echoed.stderr, *files(tmp_path)) == []
