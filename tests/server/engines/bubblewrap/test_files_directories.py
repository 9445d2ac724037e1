"""Whole directories of a sandbox, for a root server and an ordinary user's."""

from __future__ import annotations

import base64
import errno
import io
import os
import re
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ....isolation.engines import Box, Engine
from ....isolation.files import EngineFailure, Files, tar

MIB = 1 << 20
PART = re.compile(r"\.lunette-[0-9a-f]{16}\.part")
NAMES = ["n" * 255, "two\nlines", "-rf", "ü", "\udcff\udcfe"]


def _refuses(
    number: int, path: str, function: Callable[..., Any], *args: Any, **more: Any
) -> OSError:
    with pytest.raises(OSError) as caught:
        function(*args, **more)
    assert (caught.value.errno, caught.value.filename) == (number, path)
    return caught.value


def _lines(box: Box, command: str) -> list[str]:
    return box.run(command).output.splitlines()


# In


def test_a_directory_comes_in(box: Box, files: Files) -> None:
    archive = tar({"d": None, "d/e": None, "d/e/file": b"x" * MIB, "d/link": "/etc", "top": b""})
    files.unpack("a/b/new", archive)
    assert files.names("a", depth=0) == [
        *("b", "b/new", "b/new/d", "b/new/d/e", "b/new/d/e/file", "b/new/d/link", "b/new/top")
    ]
    assert files.read("a/b/new/d/e/file") == b"x" * MIB
    assert files.stat("a/b/new/d/link", follow_symlinks=False)["target"] == "/etc"
    assert files.stat("a/b/new")["mode"] == 0o755
    owners = _lines(box, "find a -printf '%u\\n' | sort -u; id -un")
    assert owners[0] == owners[1]


def test_modes_and_times_are_kept_and_nothing_is_setuid(files: Files) -> None:
    files.unpack("new", tar({"file": b"x"}, mode=0o6751, mtime=1000000))
    found = files.stat("new/file")
    assert (found["mode"], found["mtime"]) == (0o751, 1000000)


def test_a_directory_is_merged_with(box: Box, files: Files) -> None:
    box.run("mkdir -p d/keep; echo old > d/file; chmod 700 d; ln -s file d/link")
    before = files.stat("d")
    files.unpack("d", tar({"./": None, "file": b"new", "more": b"", "link": b"file now"}))
    assert files.names("d", depth=0) == ["file", "keep", "link", "more"]
    assert files.read("d/file") == b"new"
    assert files.stat("d/link", follow_symlinks=False)["type"] == "file"
    assert files.stat("d")["mode"] == before["mode"]


@pytest.mark.parametrize("path", [".", "/workspace", "/tmp", "/dev/shm/x", "link"])
def test_places_that_have_none_beside_them(box: Box, files: Files, path: str) -> None:
    box.run("mkdir real; ln -s real link")
    files.unpack(path, tar({"d": None, "d/file": b"x"}))
    assert files.read(f"{path}/d/file") == b"x"
    assert not _parts(box)


def test_over_file_systems_in_one_directory(box: Box, files: Files) -> None:
    with pytest.raises(OSError):  # the root is read-only
        files.unpack("/", tar({"tmp": None, "tmp/file": b"x"}))
    files.unpack("/tmp", tar({"file": b"x"}))
    assert files.read("/tmp/file") == b"x"


def test_nothing_is_seen_of_a_directory_before_the_commit(box: Box, files: Files) -> None:
    archive = tar({"file": b"x"})
    files.begin("in", "unpack", "new")
    files.write("in", archive)
    (name,) = files.names()
    assert PART.fullmatch(name)
    assert files.stat(name)["mode"] == 0o700
    files.commit("in")
    assert files.names(depth=0) == ["new", "new/file"]
    files.abort("in")
    assert files.names(depth=0) == ["new", "new/file"]


