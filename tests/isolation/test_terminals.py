"""What a hostile program finds of its terminal, and what a user's command can do to root's."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import Box, Engine, driving
from test_traps import descendants, in_a_sandbox

from .test_images import WATCH

SIZE = (24, 80)
only_root = pytest.mark.parametrize("mode", ["root"], indirect=True, scope="session")
only_user = pytest.mark.parametrize("mode", ["user"], indirect=True, scope="session")


# 1. A terminal is of the sandbox alone


def test_no_terminal_is_the_machines(engine: Engine, box: Box) -> None:
    ours = {path.name: path.stat().st_dev for path in Path("/dev/pts").iterdir()}
    script = "import os; print(os.ttyname(0), os.fstat(0).st_dev, os.stat('/dev/pts').st_dev)"
    name, device, directory = box.python(script, terminal=SIZE).split()
    assert name == "/dev/pts/0"
    assert device == directory
    assert int(device) not in {Path("/dev/pts").stat().st_dev, *ours.values()}


def test_a_terminal_of_another_sandbox_does_not_exist(engine: Engine, box: Box) -> None:
    with engine.sandbox() as other:
        for there in (box, other):
            there.run("echo secret; cat", {"until": "secret"}, terminal=SIZE, background=True)
        for here in (box, other):
            assert here.run("ls /dev/pts").output.split() == ["0", "ptmx"]
            script = "import os; print(os.stat('/dev/pts/0').st_dev)"
            assert here.python(script) == here.python(script.replace("/0", ""))


LIST = """
    import contextlib, os
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    print(os.readlink(f"/proc/{pid}/fd/{fd}"))
"""


@pytest.mark.parametrize(
    "spec", [{}, {"ulimits": {"nofile": (100, 100)}}], ids=["plain", "ulimits"]
)
def test_nobody_inside_holds_a_master(engine: Engine, spec: dict[str, Any]) -> None:
    with engine.sandbox(**spec) as box:
        box.run("echo up; cat", {"until": "up"}, terminal=SIZE, background=True)
        held = box.python(LIST, terminal=SIZE).splitlines()
        assert {"/dev/pts/0", "/dev/pts/1"} <= set(held)
        assert not [name for name in held if "ptmx" in name]
        assert not [name for name in held if name.startswith(("socket:", "/memfd:"))]


def test_without_a_terminal_the_servers_is_not_found(box: Box) -> None:
    script = """
        import os
        try:
            os.open("/dev/tty", os.O_RDWR)
        except OSError as error:
            print(error.strerror)
    """
    assert box.python(script) == "No such device or address"


TYPE = """
    import ctypes, errno, os
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 16, "aarch64": 29}[os.uname().machine]
    for request in (0x5412, 0x1_0000_5412, 0xFFFF_FFFF_0000_5412, 0x541C):
        ctypes.set_errno(0)
        result = libc.syscall(number, 0, ctypes.c_ulong(request), ctypes.c_char_p(b"x"))
        print("typed" if result == 0 else errno.errorcode[ctypes.get_errno()])
"""


def test_nothing_can_be_typed_by_a_program(box: Box) -> None:
    assert box.python(TYPE, terminal=SIZE).split() == ["EPERM"] * 4


def test_without_seccomp_it_could(mode: str) -> None:
    with driving(mode, "inside_no_seccomp") as engine, engine.sandbox() as box:
        if "typed" not in box.python(TYPE, terminal=SIZE):
            pytest.skip("this kernel lets nobody type (dev.tty.legacy_tiocsti)")


EXHAUST = """
    import os, time
    held = []
    try:
        while True:
            held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        print(len(held), error.strerror, flush=True)
    time.sleep(600)
"""


def test_a_sandbox_leaves_terminals_for_others(engine: Engine, box: Box) -> None:
    held = box.run(
        ["python3", "-c", textwrap.dedent(EXHAUST)],
        {"until": "No space left on device"},
        background=True,
    )
    assert int(held.output.split()[0]) <= 64
    refused = box.run("tty", terminal=SIZE)
    assert refused.error == "NoCapacityError: the sandbox has no room for another terminal"
    assert box.run("echo on").output == "on\n"
    with engine.sandbox() as other:
        assert other.run("tty", terminal=SIZE).output == "/dev/pts/0\r\n"


HOSTILE_MODES = """
    import fcntl, os, sys, termios
    {what}
    print("done", flush=True)
    os.kill(os.getpid(), 9) if {dies} else sys.stdin.read()
