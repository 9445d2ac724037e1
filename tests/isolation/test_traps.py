"""The mistakes that turn a sandbox into none, attacked, and attacked again without the wall."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import stage
from servers import SECRET, Server, serving

import lunette
from lunette import ExecTimeoutError, Sandbox, SandboxDestroyedError

Weaken = Callable[..., Sandbox]
only_root = pytest.mark.parametrize("mode", ["root"], indirect=True, scope="session")
only_user = pytest.mark.parametrize("mode", ["user"], indirect=True, scope="session")


def python(sandbox: Sandbox, script: str, **options: str) -> str:
    """Run *script* inside and return what it prints; one that breaks is a fault of the test."""
    result = sandbox.exec(["python3", "-c", textwrap.dedent(script)], env=options)
    assert result.success, result.stderr
    return result.stdout.strip()


# 1. The machine's root is not the sandbox's


OPEN_CORE_PATTERN = """
    try:
        open("/proc/sys/kernel/core_pattern", "r+b", buffering=0).close()
        print("opened")
    except OSError as error:
        print(error.strerror)
"""


def test_no_machine_wide_setting_can_be_written(sandbox: Sandbox) -> None:
    assert python(sandbox, OPEN_CORE_PATTERN) == "Permission denied"


@only_root  # a user has no root to give away
def test_the_machines_root_could_write_it(mode: str, weaken: Weaken) -> None:
    assert python(weaken("host_root", "inside_settings"), OPEN_CORE_PATTERN) == "opened"


def test_a_sandbox_never_has_the_machines_uid_0(server: Server, sandbox: Sandbox) -> None:
    """Looked at from outside, where a sandbox cannot lie."""
    sandbox.exec("sleep 600 & sleep 600 &")
    ids = {uid for pid in descendants(server.pid) if in_a_sandbox(pid) for uid in uids(pid)}
    assert ids
    assert 0 not in ids


def uid_map(sandbox: Sandbox) -> list[str]:
    return python(sandbox, "print(open('/proc/self/uid_map').read())").splitlines()


@only_root  # a user has one id to give
def test_two_sandboxes_of_root_share_no_id(mode: str, server: Server) -> None:
    with (
        server.client.create_sandbox({"image": "host"}) as one,
        server.client.create_sandbox({"image": "host"}) as other,
    ):
        first, second = (int(uid_map(s)[0].split()[1]) for s in (one, other))
    assert abs(first - second) >= 65_536


# 2. The machine's files are not there

FIND = """
    import os, sys
    found = [os.path.join(d, f) for top in ("/", "/host") for d, _, files in os.walk(top)
             if not d.startswith(("/proc", "/sys", "/usr")) for f in files if f == "{name}"]
    print(len(found))
"""


@pytest.fixture
def marker(server: Server) -> Path:
    path = server.directory / "lunette-test-marker"
    path.write_text("here")
    path.chmod(0o644)
    server.directory.chmod(0o755)
    return path


def test_a_file_of_the_machine_is_nowhere(marker: Path, sandbox: Sandbox) -> None:
    assert python(sandbox, FIND.format(name=marker.name)) == "0"


def test_through_proc_root_it_would_be(marker: Path, weaken: Weaken) -> None:
    sandbox = weaken("proc_root")
    assert sandbox.exec(["cat", f"/host{marker}"]).stdout == "here"


@pytest.mark.parametrize("path", ["/home", "/etc/shadow", "/var/log", "/sys", "/boot", "/mnt"])
def test_what_is_not_on_the_list_does_not_exist(path: str, sandbox: Sandbox) -> None:
    assert sandbox.exec(["test", "-e", path]).exit_code == 1


def test_what_is_on_the_list_is_read_only(sandbox: Sandbox) -> None:
    for path in ("/usr/x", "/etc/x", "/x", "/opt/x", f"{sys.base_prefix}/x"):
        result = sandbox.exec(["touch", path])
        assert "Read-only file system" in result.stderr, path


# 3. Nothing of the server is in what pid 1 shows

READ_PROC = """
    import glob
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            print(open(path, errors="replace").read().replace(chr(0), " "))
        except OSError:
            pass
"""


def test_the_servers_environment_is_not_seen(sandbox: Sandbox) -> None:
    assert SECRET not in python(sandbox, READ_PROC)


def test_as_bwraps_environment_it_would_be(weaken: Weaken) -> None:
    assert SECRET in python(weaken("environment"), READ_PROC)


def test_bwraps_arguments_are_not_seen(sandbox: Sandbox) -> None:
    seen = python(sandbox, READ_PROC)
    assert "bwrap --args" in seen
    assert "--bind" not in seen


def test_on_its_command_line_they_would_be(weaken: Weaken) -> None:
    assert "--bind" in python(weaken("inside_arguments"), READ_PROC)


READ_STANDARD_ERROR = """
    for pid in (1, 2):
        try:
            print(open(f"/proc/{pid}/fd/2").read())
        except OSError as error:
            print(error.strerror)