@pytest.mark.parametrize("written", [0, 700, None])
def test_an_abort_leaves_nothing_of_a_directory(box: Box, files: Files, written: int) -> None:
    files.begin("in", "unpack", "a/new")
    files.write("in", tar({"d": None, "d/file": b"x" * MIB})[:written])
    files.abort("in")
    files.abort("in")
    assert files.names(depth=0) == ["a"]
    assert files.workers() == []


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"x" * 2000, ""),
        (tar({"file": b"x" * 9000})[:5000], "cut off"),
        (tar({"../up": b"x"}), '".."'),
        (tar({"/etc/x": b"x"}), "absolute"),
        (tar({"file": b""}, type=b"6"), "kind"),
        (tar({"file": b""}, type=b"3"), "kind"),
        (tar({"link": "/tmp", "link/x": b"x"}), "no directory"),
    ],
)
def test_what_is_no_good_archive(files: Files, archive: bytes, why: str) -> None:
    with pytest.raises(OSError) as caught:
        files.unpack("new", archive)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, "new")
    assert why in str(caught.value)
    assert files.names() == []
    assert files.names("/tmp") == []


def test_hard_links_to_what_came_before(files: Files) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("one")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("two")
        link.type, link.linkname = tarfile.LNKTYPE, "one"
        archive.addfile(link)
    files.unpack("new", made.getvalue())
    assert files.read("new/two") == b"abc"


def test_what_cannot_be_unpacked_to(box: Box, files: Files) -> None:
    box.run("touch file; ln -s file link; mkdir -p d/sub; touch d/plain")
    for path in ("file", "link", "file/x", "/etc/passwd"):
        _refuses(errno.ENOTDIR, path, files.begin, "in", "unpack", path)
    for path in ("/etc", "/etc/new", "/usr/new/x"):
        _refuses(errno.EROFS, path, files.begin, "in", "unpack", path)
    _refuses(errno.EISDIR, "d/sub", files.unpack, "d", tar({"aaa": b"", "sub": b"x"}))
    _refuses(errno.ENOTDIR, "d/plain", files.unpack, "d", tar({"aaa": b"", "plain": None}))
    assert files.names("d") == ["plain", "sub"]  # nothing was moved


def test_a_full_disk_in_a_directory(engine: Engine) -> None:
    small = {"path": "/small", "size": MIB}
    with engine.sandbox(tmpfs=[small]) as box:
        files = Files(box)
        error = None
        files.begin("in", "unpack", "/small/new")
        try:
            files.write("in", tar({"file": bytes(4 * MIB)}))
            files.commit("in")
        except OSError as caught:
            error = caught
        assert error is not None
        assert (error.errno, error.filename) == (errno.ENOSPC, "/small/new/file")
        assert files.names("/small") == []


def test_a_file_over_the_limit(engine: Engine) -> None:
    with engine.sandbox(disk=8 * MIB) as box:
        files = Files(box)
        files.begin("in", "unpack", "/dev/shm/new")
        with pytest.raises(OSError) as caught:
            files.write("in", tar({"file": bytes(10 * MIB)}))
            files.commit("in")
        assert caught.value.errno == errno.EFBIG


# Out


def test_a_directory_comes_out(box: Box, files: Files) -> None:
    box.run(
        "mkdir -p d/e; head -c 3000000 /dev/urandom > d/e/data; chmod 750 d/e; ln -s /etc d/l;"
        "mkfifo d/fifo; touch -d @1000000.25 d/e/data"
    )
    found = files.pack("d")
    assert set(found) - {".", "./"} == {"e", "e/data", "l"}
    data, content = found["e/data"]
    assert content == files.read("d/e/data")
    assert float(data.mtime) == 1000000.25
    assert found["e"][0].mode == 0o750
    assert found["l"][0].linkname == "/etc"


def test_what_is_ignored_does_not_come_out(box: Box, files: Files) -> None:
    box.run("mkdir -p d/a/b d/c; touch d/a/b/x d/a/y.log d/c/keep.log d/z.log")
    rules = [(r"(?:.*/)?[^/]*\.log\Z", True), (r"c/keep\.log\Z", False), (r"a/b/\Z", True)]
    assert set(files.pack("d", rules)) - {".", "./"} == {"a", "c", "c/keep.log"}


