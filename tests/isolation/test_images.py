"""What an image brings along, and what is done in it, against the server that unpacked it."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from servers import SECRET, Server, serving
from test_traps import (
    READ_PROC,
    STOP_EVERYBODY,
    only_root,
    only_user,
    python,
)
from test_walls import alive

from lunette import (
    APIError,
    ExecTimeoutError,
    LunetteClient,
    NotSupportedError,
    RetryPolicy,
    Sandbox,
)

from ..images.hostile import Hostile
from ..images.tar_layers import Entry, file, symlink, whiteout

GUARD = 30.0
ONCE = RetryPolicy(attempts=1)
USER = 1234


@pytest.fixture
def weak(mode: str) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a weakened server."""
    with ExitStack() as stack:
        yield lambda *names: stack.enter_context(serving(mode, *names))


def made(server: Server, image: str, **service: Any) -> Sandbox:
    return server.client.create_sandbox({"image": image, **service})


# 1. Links where bwrap mounts


def outside(server: Server) -> Path:
    """Make a directory of the machine that bwrap could write to, whoever it runs as."""
    path = server.directory / "outside"
    path.mkdir(exist_ok=True)
    path.chmod(0o777)
    return path


def links_to(path: Path, *names: str) -> list[Entry]:
    """Lead *names* to where bwrap still sees the machine while it mounts."""
    gone = [whiteout(name) for name in names]
    return [*gone, *(symlink(name, f"/oldroot{path}") for name in names)]


def test_links_at_mount_points_lead_bwrap_nowhere(server: Server, hostile: Hostile) -> None:
    path = outside(server)
    names = ("etc", "proc", "dev", "tmp", "workspace", "sys")
    odd = [file("newroot/x"), file("oldroot/etc/x"), file("-rf"), file("new\nline")]
    with made(server, hostile.reference(*links_to(path, *names), *odd)) as sandbox:
        script = "import os; print([n for n in {} if os.path.islink('/' + n)])"
        assert python(sandbox, script.format(names)) == "[]"
        assert "localhost" in sandbox.files.read_text("/etc/hosts")
    assert list(path.iterdir()) == []


def test_as_the_layers_have_them_they_would(weak: Callable[..., Server], hostile: Hostile) -> None:
    server = weak("links_of_the_image")
    path = outside(server)
    with made(server, hostile.reference(*links_to(path, "etc"))):
        assert [found.name for found in path.iterdir()] == ["hosts"]


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/1", "/dev", "/oldroot/tmp"])
def test_a_tmpfs_over_a_link_takes_no_wall_away(
    server: Server, hostile: Hostile, target: str
) -> None:
    image = hostile.reference(symlink("cache", target))
    with pytest.raises(NotSupportedError, match="tmpfs"):
        made(server, image, tmpfs="/cache")


def test_a_working_directory_over_a_link_is_inside(server: Server, hostile: Hostile) -> None:
    path = outside(server)
    up = symlink("up", "/proc/1/root/../../..")
    with made(server, hostile.reference(up, WorkingDir=f"/up{path}/made")) as sandbox:
        assert sandbox.exec("pwd").stdout.strip() == f"{path}/made"
    assert list(path.iterdir()) == []


def test_a_working_directory_that_is_too_deep_is_refused(server: Server, hostile: Hostile) -> None:
    with pytest.raises(NotSupportedError, match=r"working_dir.*too long"):
        made(server, hostile.reference(WorkingDir="/a" * 5000))


# 2. The tree that all sandboxes of an image share

VANDAL = """
    import ctypes, os, glob
    done = []
    def attempt(what, work):
        try:
            work()
            done.append(what)
        except OSError:
            pass
    def write(path):
        with open(path, "r+b", buffering=0) as file:
            file.write(b"gone!")
    def handle():
        libc = ctypes.CDLL(None, use_errno=True)
        found, mount = ctypes.create_string_buffer(136), ctypes.c_int()
        found[0:4] = (128).to_bytes(4, "little")
        if libc.name_to_handle_at(-100, b"/usr/bin/env", found, ctypes.byref(mount), 0):
            raise OSError("name_to_handle_at")
        where = os.open("/", os.O_RDONLY)
        if libc.open_by_handle_at(where, found, os.O_RDWR) < 0:
            raise OSError("open_by_handle_at")
    attempt("handle", handle)
    open("/upper", "w").close()
    attempt("rename of the upper", lambda: os.rename("/upper", "/workspace/upper"))
    for name in ("redirect", "opaque", "metacopy", "whiteout", "origin"):
        attempt("", lambda: os.setxattr("/usr/bin", f"user.overlay.{name}", b"/etc"))
    os.link("/victim", "/linked")
    for path in ("/linked", "/proc/self/root/usr/bin/env", "/proc/1/root/etc/passwd",
                 *glob.glob("/proc/self/map_files/*"), "/usr/bin/dash"):
        attempt("", lambda: write(path))
    attempt("mapped", lambda: write(glob.glob("/proc/1/map_files/*")[0]))
    for way in ((("/usr/bin/env", "/workspace/env")), (("/etc/passwd", "/workspace/passwd"))):
        attempt("rename", lambda: os.rename(*way))
        attempt("link", lambda: os.link(*way))
    attempt("", lambda: os.mknod("/workspace/white", 0o20000, 0))
    attempt("", lambda: os.rename("/workspace/white", "/usr/bin/white"))
    os.chmod("/victim", 0o777)
    os.unlink("/usr/bin/find")
    print(sorted(set(filter(None, done))))
"""


