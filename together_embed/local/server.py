"""Runs the local endpoint: a real HTTP server on loopback, in a thread of its own.

`LocalEndpoint` owns the thread, its event loop and the listening socket, and is how
tests set faults and read counts. Every property may be read, and every fault be set,
from any thread while the server runs.
"""

import asyncio
from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from together_embed.learned import forget
from together_embed.local import hashing
from together_embed.local.contract import Support, Terms
from together_embed.local.document import document
from together_embed.local.faults import EVERY_WAY, Fault, Kind, Shape
from together_embed.local.limits import Limits
from together_embed.local.schedule import Schedule, Step
from together_embed.local.service import Embedder, Service
from together_embed.local.tally import Counts, Tally
from together_embed.local.thread import ServerThread

if TYPE_CHECKING:
    from typing_extensions import Self


class LocalEndpoint(Counts):
    """An embeddings endpoint on this machine, for tests and prototypes.

    It hashes words and is no language model: texts that share words are near each
    other, texts that share a meaning alone are not. Use it as a context manager; it
    stops, and closes its connections, at the end of the block.

    Args:
        dimension: Numbers in a vector, at least 1.
        models: Names that are served; any name where None. Others get a 404.
        api_key: The one key that is accepted; any that is not empty where None.
        require_key: Whether a request without a key is refused with 401.
        embedder: "hash", or a function of a text and a dimension that gives its
            vector, which is rounded to float32.
        base64: What becomes of `encoding_format`: honoured, ignored, or refused with
            400 as an unknown field is.
        dimensions: What becomes of `dimensions`, likewise.
        strict: Whether to be as strict as the live service where the published
            contract is not: to refuse fields that it does not know, instead of leaving
            them unused, and a request without a body, instead of answering no rows.
        usage: Whether answers carry `usage`, counted in words.
        gzip: Whether answers are packed for clients that ask for it.
        answer_model: A name to answer with instead of the one that was asked for.
        max_bytes: Size of a body above which it is refused with 413.
        max_texts: Number of texts above which a request is refused with 422.
        max_chars: Characters of a text above which a request is refused with 422.
        limits: Limits on what is in flight and on the rate; they can be changed later
            through the attribute of that name.
        slots: How many requests are worked on at once; the others queue.
        delay: Seconds that every answer takes.
        delay_per_text: Seconds that each text adds.
        script: A fault, or None, for each of the first requests.
        remember_texts: Whether `seen` counts each text that was answered.
        log_size: How many POSTs the log holds.
        keep_alive: Seconds after which an idle connection is closed.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose one.

    Raises:
        OSError: On entering the block, where the address is taken.
    """

    def __init__(
        self,
        *,
        dimension: int = hashing.DIMENSION,
        models: Collection[str] | None = None,
        api_key: str | None = None,
        require_key: bool = True,
        embedder: Embedder | Literal["hash"] = "hash",
        base64: Support = "honour",
        dimensions: Support = "refuse",
        strict: bool = False,
        usage: bool = False,
        gzip: bool = False,
        answer_model: str | None = None,
        max_bytes: int | None = None,
        max_texts: int | None = None,
        max_chars: int | None = None,
        limits: Limits | None = None,
        slots: int | None = None,
        delay: float = 0.0,
        delay_per_text: float = 0.0,
        script: Iterable[Step] = (),
        remember_texts: bool = False,
        log_size: int = 10_000,
        keep_alive: float = 75.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if dimension < 1:
            raise ValueError(f"a vector has at least 1 number, not {dimension}")
        self._dimension = dimension
        terms = Terms(
            dimension,
            models=models,
            base64=base64,
            dimensions=dimensions,
            max_bytes=max_bytes,
            max_texts=max_texts,
            max_chars=max_chars,
            strict=strict,
        )
        self.limits = limits or Limits()
        self._embedder: Embedder = hashing.embed if embedder == "hash" else embedder
        self._rounds = embedder != "hash"
        self._schedule = Schedule()
        self._schedule.script(script)
        self._tally = Tally(log_size, remember_texts)
        self._service = Service(
            terms=terms,
            limits=self.limits,
            schedule=self._schedule,
            tally=self._tally,
            embed=self.embed,
            document=document(terms),
            api_key=api_key,
            require_key=require_key,
            usage=usage,
            gzip=gzip,
            answer_model=answer_model,
            delay=delay,
            delay_per_text=delay_per_text,
            slots=None if slots is None else asyncio.Semaphore(slots),
        )
        self._thread = ServerThread(
            self._service.handle,
            on_connect=self._tally.connected,
            max_bytes=max_bytes,
            keep_alive=keep_alive,
        )
        self._host, self._port = host, port
        self._started = False

    # Running

    def __enter__(self) -> "Self":
        self._port = self._thread.start(self._host, self._port)
        self._started = True
        forget(self.base_url)  # a new server, though perhaps at an old one's port
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.stop()

    @property
    def base_url(self) -> str:
        """URL to point a client at, ending in `/v1`."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """URL of the server itself; its document is at `/openapi.json` below it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        """Port that it listens on."""
        if not self._started:
            raise RuntimeError("not started yet: use the endpoint in a `with` block")
        return self._port

    def embed(self, text: str, dimension: int | None = None) -> list[float]:
        """Give the vector that the server sends for `text`, bit for bit."""
        vector = self._embedder(text, dimension or self._dimension)
        return array("f", vector).tolist() if self._rounds else list(vector)

    # Failing

    def fail(
        self,
        what: Fault | Kind | int,
        *,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        shape: Shape | None = None,
    ) -> None:
        """Let the next requests meet a fault.

        Args:
            what: A fault, the name of a kind, or a status.
            times: How many requests meet it; None: all, until `heal`.
            headers: Headers to add to its answer.
            body: A body to send instead of one of a known shape.
            shape: Form of the error's body; see `Fault`.

        Raises:
            ValueError: If there is no such fault.
        """
        changes: dict[str, Any] = {}
        if headers is not None:
            changes["headers"] = dict(headers)
        if body is not None:
            changes["body"] = body.encode() if isinstance(body, str) else body
        if shape is not None:
            changes["shape"] = shape
        fault = Fault.of(what)
        self._schedule.fail(replace(fault, **changes) if changes else fault, times)

    def script(self, steps: Iterable[Step]) -> None:
        """Say what each of the next requests meets; None or 200: an answer."""
        self._schedule.script(steps)

    def fail_every(self, period: int, faults: Iterable[Step] = EVERY_WAY) -> None:
        """Let each `period`-th request fail, the faults taking turns."""
        self._schedule.every(period, faults)

    def storm(
        self, rate: float = 0.3, *, seed: int = 0, faults: Iterable[Step] = EVERY_WAY
    ) -> None:
        """Let a share `rate` of the requests fail, as the dice of `seed` fall."""
        self._schedule.storm(rate, seed, faults)

    def heal(self) -> None:
        """Forget all faults that were set and have not happened."""
        self._schedule.heal()

    def slow(self, delay: float, per_text: float = 0.0) -> None:
        """Change how many seconds each answer takes from now on."""
        self._service.delay, self._service.delay_per_text = delay, per_text