def test_a_rule_that_is_none(box: Box, files: Files) -> None:
    files.begin("out", "pack", ".", rules=[("(", True)])
    _refuses(errno.EINVAL, ".", files.take, "out")
    files.close("out")


def test_a_directory_goes_round(box: Box, files: Files) -> None:
    files.mkdir("d")
    for name in NAMES:
        files.put(f"d/{name}", name.encode(errors="surrogateescape"))
    files.unpack("copy", files.packed("d"))
    for name in NAMES:
        assert files.read(f"copy/{name}") == name.encode(errors="surrogateescape")


def test_a_large_directory_is_made_as_it_is_taken(box: Box, files: Files) -> None:
    box.run("mkdir d; for n in 1 2 3 4 5 6 7 8; do truncate -s 4M d/$n; done")
    files.begin("out", "pack", "d", rules=[])
    assert len(files.take("out", blocks=1)) >= 64 * 1024
    assert len(files.workers()) == 1
    files.close("out")
    assert files.workers() == []


def test_what_cannot_be_packed(box: Box, files: Files) -> None:
    box.run("touch file; ln -s loop loop")
    for path, number in (("nope", errno.ENOENT), ("file", errno.ENOTDIR), ("loop", errno.ELOOP)):
        for kind, more in (("pack", {"rules": []}), ("list", {"depth": 1})):
            _refuses(number, path, files.begin, "out", kind, path, **more)


def test_a_file_that_is_closed_is_named(engine: Engine) -> None:
    with engine.sandbox(user="1000" if _has_ids(engine) else None) as box:
        files = Files(box)
        box.run("mkdir -p d/e; touch d/e/closed; chmod 000 d/e/closed")
        files.begin("out", "pack", "d", rules=[])
        _refuses(errno.EACCES, "d/e/closed", files.take, "out")
        files.close("out")


def _has_ids(engine: Engine) -> bool:
    with engine.sandbox() as box:
        return box.run("cat /proc/self/uid_map").output.split()[2] != "1"


def test_a_file_that_shrinks_and_one_that_grows(box: Box, files: Files) -> None:
    box.run("mkdir d; truncate -s 40M d/data")
    files.begin("out", "pack", "d", rules=[])
    files.take("out", blocks=1)
    box.run("truncate -s 20M d/data")
    _refuses(errno.ESTALE, "d/data", files.take, "out")
    files.close("out")
    box.run("truncate -s 8M d/data")
    files.begin("out", "pack", "d", rules=[])
    files.take("out", blocks=1)
    box.run("printf more >> d/data")
    files.take("out")
    files.close("out")


# Listing


def test_a_listing(box: Box, files: Files) -> None:
    box.run(
        "mkdir -p b/d/e a; touch b/c b/d/e/f; ln -s /b/.. b/link; mkfifo z; echo 12 > a/x;"
        "chmod 640 a/x; touch -d @1000000.5 a/x; ln -s b to_b"
    )
    assert files.names(depth=1) == ["a", "b", "to_b", "z"]
    assert files.names(depth=2) == ["a", "a/x", "b", "b/c", "b/d", "b/link", "to_b", "z"]
    deepest = ["a", "a/x", "b", "b/c", "b/d", "b/d/e", "b/d/e/f", "b/link", "to_b", "z"]
    assert files.names(depth=0) == deepest
    directory, entries = files.listing("to_b/../a")
    assert directory == "/workspace/a"
    ((found),) = entries
    ids = {"uid": found["uid"], "gid": found["gid"]}
    expected = {"path": "x", "type": "file", "size": 3, "mode": 0o640, "mtime": 1000000.5}
    assert found == {**expected, **ids}
    shown = {entry["path"]: entry for entry in files.listing("b")[1]}
    assert shown["link"]["target"] == "/b/.."
    assert files.listing("to_b")[0] == "/workspace/b"


