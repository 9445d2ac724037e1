"""Ending with the one who started this process: when standard input ends, it is gone."""

from __future__ import annotations

import os
import select
import threading
import time
from types import TracebackType
from typing import Self

from .errors import ImageError

__all__ = ["Leash", "LetGoError"]

_LONGEST_LINE = 1 << 20
_CODE = 1


class LetGoError(Exception):
    """Nobody is left who wants the image."""


class Leash:
    """The descriptor *fd*, on which one line comes and then nothing until the end.

    As a context, a thread looks after it and ends the process at once, whatever other threads wait
    for: a pull may be killed at any point. Where no thread may live, since the process is about to
    fork, `check` and `pause` look instead.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def line(self) -> bytes:
        """Read the line."""
        content = bytearray()
        while b"\n" not in content:
            chunk = os.read(self._fd, 65536)
            if not chunk:
                raise LetGoError
            content += chunk
            if len(content) > _LONGEST_LINE:
                raise ImageError("what this process is to pull is not said in a line of 1 MiB")
        return bytes(content.partition(b"\n")[0])

    def check(self) -> None:
        """Raise LetGoError at the end of the descriptor."""
        if select.select([self._fd], [], [], 0)[0] and not os.read(self._fd, 65536):
            raise LetGoError

    def pause(self, seconds: float) -> None:
        """Wait; raise LetGoError at the end of the descriptor."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                self.check()

    def __enter__(self) -> Self:
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="lunette-leash")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._wake)
        self._thread.join()
        os.close(self._stop)

    def _watch(self) -> None:
        while self._stop not in (ready := select.select([self._fd, self._stop], [], [])[0]):
            if self._fd in ready and not os.read(self._fd, 65536):
                os._exit(_CODE)
