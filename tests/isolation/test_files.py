"""Attacks on who reads and writes the files of a sandbox, from inside it."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import signal
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import Box, Engine, driving
from files import EngineFailure, Files, tar

from lunette._scratch import remove_tree

GUARD = 30.0

# Makes `d` a directory, and a link to somewhere else, over and over. What was written by way of it
# lies in `real`.
FLIP = """
    import itertools, os, sys
    os.makedirs("real/deep/er", exist_ok=True)
    for place in ("real", "real/deep", "real/deep/er"):
        open(place + "/file", "w").write("inside")
    targets = sys.argv[1:]
    for n, target in enumerate(targets):
        os.symlink(target, f"link{n}")
    os.rename("real", "d")
    print("flipping", flush=True)
    for n in itertools.cycle(range(len(targets))):
        try:
            os.rename("d", "real")
            os.rename(f"link{n}", "d")
            os.rename("d", f"link{n}")
            os.rename("real", "d")
        except OSError:
            os.system("rm -rf d; mkdir -p real/deep/er; echo inside > real/deep/er/file")
            for other, target in enumerate(targets):
                if not os.path.islink(f"link{other}"):
                    os.system(f"rm -rf link{other}")
                    os.symlink(target, f"link{other}")
            os.path.lexists("d") or os.rename("real", "d")
"""


@pytest.fixture
def canary() -> Iterator[Path]:
    """A directory of the machine that everybody may read and write."""
    path = Path(tempfile.mkdtemp(prefix="test-canary-", dir="/var/tmp"))
    path.chmod(0o777)
    (path / "file").write_text(f"canary {secrets.token_hex(8)}")
    (path / "file").chmod(0o666)
    (path / "deep").mkdir(mode=0o777)
    (path / "deep").chmod(0o777)
    (path / "deep" / "file").write_text("canary too")
    yield path
    remove_tree(path)


def _state(canary: Path) -> dict[str, tuple[str, int]]:
    files = sorted(path for path in canary.rglob("*"))
    return {
        str(path): (path.read_text() if path.is_file() else "", path.lstat().st_mode)
        for path in files
    }


def _flip(box: Box, canary: Path) -> None:
    up = "../" * 20
    targets = [
        str(canary),
        *(f"/proc/{pid}/root{canary}" for pid in ("self", "1", "thread-self")),
        f"/proc/1/cwd/{up}{canary}",
        f"{up}{canary}",
        "/etc",
    ]
    script = ["python3", "-c", textwrap.dedent(FLIP), *targets]
    box.run(script, {"until": "flipping"}, background=True)


ARCHIVE = base64.b64encode(
    tar({"deep": None, "deep/file": b"ours", "deep/er": None, "deep/er/file": b"ours"})
).decode()
STORMS: dict[str, Callable[[Files], list[dict[str, object]]]] = {
    "put": lambda files: [files.storm("put", 500, path="d/file") for _ in range(4)],
    "get": lambda files: [files.storm("get", 500, path="d/file") for _ in range(4)],
    "unpack": lambda files: [
        files.storm("unpack", 100, path=path, archive=ARCHIVE) for path in ("d", "d/deep", "d/new")
    ],
    "pack": lambda files: [files.storm("pack", 100, path=path) for path in ("d", ".", "d/deep")],
    "list": lambda files: [files.storm("list", 100, path=path) for path in ("d", ".", "d/deep")],
    "remove": lambda files: [
        files.storm("remove", 100, path=path) for path in ("d/deep", "d/file", "d")
    ],
    "move": lambda files: [
        files.storm("move", 400, source="d/file", target="d/deep/moved"),
        files.storm("move", 50, source="d/deep", target="/tmp/moved"),
        files.storm("move", 50, source="/tmp/moved", target="d/other"),
    ],
}


@pytest.mark.parametrize("does", STORMS)
def test_links_that_come_and_go_lead_nowhere(box: Box, canary: Path, does: str) -> None:
    before = _state(canary)
    _flip(box, canary)
    outcomes = STORMS[does](Files(box))
    assert any(outcome["worked"] for outcome in outcomes)
    assert "canary" not in str([outcome["seen"] for outcome in outcomes])
    assert _state(canary) == before


@pytest.mark.parametrize("path", ["", "deep"])
def test_the_attack_works_without_the_wall(mode: str, canary: Path, path: str) -> None:
    with driving(mode, "inside_files_outside") as engine, engine.sandbox() as box:
        files = Files(box)
        assert "canary" in str(files.storm("pack", 1, path=str(canary / path))["seen"])
        files.storm("unpack", 1, path=str(canary / path), archive=ARCHIVE)
        assert (canary / path / "deep" / "file").read_text() == "ours"


# What it is


def test_a_process_for_files_is_as_a_command(box: Box) -> None:
    files = Files(box)
    box.run("truncate -s 40M data; mkdir d")
    files.begin("out", "pack", ".", rules=[])
    files.begin("in", "unpack", "d")
    command = _status(box.run("cat /proc/self/status").output)
    pids = files.workers()
    assert len(pids) == 2
    for pid in pids:
        mine = _status(Path(f"/proc/{pid}/status").read_text())
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "NoNewPrivs"):
            assert mine[name] == command[name], name
        assert (mine["Seccomp"], mine["NoNewPrivs"]) == ("2", "1")
        assert mine["NSpid"] == str(pid)
        assert _limits(f"/proc/{pid}/limits", "Max file size") == _limits_of(box, "Max file size")
        _check_namespaces(box, pid)
        _check_descriptors(pid)
    files.close("out")
    files.abort("in")


def _status(text: str) -> dict[str, str]:
    lines = (line.split(":", 1) for line in text.splitlines())
    return {name: value.strip() for name, value in lines}


def _limits(path: str, name: str) -> str:
    return next(line for line in Path(path).read_text().splitlines() if name in line)


def _limits_of(box: Box, name: str) -> str:
    return box.run(f"grep '{name}' /proc/self/limits").output.rstrip("\n")


def _check_namespaces(box: Box, pid: int) -> None:
    for name in ("net", "ipc", "uts", "cgroup", "mnt", "user"):
        inside = box.run(f"readlink /proc/self/ns/{name}").output.strip()
        assert str(Path(f"/proc/{pid}/ns/{name}").readlink()) == inside
    children = str(Path(f"/proc/{pid}/ns/pid_for_children").readlink())
    assert children == box.run("readlink /proc/self/ns/pid").output.strip()
    assert Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()


def _check_descriptors(pid: int) -> None:
    """Nothing but pipes, sockets, /dev/null and what is in the sandbox's own mounts."""
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    known = {line.split()[0] for line in mounts}
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        leads = str(fd.readlink())
        if leads == "/dev/null" or leads.startswith(("pipe:", "socket:")):
            continue
        info = _status(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text())
        assert info["mnt_id"] in known, leads