"""


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize(
    "what",
    [
        "fcntl.ioctl(0, termios.TIOCEXCL)",
        "termios.tcflow(0, termios.TCIOFF)",
        "fcntl.ioctl(0, termios.TIOCNOTTY)",
        "os.dup2(os.open('/dev/null', os.O_RDONLY), 0)",
    ],
)
def test_no_mode_of_a_terminal_holds_the_server_up(box: Box, what: str, dies: bool) -> None:
    script = textwrap.dedent(HOSTILE_MODES).format(what=what, dies=dies)
    with contextlib.suppress(AssertionError):  # it may not even be heard of
        box.run(["python3", "-c", script], {"write": "x"}, {"kill": True}, terminal=SIZE)
    assert box.run("tty", terminal=SIZE).code == 0


GRAB = """
    import os
    while True:
        for name in os.listdir("/dev/pts"):
            if name != "ptmx" and os.fork() == 0:
                os.setsid()
                try:
                    os.open(f"/dev/pts/{name}", os.O_RDWR)
                finally:
                    os._exit(0)
        while True:
            try:
                os.waitpid(-1, os.WNOHANG)[0] or os.sched_yield()
            except ChildProcessError:
                break
"""


def test_who_grabs_terminals_harms_but_itself(engine: Engine, box: Box) -> None:
    grabbing = ["python3", "-c", textwrap.dedent(GRAB)]
    box.run(["sh", "-c", 'echo up; exec "$@"', "sh", *grabbing], {"until": "up"}, background=True)
    for _ in range(30):
        ran = box.run("echo mine", terminal=SIZE)
        assert ran.error is not None or ran.code is not None
    with engine.sandbox() as other:
        assert other.run("echo mine > /dev/tty", terminal=SIZE).output == "mine\r\n"


# 2. A user's command, beside root's

AGAINST_ROOT = """
    import ctypes, os, signal, sys
    root = int(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    def ptrace():
        if libc.ptrace(16, root, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")
    def setuid():
        os.setresuid(0, 0, 0)
    def capabilities():
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        if not any(int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")):
            raise OSError(1, "none")
    def namespace():
        if libc.unshare(0x10000000):
            raise OSError(ctypes.get_errno(), "unshare")
    def set_uid_program():
        if int(os.popen("/workspace/as-root -u").read()):
            raise OSError(1, "no root")
    def limits():
        import resource
        resource.prlimit(root, resource.RLIMIT_NOFILE, (1, 1))
    attacks = {
        "ptrace": ptrace,
        "setuid": setuid,
        "setgid": lambda: os.setresgid(0, 0, 0),
        "groups": lambda: os.setgroups([0]),
        "capabilities": capabilities,
        "namespace": namespace,
        "set-uid program": set_uid_program,
        "limits": limits,
        "signal": lambda: os.kill(root, 0),
        "memory": lambda: open(f"/proc/{root}/mem", "r+b").close(),
        "environment": lambda: open(f"/proc/{root}/environ").close(),
        "descriptors": lambda: os.listdir(f"/proc/{root}/fd"),
        "root": lambda: os.listdir(f"/proc/{root}/root"),
        "terminal": lambda: os.open("/dev/pts/0", os.O_RDWR),
        "file": lambda: open("/workspace/secret").close(),
        "directory": lambda: os.mkdir("/workspace/mine"),
    }
    for name, attack in attacks.items():
        try:
            attack()
            print(name)
        except OSError:
            pass
"""


@only_root  # a server without ids to give has no other user
def test_a_user_can_do_nothing_to_root(mode: str, box: Box) -> None:
    box.run("umask 077; echo x > secret; cp /usr/bin/id as-root; chmod 4755 as-root")
    ran = box.run("echo $$; cat", {"until": "\n"}, terminal=SIZE, background=True)
    root = ran.output.strip()
    against = ["python3", "-c", textwrap.dedent(AGAINST_ROOT), root]
    for terminal in (None, SIZE):
        attacked = box.run(against, user="1000:1000", terminal=terminal)
        assert (attacked.output, attacked.code) == ("", 0)
    allowed = box.run(against).output.splitlines()
    assert {"setuid", "signal", "terminal", "file", "directory", "limits"} <= set(allowed)


LIMITED = {"ulimits": {"nofile": (100, 100)}}


@only_root  # a server without ids to give has no other user
@pytest.mark.parametrize("spec", [{}, LIMITED], ids=["user", "user and limits"])
def test_a_half_made_command_of_a_user_cannot_be_looked_into(
    mode: str, engine: Engine, spec: dict[str, Any]
) -> None:
    for watcher in ("1000", None):
        with engine.sandbox(**spec) as box:
            assert caught(box, watcher, {"user": "1000"}) == "nothing"


def test_a_half_made_command_on_a_terminal_cannot_be_looked_into(engine: Engine) -> None:
    with engine.sandbox(**LIMITED) as box:
        assert caught(box, None, {"terminal": SIZE}) == "nothing"


@only_user  # in a range of ids the worker's own memory is the machine's root's
def test_one_that_is_dumpable_could(mode: str) -> None:
    with (
        driving(mode, "inside_dumpable") as engine,
        engine.sandbox(**LIMITED) as box,
    ):
        assert "mem" in caught(box, None, {"terminal": SIZE})


def caught(box: Box, watcher: str | None, more: dict[str, Any]) -> str:
    """Return what *watcher* could open of commands before they were more than the worker."""
    words = ["sh", "-c", 'python3 -c "$1" & until test -e /tmp/watching; do :; done; echo up; wait']
    watch = [*words, "sh", textwrap.dedent(WATCH)]
    box.run(watch, {"until": "up"}, user=watcher, background=True)
    for _ in range(2000):
        box.run(["true"], **more)
        found = box.run("cat /tmp/found 2>/dev/null").output
        if found:
            return found
    pytest.fail("the watcher saw no command before it was one")


STOP_ALL = """
    import os, signal, time
    print("up", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.kill(-1, signal.SIGSTOP)
        except ProcessLookupError:
            pass
"""


@only_root
def test_who_stops_what_becomes_it_holds_nobody_else_up(mode: str, box: Box) -> None:
    stopping = ["python3", "-c", textwrap.dedent(STOP_ALL)]
    box.run(stopping, {"until": "up"}, user="1000", background=True)
    for _ in range(200):
        refused = box.run(["true"], {"kill": True}, user="1000").error
        if refused is not None:
            break
    assert refused is not None and refused.startswith("NoCapacityError")
    assert box.run("echo on").output == "on\n"


@only_root
def test_a_worker_stays_what_it_was(mode: str, box: Box) -> None:
    """Whatever a command became, the next one begins where the worker is."""
    for user in ("1000:1001", "nobody", "0:7"):
        assert box.run("true", user=user).code == 0
    assert box.run("id -u; id -g; id -G; umask").output.split() == ["0", "0", "0", "0022"]
    assert int(box.run("grep CapEff /proc/self/status | cut -f2").output, 16) == 0x800005FB


def test_nothing_stays_open_of_terminals_that_ended(engine: Engine, box: Box) -> None:
    ends = [box.run("true", {"until": ""}, terminal=SIZE).code]
    for command in ("true", "no-such-program", "sleep 600 & kill -9 $$"):
        for _ in range(10):
            ends += [box.run(argv, terminal=SIZE).code for argv in (command, [command])]
    assert set(ends) == {0, None, 127, 137}
    assert terminals_outside(engine) == []
    box.run("echo up; cat", {"until": "up"}, terminal=SIZE, background=True)
    box.run("true")  # by then the worker has closed what it sent, which is after it is sent
    assert len(terminals_outside(engine)) == 1


def terminals_outside(engine: Engine) -> list[str]:
    pids = [pid for pid in (engine.pid, *descendants(engine.pid)) if not in_a_sandbox(pid)]
    held = [name for pid in pids for name in open_files(pid)]
    return [name for name in held if "ptmx" in name or "/pts/" in name]


def open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(path.readlink())
