"""All attacks at once: on whole sandboxes none works, and on weakened ones each does.

In each mode, over the machine's own files and over an unpacked image. What needs more than one
program inside stands in the files beside this one.
"""

from __future__ import annotations

import json
import os
import socket
import textwrap
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stage
from servers import Server, serving
from test_forking import pid_namespace
from test_traps import descendants, in_a_sandbox, only_root, python, status, uid_map

from lunette import Sandbox

Weaken = Callable[..., Sandbox]

ATTACKS = Path(__file__).with_name("attacks.py").read_text()
METADATA = "169.254.169.254"  # where clouds tell a machine its secrets
ANYBODY = "192.0.2.1"  # of the addresses for examples

KERNEL = ("key", "ring", "bpf", "fault", "type_ahead", "line_discipline")
PRIVILEGE = (
    *("user_namespace", "mount_namespace", "tmpfs", "new_mounts", "clone_mount"),
    *("writable_devices", "uncover", "root_directory", "enter", "raw"),
)
PROCESSES = ("other_process", "process_descriptor", "environment", "memory", "trace", "descriptors")
DEVICES = {f"/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}


@pytest.fixture(scope="module", params=["host", "unpacked"])
def image(request: pytest.FixtureRequest) -> str:
    return "host" if request.param == "host" else str(request.getfixturevalue("plain"))


@pytest.fixture
def sandbox(server: Server, image: str) -> Iterator[Sandbox]:
    with server.client.create_sandbox({"image": image}) as made:
        yield made


def attack(sandbox: Sandbox, *names: str) -> dict[str, str]:
    result = sandbox.exec(["python3", "-c", ATTACKS, *names])
    assert result.success, result.stderr
    answer: dict[str, str] = json.loads(result.stdout)
    assert list(answer) == list(names)
    return answer


def worked(sandbox: Sandbox, *names: str) -> list[str]:
    return [name for name, result in attack(sandbox, *names).items() if result == "done"]


@contextmanager
def targets(server: Server, other: Sandbox, *, at: str = "") -> Generator[list[str]]:
    """What there is to be reached outside of a sandbox: of the machine, of the server and of
    another sandbox. Files are named as they are below *at*.
    """
    other.files.write_text("/workspace/mine", "secret")
    theirs = listening(other)
    ours = f"lunette-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{ours}")
        unix.listen()
        (file,) = server.directory.glob("lunette-*/sandboxes/*/workspace/mine")
        network = (f"loopback={tcp.getsockname()[1]}", f"abstract={ours}", f"abstract={theirs}")
        routes = [f"route={address}" for address in (METADATA, ANYBODY) if has_route(address)]
        files = (f"unix={at}{server.directory}/sock", f"read={at}{file}")
        yield [*network, *routes, *files, f"read={at}{server.directory}/log"]


def listening(sandbox: Sandbox) -> str:
    """Leave a process in *sandbox* that listens on an abstract socket."""
    name = f"lunette-test-{sandbox.sandbox_id}"
    script = f"""
        import os, socket, time
        sock = socket.socket(socket.AF_UNIX)
        sock.bind("\\0{name}")
        sock.listen()
        if os.fork() == 0:
            for fd in (0, 1, 2):
                os.close(fd)
            time.sleep(600)
    """
    python(sandbox, script)
    return name


