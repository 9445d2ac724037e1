"""Run `lunette` with walls taken out, so that a test can show that its attack would work without
them.

    python weakened.py WEAKNESS[,WEAKNESS...] serve --uds PATH

Some weaknesses are of the server and some of the fork server, where nothing but the standard
library can be imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET_LOG = "LUNETTE_TEST_LOG"
_PULL = "pull"
_FORGET = "lunette.server.engines.bubblewrap.inside.forkserver"


# In the server


def host_root() -> None:
    """A root server that has no ids to give: the sandbox's root is the machine's."""
    from lunette.server.engines.bubblewrap import engine

    engine.is_root = lambda: False


def proc_root() -> None:
    """The second trap: bwrap follows /proc/self/root to the machine's own root."""
    _rearrange(
        lambda text: text.replace(
            "--remount-ro\0/\0", "--dir\0/host\0--bind\0/proc/self/root\0/host\0--remount-ro\0/\0"
        )
    )


def host_proc() -> None:
    """The machine's own /proc, as some runtimes give it to containers in containers."""
    _rearrange(lambda text: text.replace("--proc\0/proc\0", "--bind\0/proc\0/proc\0"))


def environment() -> None:
    from lunette.server.engines.bubblewrap import engine

    original = engine.start_message

    def start_message(*args: Any, **kwargs: Any) -> dict[str, Any]:
        message = original(*args, **kwargs)
        return {**message, "environment": {**os.environ, **message["environment"]}}

    engine.start_message = start_message


def standard_error() -> None:
    from lunette.server.engines.bubblewrap import engine

    log = os.open(os.environ[SECRET_LOG], os.O_RDWR)
    original = engine.open_worker

    async def open_worker(forkserver: Any, message: Any, bwrap: int, stderr: int | None) -> Any:
        return await original(forkserver, message, bwrap, log if stderr is None else stderr)

    engine.open_worker = open_worker


def unsealed() -> None:
    """bwrap as a file of the server's own user."""
    from lunette.server.engines.bubblewrap import _ready

    def plain_copy(program: Path, name: str) -> tuple[int, bool]:
        copy = Path(tempfile.mkdtemp(prefix="test-unsealed-")) / name
        copy.write_bytes(program.read_bytes())
        copy.chmod(0o755)
        return os.open(copy, os.O_RDONLY | os.O_CLOEXEC), True

    _ready.sealed_copy = plain_copy


def old_kernel() -> None:
    """One before Linux 6.3, which cannot seal the mode of a memfd; no weakness, the rest holds."""
    from lunette.server.engines.bubblewrap import _memfd

    _memfd._SEAL_EXEC = 0x4000_0000  # unknown to every kernel


def network() -> None:
    _rearrange(
        lambda text: text.replace(
            "--unshare-all\0",
            "--unshare-ipc\0--unshare-pid\0--unshare-uts\0--unshare-cgroup\0",
        )
    )


def nested_namespaces() -> None:
    _rearrange(lambda text: text.replace("--disable-userns\0", ""))


def outlives_bwrap() -> None:
    """What a sandbox can do to its own pid 1, by tracing it."""
    _rearrange(lambda text: text.replace("--die-with-parent\0", ""))


def deadline() -> None:
    _set_deadline(1000.0)


def short_deadline() -> None:
    """No weakness: so that the test need not wait ten seconds."""
    _set_deadline(2.0)


def unowned_pipes() -> None:
    from lunette.server.engines.bubblewrap import _pipes

    class Unowned(_pipes.OutputPipe):
        def __init__(self, *, owner: int | None) -> None:
            super().__init__(owner=None)

    _pipes.OutputPipe = Unowned  # type: ignore[misc]


def group_only() -> None:
    """Kill a command as most sandboxes do."""
    from lunette.server.engines.bubblewrap._killing import Hunt

    def members(self: Hunt, everything: Any, proc: Any) -> Any:
        return {p.pid: p for p in everything if os.getpgid(p.pid) in self.markers}

    Hunt._members = members  # type: ignore[method-assign]


def no_room_held() -> None:
    """The descriptor of a terminal is sent to a server that may have no room for it."""
    from lunette.server.engines.bubblewrap._channel import Channel

    def hold(self: Channel, message_id: int) -> None:
        pass

    Channel._hold = hold  # type: ignore[method-assign]


def links_of_the_image() -> None:
    """Trees as their layers have them, with whatever stands where bwrap mounts."""
    import asyncio

    original = asyncio.create_subprocess_exec

    async def start(*command: str, **more: Any) -> asyncio.subprocess.Process:
        if command[-1] == "lunette.server.images.pulling":
            command = (sys.executable, __file__, _PULL)
        return await original(*command, **more)

    asyncio.create_subprocess_exec = start


def no_overlay() -> None:
    """The tree of an image is the root itself."""

    def bound(text: str) -> str:
        lower, rest = text.split("--overlay-src\0", 1)[1].split("\0", 1)
        upper = rest.split("\0", 4)[:4]
        whole = "\0".join(["--overlay-src", lower, *upper])
        return text.replace(whole, f"--bind\0{lower}\0/")

    _rearrange(lambda text: bound(text) if "--overlay-src\0" in text else text)


def no_limits() -> None:
    """No control groups, and nobody who looks."""
    from lunette.server.engines.bubblewrap import engine
    from lunette.server.engines.bubblewrap._limits_watched import WatchedLimits

    async def watch(self: WatchedLimits) -> None: ...

    WatchedLimits.watch = watch  # type: ignore[method-assign]
    engine.find_limits = WatchedLimits


