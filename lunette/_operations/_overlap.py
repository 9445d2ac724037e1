"""Work for the disk that goes on in a thread of its own while the network is waited for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator

__all__ = ["Ahead", "Behind"]

# A piece of an archive.
_MOST_BYTES = 4 * 1024 * 1024


class _Passage:
    """Bytes on their way from one thread to another; it is full with those of a piece."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._is_over = False
        self._changed = threading.Condition()

    def put(self, chunk: bytes) -> bool:
        """Add *chunk* when there is room; False if nothing is taken any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _MOST_BYTES or self._is_over)
            if self._is_over:
                return False
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._changed.notify_all()
            return True

    def get(self) -> bytes | None:
        """Take the next one when it is there; None behind the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._is_over)
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            self._changed.notify_all()
            return chunk

    def end(self) -> None:
        """Let what was put be the last."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def forget(self) -> None:
        """End it, and drop what was not taken."""
        with self._changed:
            self._chunks.clear()
            self.end()


class _Helper(ABC):
    """A thread that is begun when there is something to do; its error is raised where it is asked
    for what it did.
    """

    def __init__(self) -> None:
        self._passage = _Passage()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the thread, which may be at a last chunk. Idempotent."""
        self._passage.forget()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lunette-tree", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
            self._passage.end()

    @abstractmethod
    def _work(self) -> None: ...

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class Ahead(_Helper, Iterator[bytes]):
    """What *items* gives, taken before it is asked for."""

    def __init__(self, items: Iterator[bytes]) -> None:
        super().__init__()
        self._items = items

    def __next__(self) -> bytes:
        self._begin()
        chunk = self._passage.get()
        if chunk is None:
            self._raise()
            raise StopIteration
        return chunk

    def _work(self) -> None:
        for item in self._items:
            if not self._passage.put(item):
                return
        self._passage.end()


class Behind(_Helper):
    """Calls *take* with each chunk after it was put, perhaps when others have come."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        super().__init__()
        self._take = take

    def put(self, chunk: bytes) -> None:
        """Have *chunk* taken; raise what went wrong with one before."""
        self._begin()
        if not self._passage.put(chunk):
            self._raise()

    def finish(self) -> None:
        """Wait until all is taken; raise what went wrong."""
        self._passage.end()
        if self._thread is not None:
            self._thread.join()
        self._raise()

    def _work(self) -> None:
        while (chunk := self._passage.get()) is not None:
            self._take(chunk)
