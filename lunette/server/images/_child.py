"""The process that unpacks: a fork of the caller, which goes into the tree and never comes back.

What it says goes through a pipe, as JSON lines: {"unshared": true} once, {"done": BYTES} now and
then, and last {"error": {"kind", "message"}} or {"unpacked": {...}}.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from attrs import frozen

from lunette.server.images._budget import Budget
from lunette.server.images._layers import apply_layers, explained
from lunette.server.images._mount_points import make_mount_points, read_text
from lunette.server.images._namespace import enter, keep_only
from lunette.server.images._plan import IdMap, Limits
from lunette.server.images._tree import Tree
from lunette.server.images.errors import ImageError, InvalidImageError

__all__ = ["Job"]


@frozen
class Job:
    """What the child works with: descriptors, but for the numbers.

    *layers* are the files and their media types; *news* is where it writes, *go* says when its ids
    are mapped, *parent* is the process that waits.
    """

    layers: Sequence[tuple[int, str]]
    target: int
    news: int
    go: int
    ids: IdMap | None
    limits: Limits
    parent: int

    def run(self) -> NoReturn:
        """Unpack; to be called right after the fork."""
        try:
            self._settle()
            self._tell(self._outcome())
            os._exit(0)
        finally:
            os._exit(1)

    def _settle(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        keep_only([self.target, self.news, self.go, *(fd for fd, _ in self.layers)])
        gc.freeze()

    def _outcome(self) -> dict[str, Any]:
        try:
            self._enter()
            return {"unpacked": self._unpack()}
        except ImageError as error:
            return _error(error)
        except MemoryError:
            return _error(InvalidImageError("the image needs too much memory to be unpacked"))
        except Exception as error:
            return _error(ImageError(f"the image cannot be unpacked: {error!r}"))

    def _enter(self) -> None:
        try:
            enter(
                self.target,
                become_root=self.ids is not None,
                map_ids=self._wait_for_ids,
                parent=self.parent,
            )
        except OSError as error:
            raise ImageError(
                f"images cannot be unpacked here: no user namespace of one's own ({error});"
                " allow unprivileged user namespaces, or use the docker engine"
            ) from error

    def _wait_for_ids(self) -> None:
        self._tell({"unshared": True})
        if not os.read(self.go, 1):
            os._exit(1)
        os.close(self.go)

    def _unpack(self) -> dict[str, Any]:
        budget = Budget(self.limits, ".")
        tree = Tree(budget, self.ids.count if self.ids else None)
        try:
            budget.check_disk()
            apply_layers(self.layers, tree, budget, lambda done: self._tell({"done": done}))
            make_mount_points(tree)
            tree.finish()
            budget.check_disk()
        except OSError as error:
            raise explained(error, "the image") from error
        return {
            "size": tree.size,
            "files": budget.entries,
            "passwd": read_text("etc/passwd"),
            "group": read_text("etc/group"),
        }

    def _tell(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.news, data) :]


def _error(error: ImageError) -> dict[str, Any]:
    return {"error": {"kind": error.kind, "message": str(error)}}