def tree_digest(server: Server) -> str:
    """Describe all that the images of *server* have on disk."""
    digest = hashlib.sha256()
    trees = list((server.directory / ".lunette/images/rootfs").glob("*/rootfs"))
    assert trees
    for path in sorted(found for tree in trees for found in tree.rglob("*")):
        st = path.lstat()
        facts = (str(path), st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_size)
        names = os.listxattr(path, follow_symlinks=False)
        digest.update(repr((facts, st.st_nlink, names)).encode())
        if stat.S_ISREG(st.st_mode):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def test_nothing_that_is_done_reaches_the_image(server: Server, plain: str) -> None:
    with made(server, plain) as other:
        before = tree_digest(server)
        with made(server, plain) as sandbox:
            assert python(sandbox, VANDAL) == "[]"
            assert sandbox.files.read_text("/victim") == "gone!"
        assert tree_digest(server) == before
        assert other.files.read_text("/victim") == "whole"
        assert other.exec("test -x /usr/bin/find").success


@only_user  # what root shows is read-only in any case
def test_without_an_overlay_it_would(mode: str, weak: Callable[..., Server], plain: str) -> None:
    server = weak("no_overlay")
    with made(server, plain) as sandbox:
        before = tree_digest(server)
        sandbox.exec("echo gone > /victim", check=True)
    assert tree_digest(server) != before


@only_root
def test_no_sandbox_has_an_id_of_the_store(mode: str, server: Server, plain: str) -> None:
    with made(server, plain) as sandbox:
        _, base, count = map(
            int, python(sandbox, "print(open('/proc/self/uid_map').read())").split()
        )
        owned = {p.lstat().st_uid for p in (server.directory / ".lunette").rglob("*")}
        assert owned
        assert not any(base <= uid < base + count for uid in owned)
    for path in (server.directory / ".lunette/images").iterdir():
        assert not path.parent.stat().st_mode & 0o077


def test_the_servers_secrets_are_not_seen(server: Server, plain: str) -> None:
    with made(server, plain) as sandbox:
        assert SECRET not in python(sandbox, READ_PROC)
        assert SECRET not in sandbox.exec("env; cat /proc/self/mountinfo /proc/1/mounts").stdout


# 3. A user who is not root

AGAINST_THE_FIRST = """
    import os, signal
    done = []
    for pid in (1, 2):
        for what, work in {
            "signal": lambda: os.kill(pid, 0),
            "memory": lambda: open(f"/proc/{pid}/mem", "r+b").close(),
            "environ": lambda: open(f"/proc/{pid}/environ").close(),
            "root": lambda: os.listdir(f"/proc/{pid}/root"),
        }.items():
            try:
                work()
                done.append(what)
            except OSError:
                pass
    print(*sorted(set(done)))
"""


@only_root  # a server without ids to give has no other user
def test_a_user_can_do_nothing_to_the_first_processes(
    mode: str, server: Server, plain: str
) -> None:
    with made(server, plain, user=str(USER), working_dir="/tmp") as sandbox:
        assert python(sandbox, AGAINST_THE_FIRST) == ""
        status = sandbox.exec("cat /proc/self/status").stdout.splitlines()
        shown = {name: value.split() for name, _, value in (line.partition(":") for line in status)}
        assert shown["Uid"] == [str(USER)] * 4
        assert shown["Groups"] == []
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(shown[name][0], 16) == 0
    with made(server, plain, user="0") as sandbox:
        assert "signal" in python(sandbox, AGAINST_THE_FIRST)


@only_root
def test_no_set_uid_program_of_an_image_makes_root(mode: str, server: Server, plain: str) -> None:
    with made(server, plain, user=str(USER), working_dir="/tmp") as sandbox:
        assert sandbox.exec(["/as-root", "-u"]).stdout == f"{USER}\n"


