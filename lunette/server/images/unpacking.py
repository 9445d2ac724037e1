"""Unpacking the layers of an image into one tree, by a process that can do nothing else.

A layer comes from a stranger: its names, links and sizes are made up as they please. So a fork of
the caller that has its own user, mount, network, IPC and UTS namespaces takes the tree as its root,
and gives up every right but that of shaping it. No user needs to be root for this.

Extended attributes are not kept: without privileges, file capabilities are void in a sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from lunette.server.images._child import Job
from lunette.server.images._plan import IdMap, Layer, Limits, Unpacked
from lunette.server.images.errors import ImageError, error_of_kind

__all__ = ["IdMap", "Layer", "Limits", "Unpacked", "unpack"]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES = 1 << 20
_PATIENCE_MILLISECONDS = 500
_MAX_LINE_BYTES = 32 << 20  # well above two texts of 1 MiB, whatever has to be escaped in them


def unpack(
    layers: Sequence[Layer],
    target: Path,
    *,
    ids: IdMap | None,
    limits: Limits,
    report: Callable[[int], None],
) -> Unpacked:
    """Unpack *layers*, the lowest first, into *target*, an empty directory of the caller.

    This blocks, and forks: call it from a process without threads. With *ids* None, all files
    belong to the caller, who is user 0 in the tree. Otherwise the caller must be root, and they
    belong to the users of *ids* that the layers name. *report* is told how many bytes of the layers
    are done, a few times a second also if nothing changes; what it raises ends the unpacking.

    At the end `/dev`, `/etc`, `/proc`, `/sys`, `/tmp` and `/workspace` are directories, and
    `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` are files; each was made if it was missing
    or a link.

    Raises InvalidImageError for a layer that is damaged, hostile or over a limit, NoSpaceError, and
    ImageError if no namespace can be had or the process was killed. The caller removes *target*
    then.
    """
    with contextlib.ExitStack() as stack:
        directory = _open(stack, target, _DIRECTORY)
        news, telling = _pipe(stack)
        waiting, going = _pipe(stack)
        job = Job(
            layers=[(_open(stack, layer.path, _FILE), layer.media_type) for layer in layers],
            target=directory,
            news=telling.fileno(),
            go=waiting.fileno(),
            ids=ids,
            limits=limits,
            parent=os.getpid(),
        )
        owners = _Owners.of(ids)
        os.fchown(directory, owners.user, owners.group)
        os.fchmod(directory, 0o755)
        child = os.fork()
        if child == 0:
            job.run()
        telling.close()
        waiting.close()
        try:
            outcome = _follow(news, report, lambda: _let_go(child, owners, going))
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(child, 0)
    return _unpacked(outcome, status)


@frozen
class _Owners:
    """Who of this machine the users and groups from 0 on are."""

    user: int
    group: int
    count: int
    ours: bool

    @classmethod
    def of(cls, ids: IdMap | None) -> _Owners:
        if ids is None:
            return cls(os.geteuid(), os.getegid(), 1, ours=True)
        return cls(ids.base, ids.base, ids.count, ours=False)


def _open(stack: contextlib.ExitStack, path: Path, flags: int) -> int:
    fd = os.open(path, flags)
    stack.callback(os.close, fd)
    return fd


def _pipe(stack: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return (
        stack.enter_context(os.fdopen(reading, "rb")),
        stack.enter_context(os.fdopen(writing, "wb", buffering=0)),
    )


def _let_go(child: int, owners: _Owners, going: BinaryIO) -> None:
    """Map the ids of the child's user namespace, for which it waits."""
    own = Path(f"/proc/{child}")
    try:
        if owners.ours:
            (own / "setgroups").write_text("deny")  # the kernel's condition for one's own group
        (own / "uid_map").write_text(f"0 {owners.user} {owners.count}")
        (own / "gid_map").write_text(f"0 {owners.group} {owners.count}")
    except OSError as error:
        raise ImageError(
            f"images cannot be unpacked here: no ids for a user namespace ({error}); run the"
            " server as an ordinary user, or as root with all capabilities"
        ) from error
    going.write(b"1")


def _follow(
    news: BinaryIO, report: Callable[[int], None], let_go: Callable[[], None]
) -> dict[str, Any]:
    """Read what the child says to its end, and return its last word, which may be missing."""
    outcome: dict[str, Any] = {}
    done = 0
    for line in _lines(news):
        message = json.loads(line) if line else {"done": done}
        if "unshared" in message:
            let_go()
        elif "done" in message:
            done = message["done"]
            report(done)
        else:
            outcome = message
    return outcome


def _lines(news: BinaryIO) -> Iterator[bytes]:
    """Yield line after line, and an empty one when none has come for a while."""
    poll = select.poll()
    poll.register(news, select.POLLIN)
    rest = b""
    while True:
        if not poll.poll(_PATIENCE_MILLISECONDS):
            yield b""
            continue
        data = os.read(news.fileno(), _READ_BYTES)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            raise ImageError("unpacking does not make sense any more; this is a bug")
        yield from lines


def _unpacked(outcome: dict[str, Any], status: int) -> Unpacked:
    if found := outcome.get("unpacked"):
        return Unpacked(**found)
    if error := outcome.get("error"):
        raise error_of_kind(error["kind"], error["message"])
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise ImageError(
            f"unpacking was killed by {signal.Signals(-code).name}; if nobody did so, the machine"
            " is short of memory"
        )
    raise ImageError(f"unpacking ended with code {code} and without a word; this is a bug")