def test_names_in_a_listing(files: Files) -> None:
    for name in NAMES:
        files.put(f"\udcfe/{name}")
    _, entries = files.listing(depth=0)
    seen = []
    for entry in entries:
        path = entry["path"].encode()
        if "path_base64" in entry:
            assert "�" in entry["path"]
            path = base64.b64decode(entry["path_base64"])
        seen.append(os.fsdecode(path))
    assert sorted(seen) == sorted(["\udcfe", *(f"\udcfe/{name}" for name in NAMES)])
    assert files.listing("\udcfe")[0] == "/workspace/�"


def test_closed_directories_have_nothing_in_a_listing(engine: Engine) -> None:
    with engine.sandbox(user="1000" if _has_ids(engine) else None) as box:
        box.run("mkdir -p d/e; touch d/e/f; chmod 0 d/e; touch x")
        assert Files(box).names(depth=0) == ["d", "d/e", "x"]
        box.run("chmod 700 d/e")


def test_a_tree_deeper_than_any_path(box: Box, files: Files) -> None:
    box.python("""
        import os
        os.chdir("/dev/shm")  # whose depth nobody measures
        for n in range(3000):
            os.mkdir("d")
            os.chdir("d")
    """)
    names = files.names("/dev/shm", depth=0)
    assert names[0] == "d"
    assert 4000 < len(names[-1]) < 4100


def test_much_is_listed_as_it_is_taken(box: Box, files: Files) -> None:
    box.run("mkdir /tmp/d && cd /tmp/d && seq 30000 | xargs touch")
    files.begin("out", "list", "/tmp/d", depth=1)
    files.take("out", blocks=1)
    files.close("out")
    assert files.workers() == []
    assert len(files.names("/tmp/d")) == 30000


# Removing and moving


def test_removing_all_that_is_in_it(box: Box, files: Files) -> None:
    box.run(
        "mkdir -p d/e/f out; touch d/x d/e/y out/keep; ln -s ../out d/link; mkfifo d/fifo;"
        "mkdir d/closed; touch d/closed/z; chmod 0 d/closed; ln -s out link"
    )
    for path in ("d", "link"):
        files.remove(path, recursive=True)
    assert files.names(depth=0) == ["out", "out/keep"]
    files.remove("out/keep", recursive=True)
    assert files.names(depth=0) == ["out"]


def test_what_cannot_be_removed(box: Box, files: Files) -> None:
    box.run("touch file")
    _refuses(errno.ENOENT, "nope", files.remove, "nope", recursive=True)
    _refuses(errno.ENOTDIR, "file/x", files.remove, "file/x", recursive=True)
    _refuses(errno.EROFS, "/etc/ssl", files.remove, "/etc/ssl", recursive=True)
    _refuses(errno.EBUSY, "/", files.remove, "/", recursive=True)


def test_moving_to_another_file_system(box: Box, files: Files) -> None:
    box.run(
        "mkdir -p d/e; echo 1 > d/e/x; chmod 4751 d/e/x; ln -s /etc d/link; mkfifo d/fifo;"
        "truncate -s 100M d/sparse; touch -d @1000000.25 d/e/x d/e; chmod 500 d/e"
    )
    files.move("d", "/tmp/moved")
    assert files.names(depth=0) == []
    expected = ["e", "e/x", "fifo", "link", "sparse"]
    assert files.names("/tmp/moved", depth=0) == expected
    assert _lines(box, "du -k /tmp/moved/sparse")[0].split()[0] == "0"
    found = files.stat("/tmp/moved/e/x")
    assert (found["mode"], found["mtime"]) == (0o4751, 1000000.25)
    assert (files.stat("/tmp/moved/e")["mode"], files.stat("/tmp/moved/fifo")["type"]) == (
        0o500,
        "other",
    )
    files.move("/tmp/moved/link", "link")
    assert files.stat("link", follow_symlinks=False)["target"] == "/etc"
    box.run("echo old > old; echo new > /tmp/new")
    files.move("/tmp/new", "old")
    assert files.read("old") == b"new\n"