def has_route(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex((address, 80)) == 0


def at_the_server(server: Server) -> list[str]:
    return [*(f"{name}={server.pid}" for name in PROCESSES), "argument=lunette-forkserver"]


# What programs do


def test_no_attack_works(server: Server, sandbox: Sandbox) -> None:
    kernel = attack(sandbox, *KERNEL)
    assert set(kernel.values()) == {"EPERM"}
    assert worked(sandbox, *PRIVILEGE, "segments") == []
    assert worked(sandbox, *at_the_server(server)) == []
    with server.client.create_sandbox({"image": "host"}) as other, targets(server, other) as names:
        assert worked(sandbox, *names) == []


def test_without_seccomp_and_with_capabilities_they_do(mode: str) -> None:
    weaknesses = ("inside_no_seccomp", "nested_namespaces", "inside_namespaces_allowed")
    with serving(mode, *weaknesses, "inside_capabilities") as server:
        sandbox = server.client.create_sandbox({"image": "host"})
        assert worked(sandbox, *KERNEL, *PRIVILEGE) == [*KERNEL, *PRIVILEGE]
        sandbox.exec("sleep 600 &")
        assert "sleep" in excess(server, mode, sandbox)


def test_in_the_network_and_the_files_of_the_machine_they_do(mode: str) -> None:
    weaknesses = ["network", "inside_shared_network", "proc_root"]
    weaknesses += ["host_root", "inside_settings"] if mode == "root" else []
    with serving(mode, *weaknesses) as server:
        sandbox, other = (server.client.create_sandbox({"image": "host"}) for _ in range(2))
        with targets(server, other, at="/host") as names:
            assert worked(sandbox, *names) == names
        assert "/host" in foreign_mounts(server, sandbox)
        if mode == "root":  # a user has no root to give away
            assert "/vm/overcommit_memory" in attack(sandbox, "settings")["settings"]


def test_outside_of_the_sandbox_they_do(mode: str) -> None:
    with serving(mode, "inside_outside", "inside_no_seccomp", "inside_capabilities") as server:
        sandbox = server.client.create_sandbox({"image": "host", "working_dir": "/tmp"})
        names = at_the_server(server)
        assert worked(sandbox, *names) == names


# What the kernel says of a sandbox


def test_no_setting_can_be_written(sandbox: Sandbox) -> None:
    assert attack(sandbox, "settings") == {"settings": "done"}  # and none was found


def test_those_of_its_namespaces_could(weaken: Weaken) -> None:
    sandbox = weaken("inside_settings")
    found = attack(sandbox, "settings")["settings"]
    assert "/proc/sys/kernel/msgmnb" in found.split()
    sandbox.exec("echo 100000 > /proc/sys/kernel/shmall", check=True)
    assert worked(sandbox, "segments") == ["segments"]


def test_what_can_be_written_is_the_sandboxs_own(server: Server, sandbox: Sandbox) -> None:
    assert foreign_mounts(server, sandbox) == []


def foreign_mounts(server: Server, sandbox: Sandbox) -> list[str]:
    """Return where something that is not the sandbox's can be written, or programs are set-uid."""
    lines = sandbox.exec("cat /proc/self/mountinfo").stdout.splitlines()
    return [line.split()[4] for line in lines if not is_own(server, line)]


def is_own(server: Server, line: str) -> bool:
    """A line of mountinfo, proc_pid_mountinfo(5)."""
    mount, _, kind = line.partition(" - ")
    root, place, flags = mount.split()[3:6]
    system, _, options = kind.split()
    disk = f"/{server.directory.name}/lunette-"
    if system == "overlay":  # set-uid programs of an image are as in an image, to its users
        upper = next(o for o in options.split(",") if o.startswith("upperdir="))
        return place == "/" and disk in upper and "/sandboxes/" in upper
    if "nosuid" not in flags.split(","):
        return False
    if flags.startswith("ro,"):
        return True
    if system == "devtmpfs":
        return root in DEVICES
    if system in ("proc", "devpts", "tmpfs"):
        return root == "/"
    return disk in root and "/sandboxes/" in root


def test_no_process_has_more_than_is_promised(mode: str, server: Server, sandbox: Sandbox) -> None:
    """Looked at from outside; the first processes too, which a sandbox can trace."""
    sandbox.exec("sleep 600 &")
    assert excess(server, mode, sandbox) == []


def excess(server: Server, mode: str, sandbox: Sandbox) -> list[str]:
    """Return what runs in *sandbox* with an id or a capability that is none of its own."""
    _, base, count = map(int, uid_map(sandbox)[0].split())
    if stage.is_root():
        base = base if mode == "root" else stage.ORDINARY
        ids = range(base, base + count)
    else:
        ids = range(os.getuid(), os.getuid() + 1)
    promised = 0x800005FB if mode == "root" else 0
    namespace = sandbox.exec("readlink /proc/self/ns/pid").stdout.strip()
    found: list[str] = []
    for pid in descendants(server.pid):
        if not in_a_sandbox(pid) or pid_namespace(pid) != namespace:
            continue
        shown = status(pid)
        names = [set(map(int, shown[key].split())) for key in ("Uid", "Gid", "Groups")]
        sets = [int(shown[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
        whole = (shown["NoNewPrivs"], shown["Seccomp"]) == ("1", "2")
        if not whole or any(s & ~promised for s in sets) or any(n - set(ids) for n in names):
            found.append(shown["Name"])
    return found


SET_UID = "cp /usr/bin/id /tmp/as-root; chmod 6755 /tmp/as-root"


@only_root  # where there is but one id, nobody can become another
def test_a_set_uid_program_makes_nobody_root(mode: str, sandbox: Sandbox) -> None:
    sandbox.exec(SET_UID, check=True)
    assert sandbox.exec(["/tmp/as-root", "-u"], user="1000").stdout == "1000\n"


@only_root
def test_where_such_programs_count_it_would(mode: str, weaken: Weaken) -> None:
    sandbox = weaken("inside_set_uid", "inside_new_privileges", "inside_no_seccomp")
    sandbox.exec(SET_UID, check=True)
    assert sandbox.exec(["/tmp/as-root", "-u"], user="1000").stdout == "0\n"


def test_the_mode_is_reported(mode: str, server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{server.directory}/sock")
        sock.sendall(b"GET /capabilities HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as file:
            body = file.read().partition(b"\r\n\r\n")[2]
    expected = {"root": "uid-range", "user": "rootless"}
    assert json.loads(body)["isolation"] == expected[mode]


FILES_IN_MEMORY = """
    import os, time
    files = [os.memfd_create("hidden") for _ in range(4)]
    for file in files:
        os.write(file, bytes(64 << 20))
    time.sleep(600)
"""


def test_memory_that_no_process_has_counts(server: Server) -> None:
    with server.client.create_sandbox({"image": "host", "mem_limit": "100m"}) as sandbox:
        script = textwrap.dedent(FILES_IN_MEMORY)
        result = sandbox.exec(["python3", "-c", script], timeout=60)
        assert result.out_of_memory
        assert sandbox.exec("true").success