def _set_deadline(seconds: float) -> None:
    from lunette.server.engines.bubblewrap import _forkserver, _worker

    _worker.ANSWER_SECONDS = _forkserver._ANSWER_SECONDS = seconds
    _worker.Worker.ask.__kwdefaults__["deadline"] = seconds


def _rearrange(change: Callable[[str], str]) -> None:
    from lunette.server.engines.bubblewrap import engine

    original = engine.bwrap_arguments

    def changed(*args: Any, **kwargs: Any) -> str:
        before = original(*args, **kwargs)
        return change(before)

    engine.bwrap_arguments = changed


# In the fork server


def inside_arguments() -> None:
    """bwrap's arguments on its command line, where everybody inside reads them."""
    from lunette.server.engines.bubblewrap.inside import launching

    original = os.posix_spawn

    def spawn(path: str, argv: list[str], env: Any, *, file_actions: Any, **more: Any) -> int:
        if argv[0] == "bwrap":
            memfd = next(a[1] for a in file_actions if a[2] == launching.ARGUMENTS_FD)
            arguments = os.pread(memfd, 1 << 20, 0).decode().rstrip("\0").split("\0")
            argv = ["bwrap", *arguments, *argv[3:]]
        return original(path, argv, env, file_actions=file_actions, **more)

    os.posix_spawn = spawn  # type: ignore[assignment]


def inside_descriptors() -> None:
    """Received descriptors are inherited, which is what socket.recv_fds does."""
    import socket

    socket.MSG_CMSG_CLOEXEC = 0  # type: ignore[misc]


def inside_lazy_import() -> None:
    """A worker that needs a module which it did not import in time."""
    from lunette.server.engines.bubblewrap.inside.worker import Worker

    original = Worker._exec

    def execute(self: Worker, message: Any, fds: Any) -> Any:
        with contextlib.suppress(ImportError):
            import lunette_planted  # type: ignore[import-not-found] # noqa: F401
        return original(self, message, fds)

    Worker._exec = execute  # type: ignore[method-assign]


def inside_remembers_imports() -> None:
    from lunette.server.engines.bubblewrap.inside import forkserver

    def remember(**_: Any) -> None:
        sys.path.insert(0, "")

    forkserver._forget_how_to_import = remember


def inside_no_seccomp() -> None:
    import struct

    from lunette.server.engines.bubblewrap.inside import kernel, launching

    allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    launching.filter_program = lambda: allow
    kernel.set_seccomp = lambda: None


def inside_new_privileges() -> None:
    """Only together with no seccomp, which nobody may set who can get privileges."""
    from lunette.server.engines.bubblewrap.inside import kernel

    kernel.no_new_privileges = lambda: None


def inside_dumpable() -> None:
    from lunette.server.engines.bubblewrap.inside import kernel

    kernel.set_dumpable = lambda yes: None


def inside_namespaces_allowed() -> None:
    from lunette.server.engines.bubblewrap.inside import sysctl

    sysctl.forbid_user_namespaces = lambda: None


def inside_settings() -> None:
    """/proc/sys as bwrap mounts it."""
    from lunette.server.engines.bubblewrap.inside import sysctl

    sysctl.close = lambda: None


def inside_capabilities() -> None:
    """Whoever enters a user namespace has all of them there."""
    from lunette.server.engines.bubblewrap.inside import kernel

    kernel.limit_capabilities = kernel.set_capabilities = lambda keep: None


def inside_set_uid() -> None:
    """One directory in which set-uid programs count."""
    from lunette.server.engines.bubblewrap.inside import kernel
    from lunette.server.engines.bubblewrap.inside.worker import Worker

    original = Worker._furnish

    def furnish(self: Worker, message: Any) -> None:
        original(self, message)
        kernel._mount(None, "/tmp", kernel._MS_REMOUNT | kernel._MS_BIND)

    Worker._furnish = furnish  # type: ignore[method-assign]


def inside_outside() -> None:
    """A worker that enters no sandbox: its commands run as who started the server."""
    from lunette.server.engines.bubblewrap.inside import worker

    worker.enter = lambda pid1, base, furnish: os.chdir("/")


def inside_shared_network() -> None:
    """The other half of `network`: a namespace that is shared cannot be entered."""
    from lunette.server.engines.bubblewrap.inside import kernel

    original = kernel._setns
    kernel._setns = lambda fd, name: None if name == "net" else original(fd, name)


def inside_files_outside() -> None:
    """What works on directories stays where the fork server is."""
    from lunette.server.engines.bubblewrap.inside import filejobs

    filejobs.FileWorker._enter = lambda self, message, pidfd: True  # type: ignore[method-assign]


def pull() -> None:
    """Be the process that pulls, without the look at where mounts go."""
    from lunette.server.images import _child, pulling

    _child.make_mount_points = lambda tree: None
    pulling.main()


def apply(names: list[str]) -> None:
    """Weaken this process, and see to it that the fork server weakens itself."""
    inside = [name for name in names if name.startswith("inside_")]
    for name in names:
        if name not in inside:
            globals()[name]()
    from lunette.server.engines.bubblewrap import _forkserver

    here = str(Path(__file__).resolve().parent)
    path = f"sys.path.insert(0, {here!r})"
    weaken = ";".join(f"weakened.{name}()" for name in inside) or "pass"
    _forkserver._MAIN = (
        f"import sys; {path}; import weakened; {weaken}; from {_FORGET} import main; main()"
    )


if __name__ == "__main__" and sys.argv[1] == _PULL:
    pull()
elif __name__ == "__main__":
    wanted = [name for name in sys.argv.pop(1).split(",") if name]
    if wanted:
        apply(wanted)
    from lunette.cli import main

    main()
