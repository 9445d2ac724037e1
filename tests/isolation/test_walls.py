"""What is promised: no network, no privilege, no way to outlive a timeout or the server."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import Server, serving
from test_traps import argv, descendants, in_a_sandbox, python, status

from lunette import ExecTimeoutError, Sandbox, SandboxDestroyedError

Weaken = Callable[..., Sandbox]

# The network


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.fixture
def abstract() -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0lunette-test-{os.getpid()}")
        sock.listen()
        yield f"lunette-test-{os.getpid()}"


CONNECT = """
    import socket
    try:
        socket.create_connection(("127.0.0.1", {port}), timeout=5).close()
        print("connected")
    except OSError as error:
        print("refused")
"""
CONNECT_ABSTRACT = """
    import socket
    try:
        socket.socket(socket.AF_UNIX).connect("\\0{name}")
        print("connected")
    except OSError:
        print("refused")
"""


def test_the_machines_loopback_is_not_reached(listener: int, sandbox: Sandbox) -> None:
    assert python(sandbox, CONNECT.format(port=listener)) == "refused"


def test_abstract_sockets_of_the_machine_are_not_reached(abstract: str, sandbox: Sandbox) -> None:
    assert python(sandbox, CONNECT_ABSTRACT.format(name=abstract)) == "refused"


def test_with_the_machines_network_both_would_be(
    listener: int, abstract: str, weaken: Weaken
) -> None:
    sandbox = weaken("network", "inside_shared_network")
    assert python(sandbox, CONNECT.format(port=listener)) == "connected"
    assert python(sandbox, CONNECT_ABSTRACT.format(name=abstract)) == "connected"


def test_there_is_no_interface_but_loopback(sandbox: Sandbox) -> None:
    assert python(sandbox, "import socket; print(*socket.if_nameindex())") == "(1, 'lo')"


OPEN_FAMILIES = """
    import socket
    opened = []
    for family in range(1, 46):
        try:
            socket.socket(family, socket.SOCK_STREAM).close()
            opened.append(family)
        except OSError as error:
            if error.errno not in (22, 93, 94, 97, 1, 13):
                opened.append(-family)
    print(*opened)
"""


def test_only_families_that_a_namespace_confines_can_be_opened(sandbox: Sandbox) -> None:
    """VSOCK (40) leads to the hypervisor, whatever the network namespace."""
    opened = set(map(int, python(sandbox, OPEN_FAMILIES).split()))
    assert opened <= {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}


def test_without_seccomp_more_could(weaken: Weaken) -> None:
    opened = set(map(int, python(weaken("inside_no_seccomp"), OPEN_FAMILIES).split()))
    if socket.AF_VSOCK not in opened:
        pytest.skip("this kernel has no VSOCK")


# Privileges

TRY_SYSTEM_CALLS = """
    import ctypes, errno
    libc = ctypes.CDLL(None, use_errno=True)
    for name, *arguments in {calls}:
        ctypes.set_errno(0)
        result = libc.syscall(name, *arguments)
        print(name, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])
