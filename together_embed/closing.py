"""Objects that hold connections, as context managers of either colour."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Closing:
    """Is closed at the end of its block, `with` as well as `async with`."""

    def close(self) -> None:
        """Close the connections. New ones are opened when the object is used again."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the connections, those of the running loop before this returns."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