@only_root
def test_with_new_privileges_it_would(mode: str, weak: Callable[..., Server], plain: str) -> None:
    server = weak("inside_new_privileges", "inside_no_seccomp")
    with made(server, plain, user=str(USER), working_dir="/tmp") as sandbox:
        assert sandbox.exec(["/as-root", "-u"]).stdout == "0\n"


AWAY = 'python3 -c \'import os; os.setsid(); os.execlp("sleep", "sleep", "600")\''


@only_root
@pytest.mark.parametrize("ulimits", [{}, {"nofile": 200}], ids=["plain", "ulimits"])
def test_a_timeout_ends_all_that_a_user_started(
    mode: str, server: Server, plain: str, ulimits: dict[str, int]
) -> None:
    service = {"user": str(USER), "working_dir": "/tmp", "ulimits": ulimits}
    with made(server, plain, **service) as sandbox:
        with pytest.raises(ExecTimeoutError):
            sandbox.exec(f"trap '' TERM; {AWAY} & (sleep 601 &); sleep 602", timeout=2)
        assert alive(server) == set()
        assert sandbox.exec("echo on").stdout == "on\n"


# 4. Between fork and exec, where commands have limits of their own

WATCH = """
    import os, time
    seen, got, old = 0, set(), set(os.listdir("/proc"))
    open("/tmp/watching", "w").close()
    while not os.path.exists("/tmp/enough"):
        now = set(filter(str.isdecimal, os.listdir("/proc")))
        for pid in now - old:
            try:
                if not open(f"/proc/{pid}/cmdline").read().startswith("lunette"):
                    continue
                seen += 1
                these = set()
                for what in ("mem", "environ", "maps", "auxv"):
                    try:
                        open(f"/proc/{pid}/{what}", "rb").close()
                        these.add(what)
                    except OSError:
                        pass
                # By now it may be the command, which is anybody's in here.
                if open(f"/proc/{pid}/cmdline").read().startswith("lunette"):
                    got |= these
                if os.listdir(f"/proc/{pid}/fd"):
                    if open(f"/proc/{pid}/cmdline").read().startswith("lunette"):
                        got.add("fd")
            except OSError:
                pass
        old = now
        if got or seen > 5:
            with open("/tmp/finding", "w") as file:
                file.write(" ".join(sorted(got)) or "nothing")
            os.rename("/tmp/finding", "/tmp/found")  # whole, for who reads it meanwhile
            break
"""


def caught(sandbox: Sandbox) -> str:
    """Start commands until a watcher inside has seen some that were still the worker."""
    sandbox.files.write_text("/tmp/watch.py", "if True:\n" + WATCH)
    watch = "python3 /tmp/watch.py > /tmp/log 2>&1 &"
    sandbox.exec(f"{watch} until test -e /tmp/watching; do sleep 0.01; done", timeout=GUARD)
    end = time.monotonic() + GUARD
    while sandbox.exec(["test", "-s", "/tmp/found"]).exit_code:
        assert time.monotonic() < end, sandbox.exec("cat /tmp/log").stdout
    found = sandbox.files.read_text("/tmp/found")
    sandbox.exec("touch /tmp/enough")
    return found


LIMITED = {"ulimits": {"nofile": 200}}


def test_who_is_about_to_be_a_command_cannot_be_read(server: Server, plain: str) -> None:
    with made(server, plain, **LIMITED) as sandbox:
        assert caught(sandbox) == "nothing"


@only_user  # in a range of ids the worker's own memory is the machine's root's
def test_one_that_is_dumpable_could(mode: str, weak: Callable[..., Server], plain: str) -> None:
    with made(weak("inside_dumpable"), plain, **LIMITED) as sandbox:
        assert "mem" in caught(sandbox)


def test_who_stops_it_harms_but_itself(server: Server, plain: str) -> None:
    impatient = LunetteClient(base_url=f"unix://{server.directory}/sock", retry=ONCE)
    with impatient, made(server, plain) as other, made(server, plain, **LIMITED) as sandbox:
        python(sandbox, STOP_EVERYBODY)
        stopped = impatient.get_sandbox(sandbox.sandbox_id)
        with pytest.raises(APIError, match="no room for another process"):
            for _ in range(200):
                stopped.start("true")
        assert other.exec("true").success


def test_no_dump_is_piped_to_the_machine(server: Server, plain: str) -> None:
    """Of all limits it is 1 byte at which the kernel does not start the program, core(5)."""
    with made(server, plain) as sandbox:
        script = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
        assert python(sandbox, script) == "(1, 1)"
