"""Runs the local endpoint from a terminal, until Ctrl-C.

Behind `together-embed serve`, and `python -m together_embed.local.serve`.
"""

import argparse
import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial

from together_embed.local.hashing import DIMENSION
from together_embed.local.limits import Limits
from together_embed.local.server import LocalEndpoint

_SAID = """\
Listening at {url}

  export TOGETHER_BASE_URL={url}
  export TOGETHER_API_KEY={key}

Texts are embedded as {dimension} numbers by hashing their words: texts that
share words are near each other. This is no language model, and does not know
what words mean.
Its OpenAPI document is at {root}/openapi.json. Ctrl-C stops it.
"""

_SUPPORT = ("honour", "ignore", "refuse")
_HOW = "honour, ignore or refuse (%(default)s)"
_KEY = "environment variable that holds the key to require"
_MODEL = "model to serve, may be repeated; default: any name"
_PORT = "port; 0 takes a free one (%(default)s)"
_JSON = "answer in JSON: a line at the start and the end"
_DELAY = "seconds that each request takes"
_PER_TEXT = "further seconds for each text"
_SLOTS = "requests served at once; the others queue"
_CAP = "429 above N requests in flight"
_WIDTH = "numbers in a vector (%(default)s)"


def serve(argv: Sequence[str] | None = None) -> int:
    """Run a local endpoint until it is interrupted.

    Args:
        argv: Arguments of the command line; those of the process where None.

    Returns:
        The exit code: 0 after Ctrl-C or a request to terminate, 1 where it could not
        start, 2 where an argument or the environment is wrong.
    """
    chosen = _parser().parse_args(argv)
    key = os.environ.get(chosen.api_key_env) if chosen.api_key_env else None
    if chosen.api_key_env and not key:
        return _fail(f"the environment variable {chosen.api_key_env} is not set", 2)
    endpoint = _endpoint(chosen, key)
    try:
        with endpoint:
            shown = f'"${chosen.api_key_env}"' if key else "any-key-will-do"
            if chosen.json:
                openapi = f"{endpoint.root_url}/openapi.json"
                _write_json(base_url=endpoint.base_url, openapi=openapi)
            else:
                _say(endpoint, chosen.dimension, shown)
            _wait_for_interrupt()
    except OSError as error:
        number = error.errno or 0  # with one, the words hold the address again
        why = os.strerror(number) if number > 0 else error.strerror
        busy = "; choose another --port" if number == errno.EADDRINUSE else ""
        return _fail(f"cannot listen at {chosen.host}:{chosen.port}: {why}{busy}", 1)
    if chosen.json:
        _write_json(requests=endpoint.requests, texts=endpoint.texts)
    else:
        _write(f"\nRequests: {endpoint.requests}. Texts: {endpoint.texts}.\n")
    return 0


def _endpoint(chosen: argparse.Namespace, key: str | None) -> LocalEndpoint:
    limits = Limits(
        max_in_flight=chosen.max_in_flight,
        requests_per_second=chosen.requests_per_second,
    )
    endpoint = LocalEndpoint(
        dimension=chosen.dimension,
        models=chosen.model,
        api_key=key,
        base64=chosen.base64,
        dimensions=chosen.dimensions,
        strict=chosen.strict,
        usage=chosen.usage,
        limits=limits,
        slots=chosen.slots,
        delay=chosen.delay,
        delay_per_text=chosen.delay_per_text,
        host=chosen.host,
        port=chosen.port,
    )
    if chosen.storm:
        endpoint.storm(chosen.storm)
    return endpoint


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="together-embed serve",
        usage="%(prog)s [options]",
        description="Run an embeddings endpoint on this machine that hashes words.",
        # An option and what it does share a line: all of it fits a screen of 24.
        formatter_class=partial(argparse.HelpFormatter, max_help_position=34),
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8000, metavar="N", help=_PORT)
    add("--model", action="append", metavar="NAME", help=_MODEL)
    add("--dimension", type=_count, default=DIMENSION, metavar="N", help=_WIDTH)
    add("--api-key-env", metavar="NAME", help=_KEY)
    add("--delay", type=_seconds, default=0.0, metavar="S", help=_DELAY)
    add("--delay-per-text", type=_seconds, default=0.0, metavar="S", help=_PER_TEXT)
    add("--slots", type=_count, metavar="N", help=_SLOTS)
    add("--max-in-flight", type=_count, metavar="N", help=_CAP)
    add("--requests-per-second", type=_rate, metavar="X", help="429 above X a second")
    add("--storm", type=_share, metavar="SHARE", help="share of requests that fail")
    add("--usage", action="store_true", help="report tokens: one a word")
    add("--strict", action="store_true", help="refuse unknown fields")
    for name, usual in (("--base64", "honour"), ("--dimensions", "refuse")):
        add(name, choices=_SUPPORT, default=usual, metavar="HOW", help=_HOW)
    add("--json", action="store_true", help=_JSON)
    return parser


class _number:  # noqa: N801 -- read as a type in the table above
    """Read an int or a float that is no less, and no more, than it may be."""

    def __init__(
        self, kind: type[int] | type[float], least: float, most: float = float("inf")
    ) -> None:
        self._kind, self._least, self._most = kind, least, most

    def __call__(self, word: str) -> float:
        try:
            value = self._kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is no number") from None
        if not self._least <= value <= self._most:
            raise argparse.ArgumentTypeError(f"{word} is out of range")
        return value


_port = _number(int, 0, 65535)
_count = _number(int, 1)
_seconds = _number(float, 0)
_rate = _number(float, 0.001)
_share = _number(float, 0, 1)


def _say(endpoint: LocalEndpoint, dimension: int, key: str) -> None:
    _write(
        _SAID.format(
            url=endpoint.base_url, root=endpoint.root_url, dimension=dimension, key=key
        )
    )


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _write_json(**values: object) -> None:
    _write(json.dumps(values) + "\n")


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"together-embed serve: {message}\n")
    return code


def _wait_for_interrupt() -> None:
    """Wait until Ctrl-C, or a request to terminate, and take it without a traceback."""
    asked = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        asked.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(serve())
