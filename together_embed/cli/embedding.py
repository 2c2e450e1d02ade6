"""The work of `together-embed embed`: from a source, by a client, into a sink.

Resuming is the store's: a second run reads the input again, and finds the vectors of
the first in the cache. So the input may have changed meanwhile, and a row that failed
costs no other row anything.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path

from together_embed.cli.exits import (
    DONE,
    FAILED,
    SOME_FAILED,
    STOPPED,
    CommandError,
    reason,
)
from together_embed.cli.failures import Failures
from together_embed.cli.formats import open_sink
from together_embed.cli.logbook import Logbook, logged
from together_embed.cli.pace import Pace
from together_embed.cli.progress import shown
from together_embed.cli.settling import embed_rows
from together_embed.cli.sinks import Layout, Sink
from together_embed.cli.source import Source
from together_embed.cli.words import many
from together_embed.client import EmbeddingsClient
from together_embed.errors import EmbeddingsError
from together_embed.store import Store, StoreError


@dataclass(frozen=True)
class Report:
    """What `embed` has done.

    Attributes:
        out: The file of the vectors.
        model: The model.
        endpoint: The server.
        width: Numbers in a vector.
        written: Rows in the file.
        failed: Rows that have no vector.
        failures: The file that names them, None where there are none.
        sent: Texts that this run had embedded, equal ones of a batch counted once.
        recalled: Texts whose vectors an earlier run had left in the cache.
        requests: Requests that this run sent.
        seconds: How long it took.
        cache: The file that still keeps the vectors, None where there is none.
    """

    out: str
    model: str
    endpoint: str
    width: int
    written: int
    failed: int
    failures: str | None
    sent: int
    recalled: int
    requests: int
    seconds: float
    cache: str | None

    @property
    def code(self) -> int:
        """The exit code."""
        return SOME_FAILED if self.failed else DONE

    def lines(self) -> list[str]:
        """Return it in words."""
        speed = f", {self.written / self.seconds:,.0f} a second" if self.written else ""
        said = [
            f"{self.out}: {many(self.written, 'vector')} of width {self.width:,}",
            f"{many(self.sent, 'text')} sent in {many(self.requests, 'request')}; "
            f"{self.seconds:,.1f} s{speed}",
        ]
        if self.recalled:
            said.append(f"{many(self.recalled, 'text')} found in the cache")
        if self.failures:
            rows = many(self.failed, "row")
            said.append(f"{rows} without a vector, see {self.failures}")
        if self.cache:
            said.append(f"vectors are kept in {self.cache}")
        return said


@dataclass(frozen=True)
class Job:
    """One run of `embed`.

    Attributes:
        client: Keeps what it embeds in `cache`.
        source: Where the rows are.
        out: Where they go.
        layout: How.
        cache: The file that the client keeps vectors in.
        keeps: Whether that stays when the work is whole.
    """

    client: EmbeddingsClient
    source: Source
    out: Path
    layout: Layout
    cache: Path
    keeps: bool

    def run(self) -> Report:
        """Do the work.

        Raises:
            CommandError: It cannot be done, or Ctrl-C has ended it; the message tells
                what is kept.
        """
        begun = time.monotonic()
        failures = Failures(self.out, self.source.unit)
        try:
            with shown("embed", lambda: self.client.stats) as pace:
                pace.total = self.source.count()
                sink = open_sink(self.out, self.source, self.layout)
                try:
                    with logged(pace, self.cache, self.client.settings) as book:
                        written, width = self._pour(sink, failures, pace, book)
                    if not written:
                        raise CommandError(self._nothing(failures), _code(failures))
                    failures.publish()
                    sink.publish()
                finally:
                    sink.discard()
        except KeyboardInterrupt:
            raise CommandError(f"stopped. {self._kept()}", STOPPED) from None
        except EmbeddingsError as error:
            words = reason(error).rstrip(".")
            raise CommandError(f"{words}. {self._kept()}") from error
        except OSError as error:
            # What Arrow says of a file that it reads has no number of the system's.
            file = error.filename or (self.out if error.errno else self.source.name)
            words = str(error.strerror or error).rstrip(".")
            if error.errno == ENOSPC:
                words += "; make room"
            raise CommandError(f"{file}: {words}. {self._kept()}") from error
        finally:
            failures.discard()
        return self._report(written, width, failures, time.monotonic() - begun)

    def _pour(
        self, sink: Sink, failures: Failures, pace: Pace, book: Logbook
    ) -> tuple[int, int]:
        """Write all rows that get a vector; return how many, and the vectors' width."""
        written = width = 0
        size = self.client.settings.batch_size
        chunks = self.source.chunks(size, failures.add)
        with closing(embed_rows(self.client, chunks)) as settled:
            for chunk, vectors, failed in settled:
                for place, error in failed.items():
                    number, name = chunk.numbers[place], chunk.ids[place]
                    own = name if self.source.id else None
                    failures.add(number, own, reason(error))
                if len(vectors):
                    sink.write(chunk.without(failed), vectors)
                    written, width = written + len(vectors), vectors.shape[1]
                pace.move(written + failures.count, time.monotonic())
                book.look()
        return written, width

    def _nothing(self, failures: Failures) -> str:
        if failures.count:
            failures.publish()
            return f"no row has a vector, see {failures.path} for the reasons"
        return f"{self.source.name} holds no rows; nothing was written"

    def _kept(self) -> str:
        if not self._is_cached():
            return "Nothing was written."
        return (
            f"What is done is kept in {self.cache}: run the same command again, "
            "and it goes on from there."
        )

    def _is_cached(self) -> bool:
        """Tell whether the file keeps vectors: it may be another program's."""
        try:
            with Store(self.cache, strict=True) as store:
                store.get([b""])
        except StoreError:
            return False
        return self.cache.is_file()

    def _report(
        self, written: int, width: int, failures: Failures, seconds: float
    ) -> Report:
        self.client.close()
        stays = self.keeps or failures.count > 0
        cached = self._is_cached()
        if cached and not stays:
            for end in ("", "-wal", "-shm"):
                self.cache.with_name(self.cache.name + end).unlink(missing_ok=True)
        stats, settings = self.client.stats, self.client.settings
        return Report(
            out=str(self.out),
            model=settings.model,
            endpoint=settings.base_url,
            width=width,
            written=written,
            failed=failures.count,
            failures=str(failures.path) if failures.count else None,
            sent=stats.texts - stats.duplicates,
            recalled=stats.recalled,
            requests=stats.requests,
            seconds=round(seconds, 3),
            cache=str(self.cache) if stays and cached else None,
        )


def _code(failures: Failures) -> int:
    return SOME_FAILED if failures.count else FAILED