"""


def test_the_servers_standard_streams_cannot_be_reopened(sandbox: Sandbox) -> None:
    assert SECRET not in python(sandbox, READ_STANDARD_ERROR)


def test_as_bwraps_standard_error_they_could(weaken: Weaken) -> None:
    assert SECRET in python(weaken("standard_error"), READ_STANDARD_ERROR)


LIST_DESCRIPTORS = """
    import os
    for pid in (1, 2, "self"):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                print(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass
"""


def strange_descriptors(sandbox: Sandbox) -> set[str]:
    # The eventfd is between bwrap's own processes; the directory and the pipes are the script's.
    known = {"/dev/null", "anon_inode:[eventfd]"}
    found = set(python(sandbox, LIST_DESCRIPTORS).splitlines()) - known
    return {name for name in found if not name.startswith(("/proc/", "pipe:"))}


def test_nobody_inside_holds_a_descriptor_of_the_server(sandbox: Sandbox) -> None:
    assert strange_descriptors(sandbox) == set()


def test_received_descriptors_would_be_inherited(weaken: Weaken) -> None:
    found = strange_descriptors(weaken("inside_descriptors"))
    assert any("memfd:bwrap" in name for name in found)


# 4. The programs that run outside cannot be changed from inside

CHANGE_BWRAP = """
    import os
    done = []
    try:
        os.close(os.open("/proc/1/exe", os.O_WRONLY))
        done.append("write")
    except OSError as error:
        if error.errno == 26:  # ETXTBSY: allowed, only busy
            done.append("write later")
    try:
        os.chmod("/proc/1/exe", 0)
        done.append("chmod")
    except OSError:
        pass
    print(*done)
"""


def test_bwrap_cannot_be_changed(server: Server, sandbox: Sandbox) -> None:
    assert python(sandbox, CHANGE_BWRAP) in ("", "write later")
    assert python(sandbox, "import os; print(os.readlink('/proc/1/exe'))").startswith("/memfd:")
    with server.client.create_sandbox({"image": "host"}) as another:
        assert another.exec("true").success


def test_an_old_kernels_bwrap_is_one_sandboxs_own(mode: str) -> None:
    with serving(mode, "old_kernel") as server:
        with server.client.create_sandbox({"image": "host"}) as sandbox:
            changed = python(sandbox, CHANGE_BWRAP)
            assert ("chmod" in changed) == (mode == "user")
        with server.client.create_sandbox({"image": "host", "hostname": "another"}) as another:
            assert another.exec("true").success


@only_user  # the ids of a root server's sandboxes own no file outside
def test_bwrap_as_a_file_of_the_user_could(mode: str, weaken: Weaken) -> None:
    assert "chmod" in python(weaken("unsealed"), CHANGE_BWRAP)


def test_the_fork_servers_python_cannot_be_changed(sandbox: Sandbox) -> None:
    """CVE-2019-5736: a script whose interpreter is the program of the process that starts it."""
    sandbox.files.write_text("/workspace/evil", "#!/proc/self/exe\n")
    sandbox.exec(["chmod", "755", "/workspace/evil"])
    script = """
        import os, time
        print(os.readlink("/proc/self/exe"), flush=True)
        try:
            os.chmod("/proc/self/exe", 0)
            print("changed")
        except OSError as error:
            print(error.strerror)
    """
    sandbox.files.write_text("/workspace/evil", "#!/proc/self/exe\n" + textwrap.dedent(script))
    environment = {
        "PYTHONHOME": sys.base_prefix,
        "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib",
    }
    shown = sandbox.exec(["/workspace/evil"], env=environment).stdout.splitlines()
    if shown:  # where this Python runs inside at all
        assert shown[0].startswith("/memfd:python")
        assert shown[1] in ("Operation not permitted", "Permission denied")


# 5. Who enters a sandbox imports nothing from it

PLANTED = "open('/workspace/imported', 'w').write('by somebody outside')\n"


def test_a_planted_module_is_not_imported(weaken: Weaken) -> None:
    sandbox = weaken("inside_lazy_import")
    sandbox.files.write_text("/workspace/lunette_planted.py", PLANTED)
    sandbox.exec("true")
    sandbox.exec("true")
    assert sandbox.exec(["test", "-e", "/workspace/imported"]).exit_code == 1


def test_it_would_be_by_one_that_still_can(weaken: Weaken) -> None:
    sandbox = weaken("inside_lazy_import", "inside_remembers_imports")
    sandbox.files.write_text("/workspace/lunette_planted.py", PLANTED)
    sandbox.exec("true")
    sandbox.exec("true")
    assert sandbox.exec(["test", "-e", "/workspace/imported"]).exit_code == 0


# What a root server must not forget


def test_workers_have_the_ids_of_their_sandbox(mode: str, server: Server, sandbox: Sandbox) -> None:
    """Before they enter it: what they are afterwards, they were born as or became."""
    found = workers(server)
    assert found
    base = int(uid_map(sandbox)[0].split()[1])
    expected = os.getuid() if not stage.is_root() else stage.ORDINARY
    for pid in found:
        shown = status(pid)
        assert len(uids(pid)) == 1 and 0 not in uids(pid)
        assert shown["Groups"] == ""
        assert shown["NoNewPrivs"] == "1"
        assert int(shown["CapEff"], 16) & ~0x800005FB == 0
    assert any(uids(pid) == {base if mode == "root" else expected} for pid in found)


def descendants(pid: int) -> list[int]:
    children = read(f"/proc/{pid}/task/{pid}/children").split()
    return [pid for child in map(int, children) for pid in (child, *descendants(child))]


def status(pid: int) -> dict[str, str]:
    lines = read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def in_a_sandbox(pid: int) -> bool:
    return len(status(pid).get("NSpid", "").split()) > 1


def uids(pid: int) -> set[int]:
    return set(map(int, status(pid)["Uid"].split()))


def workers(server: Server) -> list[int]:
    """Processes of the fork server's family that have started a bwrap, which is their child."""
    family = descendants(server.pid)
    parents = {int(status(pid)["PPid"]) for pid in family if argv(pid)[0] == "bwrap"}
    return [pid for pid in parents if argv(pid)[0] == "lunette-forkserver"]


def argv(pid: int) -> list[str]:
    return read(f"/proc/{pid}/cmdline").split("\0")


def read(path: str) -> str:
    """Return a file of /proc; nothing of a process that is gone."""
    try:
        return Path(path).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


UNSHARE = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    print("made" if libc.unshare(0x10000000) == 0 else "refused")
"""


def test_no_user_namespace_is_made_inside(sandbox: Sandbox) -> None:
    assert python(sandbox, UNSHARE) == "refused"


def test_without_seccomp_the_limit_still_refuses(weaken: Weaken) -> None:
    assert python(weaken("inside_no_seccomp"), UNSHARE) == "refused"


def test_without_either_it_would_be_made(weaken: Weaken) -> None:
    sandbox = weaken("inside_no_seccomp", "nested_namespaces", "inside_namespaces_allowed")
    assert python(sandbox, UNSHARE) == "made"


STOP_EVERYBODY = """
    import os, signal, time
    parent = os.getpid()
    if os.fork() == 0:
        os.setsid()
        while os.getppid() == parent:
            pass
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                os.kill(-1, signal.SIGSTOP)
            except ProcessLookupError:
                pass
        os._exit(0)
"""


def test_a_stopped_start_ends_its_sandbox_and_no_other(mode: str) -> None:
    """A process stopped between vfork and exec holds up the worker that starts it."""
    with (
        serving(mode, "short_deadline") as server,
        server.client.create_sandbox({"image": "host"}) as other,
    ):
        sandbox = server.client.create_sandbox({"image": "host"})
        python(sandbox, STOP_EVERYBODY)
        with pytest.raises(SandboxDestroyedError, match="stopped answering"):
            keep_starting(sandbox)
        assert other.exec("true").success


def test_without_a_deadline_it_would_hold_the_caller(weaken: Weaken) -> None:
    sandbox = weaken("deadline")
    python(sandbox, STOP_EVERYBODY)

    def call() -> None:
        with contextlib.suppress(SandboxDestroyedError):
            keep_starting(sandbox)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(3)
    assert caller.is_alive()
    sandbox.destroy()
    caller.join(30)
    assert not caller.is_alive()


def keep_starting(sandbox: Sandbox) -> None:
    for _ in range(200):
        with contextlib.suppress(ExecTimeoutError):
            sandbox.exec("true", timeout=0.5)


def test_pipes_can_be_reopened(sandbox: Sandbox) -> None:
    result = sandbox.exec(
        "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin", input="in"
    )
    assert (result.stdout, result.stderr) == ("out\nin", "err\n")


@only_root  # a user's pipes are its sandbox's
def test_pipes_of_root_could_not(mode: str, weaken: Weaken) -> None:
    result = weaken("unowned_pipes").exec("echo err > /dev/stderr")
    assert "ermission denied" in result.stdout + result.stderr or not result.success


@only_root  # a user can pass through its own directories
def test_python_below_a_closed_directory(mode: str) -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("this Python runs in no virtual environment")
    with (
        serving(mode, closed=True) as server,
        server.client.create_sandbox({"image": "host"}) as sandbox,
    ):
        assert sandbox.exec("true").success


def test_python_inside_is_this_one(sandbox: Sandbox) -> None:
    shown = python(sandbox, "import sys, ssl, sqlite3; print(sys.version)")
    assert shown == sys.version.strip()
    assert sandbox.exec(["python", "-c", "import sys; print(sys.version)"]).stdout.strip() == shown


def test_sockets_of_the_server_are_its_users(server: Server) -> None:
    assert stat.S_IMODE((server.directory / "sock").stat().st_mode) == 0o600
    assert Path(lunette.__file__).exists()