def test_a_process_for_files_cannot_be_reached(box: Box) -> None:
    files = Files(box)
    box.run("truncate -s 40M data")
    files.begin("out", "pack", ".", rules=[])
    (pid,) = files.workers()
    script = """
        import ctypes, os, sys
        pid = int(sys.argv[1])
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            print("no signal")
        assert libc.ptrace(0x4206, pid, 0, 0) == -1
        print("no trace", ctypes.get_errno())
        print({int(n) for n in os.listdir("/proc") if n.isdecimal()} == {1, 2, os.getpid()})
    """
    seen = box.run(["python3", "-c", textwrap.dedent(script), str(pid)])
    assert seen.output.splitlines() == ["no signal", "no trace 3", "True"], seen
    box.run("kill -STOP -1; kill -CONT -1")
    assert files.workers() == [pid]
    files.close("out")


# Ends


def test_it_dies_with_the_server(mode: str) -> None:
    with driving(mode) as engine:
        engine.ask({"op": "create", "id": "box", "spec": {}})
        files = Files(Box(engine, "box"))
        files.begin("in", "unpack", "new")
        files.begin("out", "pack", "/usr", rules=[])
        pids = files.workers()
        assert len(pids) == 2
        os.kill(engine.pid, signal.SIGKILL)
        for pid in pids:
            _wait_for_end(pid)


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            time.sleep(0.01)
            continue
        return
    raise AssertionError(f"{pid} lives on")


def test_a_fork_bomb_holds_nothing_up(engine: Engine) -> None:
    with engine.sandbox(pids_limit=48) as box:
        files = Files(box)
        files.put("d/data", b"x" * 300_000)
        bomb = """
            import os
            print("up", flush=True)
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
        """
        box.run(["python3", "-c", textwrap.dedent(bomb)], {"until": "up"}, background=True)
        assert len(files.packed("d")) > 300_000
        files.unpack("e", tar({"file": b"y"}))
        assert files.names("e") == ["file"]
        files.remove("d", recursive=True)


@pytest.mark.parametrize("free", range(8))
def test_where_no_descriptor_is_left_nothing_stays(engine: Engine, free: int) -> None:
    with engine.sandbox() as box:
        files = Files(box)
        files.put("d/data", b"x")
        box.files("workers")
        engine.ask({"op": "descriptors", "free": free})
        try:
            for kind, path, more in (
                ("put", "new", {}),
                ("put", "log", {"if_exists": "append"}),
                ("get", "d/data", {}),
                ("pack", "d", {"rules": []}),
                ("list", "d", {"depth": 0}),
                ("unpack", "tree", {}),
            ):
                with contextlib.suppress(EngineFailure, OSError):
                    files.begin(kind, kind, path, **more)
                    if kind in ("put", "unpack"):
                        files.abort(kind)
                    else:
                        files.close(kind)
            with contextlib.suppress(EngineFailure, OSError):
                files.move("d/data", "/dev/shm/data")
            with contextlib.suppress(EngineFailure, OSError):
                files.remove("d", recursive=True)
        finally:
            engine.ask({"op": "descriptors", "free": None})
        assert not [name for name in files.names(depth=0) if name.endswith(".part")]
        assert files.workers() == []
        files.unpack("tree", tar({"file": b"x"}))
        assert files.read("tree/file") == b"x"


def test_descriptors_are_given_back(box: Box) -> None:
    files = Files(box)
    files.put("d/data", b"x")
    counts = []
    for _ in range(3):
        for _ in range(5):
            files.storm("put", 3, path="d/data")
            files.storm("get", 3, path="d/data")
            files.storm("pack", 1, path="d")
            files.storm("list", 1, path="d")
            files.storm("unpack", 1, path="e", archive=ARCHIVE)
            files.storm("move", 2, source="e", target="/tmp/e")
            files.storm("remove", 1, path="e")
        counts.append(box.files("descriptors")["counts"])
    assert counts[1] == counts[2]