def test_what_cannot_be_moved_to_another_file_system(box: Box, files: Files) -> None:
    box.run("mkdir d full; touch full/x /tmp/file; mkdir -p /tmp/d/e")
    _refuses(errno.EISDIR, "d", files.move, "/tmp/file", "d")
    _refuses(errno.ENOTEMPTY, "full", files.move, "/tmp/d", "full")
    _refuses(errno.ENOENT, "no/x", files.move, "/tmp/d", "no/x")
    _refuses(errno.EROFS, "/etc/x", files.move, "d", "/etc/x")
    _refuses(errno.EROFS, "/etc/passwd", files.move, "/etc/passwd", "x")
    with pytest.raises(OSError):
        files.move("/", "/tmp/x")
    assert not _parts(box)
    assert files.names() == ["d", "full"]


def test_a_move_that_finds_no_room(engine: Engine) -> None:
    with engine.sandbox(tmpfs=[{"path": "/small", "size": MIB}]) as box:
        files = Files(box)
        box.run("mkdir d; head -c 4M /dev/zero > d/data")
        _refuses(errno.ENOSPC, "/small/d", files.move, "d", "/small/d")
        assert files.names("/small") == []
        assert files.names(depth=0) == ["d", "d/data"]


# Ends


def test_a_process_for_files_that_is_killed(box: Box, files: Files) -> None:
    files.begin("in", "unpack", "new")
    (pid,) = files.workers()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineFailure, match="NoCapacityError"):
        files.write("in", bytes(8 * MIB))
    files.abort("in")
    files.put("data", b"x")
    assert files.read("data") == b"x"


def test_a_command_runs_beside_a_pack_that_nobody_takes(box: Box, files: Files) -> None:
    box.run("truncate -s 40M data")
    files.begin("out", "pack", ".", rules=[])
    assert box.run("echo here").output == "here\n"
    files.close("out")


@pytest.mark.parametrize("kind", ["put", "unpack", "pack", "list"])
def test_a_sandbox_that_ends_under_a_transfer(engine: Engine, kind: str) -> None:
    options: dict[str, dict[str, Any]] = {"pack": {"rules": []}, "list": {"depth": 0}}
    more = options.get(kind, {})
    with engine.sandbox() as box:
        files = Files(box)
        box.run("mkdir d; truncate -s 40M d/data")
        files.begin("transfer", kind, "new" if kind in ("put", "unpack") else "/", **more)
        pids = files.workers()
        assert len(pids) == (0 if kind == "put" else 1)
        engine.ask({"op": "destroy", "id": box.id, "keeps": True})
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        with pytest.raises(EngineFailure, match="SandboxGoneError"):
            if kind in ("put", "unpack"):
                files.commit("transfer")
            else:
                files.take("transfer")
        if kind in ("pack", "list"):
            files.close("transfer")
        with pytest.raises(EngineFailure, match="SandboxGoneError"):
            files.begin("another", "list", ".", depth=1)


def test_a_sandbox_that_is_killed_from_inside(box: Box, files: Files) -> None:
    files.begin("in", "unpack", "new")
    (pid,) = files.workers()
    # The call that starts it may be the one that is told.
    with pytest.raises((EngineFailure, AssertionError), match="SandboxGoneError"):
        box.run("kill -9 -1", background=True)
        while True:
            files.write("in", bytes(512))
            files.stat(".")
    files.abort("in")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_does_not_reap_holds_up_no_end(engine: Engine) -> None:
    with engine.sandbox() as box:
        box.run("sleep 1000", background=True)
        pid = Files(box).worker()
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_memory_for_files_is_limited(box: Box, files: Files) -> None:
    files.begin("in", "unpack", "new")
    (pid,) = files.workers()
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (data,) = (line.split() for line in limits if line.startswith("Max data size"))
    assert data[3:5] == [str(512 * MIB)] * 2
    files.abort("in")


def _parts(box: Box) -> list[str]:
    return _lines(box, "find / -name '.lunette-*.part' 2>/dev/null")
