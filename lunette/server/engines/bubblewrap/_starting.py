"""What a worker is told, to start a sandbox, and the directories that it is started over."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lunette.server.engines.bubblewrap._arguments import (
    KEPT_CAPABILITIES,
    SHM_BYTES,
    TMP_BYTES,
    Image,
    shown_at,
)
from lunette.server.engines.bubblewrap._hosts import hosts_of
from lunette.server.engines.bubblewrap._identities import IMAGE_IDS, IdRange
from lunette.server.engines.bubblewrap._limits import (
    LEAST_MEMORY,
    PROCESSES,
    machine_processors,
)
from lunette.server.engines.bubblewrap._users import User
from lunette.server.engines.bubblewrap._worker import ANSWER_SECONDS
from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import (
    DEFAULT_DIRECTORY,
    NotSupportedError,
    SandboxSpec,
    Tmpfs,
)

__all__ = ["check_limits", "make_disk", "start_message"]

_FEWEST = 5  # bwrap, the first two inside, their worker, and a command
_OWN = ("fsize", "nproc")


def start_message(
    spec: SandboxSpec,
    *,
    image: Image,
    arguments: str,
    libraries: Path,
    disk: Path,
    disk_limit: int,
    ids: IdRange | None,
    user: User,
    groups: Sequence[str] = (),
) -> Message:
    """Return the first message to a worker."""
    return {
        "op": "start",
        "arguments": arguments,
        "environment": {"LD_LIBRARY_PATH": str(libraries)},
        "base": ids.base if ids else None,
        "count": ids.count if ids else 0,
        "image": _shown(image, disk),
        "capabilities": KEPT_CAPABILITIES if ids else 0,
        "user": {"uid": user.uid, "gid": user.gid, "groups": user.groups},
        "processes": spec.pids_limit or PROCESSES,
        "disk": disk_limit,
        "shm": spec.shm_size or SHM_BYTES,
        "groups": groups,
        "ulimits": dict(spec.ulimits),
        "tmpfs": [_tmpfs(entry, ranged=ids is not None, user=user) for entry in spec.tmpfs],
        "read_only": image.closed if spec.read_only else (),
        "working_dir": working_dir(spec, image),
        "deadline": ANSWER_SECONDS,
    }


def working_dir(spec: SandboxSpec, image: Image) -> str:
    """Return where commands start."""
    return spec.working_dir or image.working_dir or DEFAULT_DIRECTORY


def _shown(image: Image, disk: Path) -> dict[str, Any] | None:
    if image.source is None:
        return None
    return {
        "source": str(image.source),
        "target": str(shown_at(disk)),
        "base": IMAGE_IDS[0],
    }


def _tmpfs(entry: Tmpfs, *, ranged: bool, user: User) -> dict[str, Any]:
    options = [f"size={entry.size or TMP_BYTES}", f"mode={entry.mode:o}"]
    for name, wanted, only in (("uid", entry.uid, user.uid), ("gid", entry.gid, user.gid)):
        if wanted is None:
            continue
        if not ranged and wanted != only:
            raise NotSupportedError(
                "tmpfs", f"'{name}={wanted}': the server's user has no id but {only} to give"
            )
        if ranged:
            options.append(f"{name}={wanted}")
    flags = ["nosuid", "nodev"]
    flags += [] if "exec" in entry.flags else ["noexec"]
    flags += ["ro"] if "ro" in entry.flags else []
    return {"path": entry.path, "options": ",".join(options), "flags": flags}


def check_limits(spec: SandboxSpec, memory: int) -> None:
    """Refuse a limit that is over what this process may give, *memory* of it, or under what a
    sandbox takes.

    What is over a limit of the sandbox itself is kept by that.
    """
    if spec.mem_limit is not None and not LEAST_MEMORY <= spec.mem_limit <= memory:
        detail = f"'mem_limit' of {spec.mem_limit} bytes: here it is {LEAST_MEMORY} to {memory}"
        raise NotSupportedError("mem_limit", detail)
    most = machine_processors()
    if spec.cpus is not None and spec.cpus > most:
        raise NotSupportedError("cpus", f"'cpus: {spec.cpus}': the server has {most}")
    if spec.pids_limit is not None and spec.pids_limit < _FEWEST:
        raise NotSupportedError(
            "pids_limit", f"'pids_limit: {spec.pids_limit}': a sandbox is {_FEWEST} at least"
        )
    for name, (_, hard) in spec.ulimits.items():
        if name in _OWN:
            continue
        _, ours = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
        if ours != resource.RLIM_INFINITY and not 0 <= hard <= ours:
            raise NotSupportedError(
                f"ulimits.{name}", f"the hard limit of '{name}' is over the server's own, {ours}"
            )


def make_disk(
    disk: Path, spec: SandboxSpec, image: Image, *, ids: IdRange | None, user: User
) -> None:
    """Make the writable directories of a sandbox, its user's where they are the user's."""
    names = [*image.directories, *([shown_at(disk).name] if image.source else [])]
    for path in (disk, *(disk / name for name in names)):
        path.mkdir(mode=0o700 if path == disk else 0o755)
        if ids:
            os.chown(path, ids.base, ids.base)
    hosts = disk / "hosts"
    hosts.write_text(hosts_of(spec))
    if ids:
        os.chown(hosts, ids.base, ids.base)
        os.chown(disk / "workspace", ids.base + user.uid, ids.base + user.gid)