"""


def test_dangerous_system_calls_are_refused(sandbox: Sandbox) -> None:
    numbers = {"keyctl": 250, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "mount": 165}
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86_64")
    calls = [(number, 0, 0, 0, 0, 0) for number in numbers.values()]
    answers = python(sandbox, TRY_SYSTEM_CALLS.format(calls=calls)).splitlines()
    assert [answer.split()[1] for answer in answers] == ["EPERM"] * len(numbers)


def test_capabilities_are_the_promised_ones(mode: str, sandbox: Sandbox) -> None:
    shown = sandbox.exec("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status").stdout
    promised = "00000000800005fb" if mode == "root" else "0000000000000000"
    fields = dict(line.split(":\t") for line in shown.splitlines())
    assert fields["CapEff"] == fields["CapBnd"] == promised
    assert fields["CapInh"] == fields["CapAmb"] == "0" * 16
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_the_terminal_of_the_server_cannot_be_typed_into(sandbox: Sandbox) -> None:
    script = """
        import fcntl, os
        m, s = os.openpty()
        try:
            fcntl.ioctl(s, 0x5412, b"x")
            print("typed")
        except OSError as error:
            print(error.strerror)
    """
    assert python(sandbox, script) == "Operation not permitted"


# Other sandboxes


def test_sandboxes_do_not_see_each_other(server: Server, sandbox: Sandbox) -> None:
    sandbox.files.write_text("/workspace/mine", "secret")
    sandbox.files.write_text("/tmp/mine", "secret")
    sandbox.exec("sleep 600 &")
    with server.client.create_sandbox({"image": "host"}) as other:
        assert other.exec("cat /workspace/mine /tmp/mine").exit_code == 1
        assert "600" not in other.exec("cat /proc/*/cmdline").stdout


# Time-outs

TREES = {
    "setsid": "setsid sleep 600 & sleep 600",
    "double fork": "(setsid sh -c 'sleep 600 &' &) ; sleep 600",
    "trap": "trap '' TERM INT HUP; sleep 600 & wait; sleep 600",
    "many": "for i in $(seq 200); do sleep 600 & done; wait",
    "storm": "b() { b | b & }; b; sleep 600",
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_timeout_leaves_nothing_of_the_command(
    server: Server, tree: str, sandbox: Sandbox
) -> None:
    bystander = sandbox.exec("sleep 601 & echo $!").stdout.strip()
    with pytest.raises(ExecTimeoutError):
        sandbox.exec(tree, timeout=1)
    assert alive(server) == {"sleep 601"}
    assert sandbox.exec(["kill", "-0", bystander]).success


def alive(server: Server) -> set[str]:
    """What runs in the sandboxes of *server*, seen from outside."""
    shown: set[str] = set()
    for pid in descendants(server.pid):
        if in_a_sandbox(pid):
            shown.add(" ".join(argv(pid)).strip())
    ours = ("bwrap", "pause")
    return {line for line in shown if line and not line.startswith(ours)}


def test_killing_the_group_would_leave_some(mode: str) -> None:
    with serving(mode, "group_only") as server:
        sandbox = server.client.create_sandbox({"image": "host"})
        with pytest.raises(ExecTimeoutError):
            sandbox.exec(TREES["setsid"], timeout=1)
        assert "sleep 600" in alive(server)


def test_what_was_put_in_the_background_lives_on(server: Server, sandbox: Sandbox) -> None:
    pid = sandbox.exec("(sleep 602; echo late) & echo $!", timeout=30).stdout.strip()
    assert sandbox.exec(["kill", "-0", pid]).success


def test_a_fast_end_is_no_timeout(sandbox: Sandbox) -> None:
    result = sandbox.exec("kill -TERM $$", timeout=30)
    assert result.exit_code == 128 + signal.SIGTERM


# The end of the server


@pytest.mark.parametrize("victim", ["server", "lunette-forkserver", "worker", "bwrap", "pid 1"])
def test_nothing_outlives_who_is_killed(mode: str, victim: str) -> None:
    with serving(mode) as server:
        sandbox = server.client.create_sandbox({"image": "host"})
        sandbox.exec(
            "setsid sleep 603 & setsid sh -c 'trap \"\" TERM; sleep 604' &"
            "until [ $(pgrep -c '^sleep$') = 2 ]; do :; done"
        )
        family = descendants(server.pid)
        inside = [pid for pid in family if argv(pid)[0] == "sleep"]
        assert len(inside) == 2
        os.kill(pick(victim, server, inside[0]), signal.SIGKILL)
        if victim == "lunette-forkserver":  # it has made this sandbox; the next needs another
            assert sandbox.exec("true").success
            sandbox.destroy()
        gone(inside, seconds=20)
        if victim == "server":
            gone(family, seconds=20)
            return
        with pytest.raises(SandboxDestroyedError):
            sandbox.exec("true")
        with server.client.create_sandbox({"image": "host"}) as another:
            assert another.exec("true").success


def test_a_server_killed_while_it_makes_sandboxes_leaves_none(mode: str) -> None:
    for _ in range(10):
        with serving(mode) as server:
            server.client.create_sandbox({"image": "host"})  # the next one is being made now
            family = descendants(server.pid)
            os.kill(server.pid, signal.SIGKILL)
            gone(family, seconds=20)
        orphans = [pid for pid in descendants(1) if argv(pid)[0] == "bwrap" and in_a_sandbox(pid)]
        gone([pid for pid in orphans if status(pid).get("PPid") == "1"], seconds=20)


def pick(victim: str, server: Server, inside: int) -> int:
    if victim == "server":
        return server.pid
    chain = [inside]
    while chain[-1] != server.pid:
        stat = Path(f"/proc/{chain[-1]}/stat").read_text()
        chain.append(int(stat.rpartition(")")[2].split()[1]))
    # ..., pid 1, bwrap, worker, fork server, server
    return chain[{"lunette-forkserver": -2, "worker": -3, "bwrap": -4, "pid 1": -5}[victim]]


def gone(pids: list[int], *, seconds: float) -> None:
    """Wait for the end of every one of *pids*."""
    end = time.monotonic() + seconds
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            assert ready, argv(pid)
        finally:
            os.close(fd)
