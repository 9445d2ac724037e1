"""How a command ended, and its output in bounded memory: its beginning and its end."""

from __future__ import annotations

from attrs import frozen

__all__ = ["LARGEST_OUTPUT_LIMIT", "OUTPUT_LIMIT", "Outcome", "Output"]

# Both as in openapi.yaml.
OUTPUT_LIMIT = 10 * 1024 * 1024
LARGEST_OUTPUT_LIMIT = 16 * 1024 * 1024


@frozen(kw_only=True)
class Outcome:
    """How a command ended; *truncated* counts the bytes that were left out of both streams."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int
    signal: int | None = None
    timed_out: bool = False
    out_of_memory: bool = False
    truncated: int = 0
    duration: float = 0.0

    @property
    def size(self) -> int:
        return len(self.stdout) + len(self.stderr)


class Output:
    """One stream of a command, cut in the middle when it is over *limit* bytes."""

    def __init__(self, limit: int = OUTPUT_LIMIT) -> None:
        self._head_size = limit // 2
        self._tail_size = limit - self._head_size
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take what the command wrote."""
        self._total += len(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail += data
        # Some slack, so that small writes do not move the whole tail each time.
        if len(self._tail) > 2 * self._tail_size:
            del self._tail[: len(self._tail) - self._tail_size]

    def lose(self, count: int) -> None:
        """Count what was written and is not there any more: what comes now is of the end."""
        if not count:
            return
        self._total += count
        self._head_size = len(self._head)
        self._tail.clear()

    def kept(self) -> bytes:
        """Return the stream, or its two ends with no character cut in two."""
        tail = self._tail[max(0, len(self._tail) - self._tail_size) :]
        if len(self._head) + len(tail) == self._total:
            return bytes(self._head + tail)
        return _without_cut_end(self._head) + _without_cut_start(tail)

    @property
    def total(self) -> int:
        """The bytes that the command wrote."""
        return self._total


def _without_cut_end(data: bytearray) -> bytes:
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return bytes(data[:-back]) if length > back else bytes(data)
    return bytes(data)


def _without_cut_start(data: bytearray) -> bytes:
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return bytes(data[start:])
