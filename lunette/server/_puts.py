"""Files that come as one body: none is committed over what began to come after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from attrs import define, field

from lunette.server.engines.files import FileWriter

__all__ = ["Put", "Puts"]


@define(eq=False)
class _Path:
    """How many *begun* and still *coming*, and which was *committed* last."""

    begun: int = 0
    coming: int = 0
    committed: int = 0
    turn: asyncio.Lock = field(factory=asyncio.Lock, init=False)


class Put:
    """One of those to a path, the *number*th."""

    def __init__(self, path: _Path, number: int) -> None:
        self._path = path
        self._number = number

    async def commit(self, writer: FileWriter) -> None:
        """Commit, or leave nothing if a later one was committed: then this one came before it."""
        async with self._path.turn:
            if self._number < self._path.committed:
                await writer.abort()
                return
            await writer.commit()
            self._path.committed = self._number


class Puts:
    """Those of one sandbox.

    A client whose connection was cut repeats what may still be under way. When the repeat is
    answered, the first must not come over what the client does next.
    """

    def __init__(self) -> None:
        self._paths: dict[str, _Path] = {}

    @contextlib.contextmanager
    def begun(self, name: str) -> Generator[Put]:
        """Let one begin."""
        path = self._paths.setdefault(name, _Path())
        path.begun += 1
        path.coming += 1
        try:
            yield Put(path, path.begun)
        finally:
            path.coming -= 1
            if not path.coming:
                del self._paths[name]
