"""Single files of a sandbox, for a root server and an ordinary user's."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from lunette.server.engines.protocol import NotARegularFileError

from ....isolation.engines import Box, Engine
from ....isolation.files import EngineFailure, Files

MIB = 1 << 20


def _refuses(
    number: int, path: str, function: Callable[..., Any], *args: Any, **more: Any
) -> OSError:
    with pytest.raises(OSError) as caught:
        function(*args, **more)
    assert (caught.value.errno, caught.value.filename) == (number, path)
    return caught.value


# Reading


def test_a_file_comes_whole_and_in_parts(files: Files) -> None:
    content = os.urandom(2 * MIB + 5)
    files.put("data", content)
    whole = files.get("data")
    assert (whole.content, whole.size, whole.same) == (content, len(content), True)
    assert files.get("data", 3, MIB + 7).content == content[3 : MIB + 7]
    assert files.get("data", 2 * MIB).content == content[2 * MIB :]
    assert files.get("data", 5, 5).content == b""
    assert files.get("data", len(content)).content == b""
    assert files.get("data", 0, len(content) + 9).content == content


def test_a_tag_is_of_what_the_file_holds(box: Box, files: Files) -> None:
    files.put("one", b"1234")
    tag = files.get("one").etag
    assert re.fullmatch('"[0-9a-f]{32}"', tag)
    assert files.get("one").etag == tag
    files.put("two", b"1234")
    assert files.get("two").etag != tag
    box.run("sleep 0.01; printf 4321 > one")  # the clock of a file system has steps
    changed = files.get("one").etag
    assert changed != tag
    box.run("cp -p one kept; sleep 0.01; printf 5678 > one; touch -r kept one")
    assert files.get("one").etag != changed


def test_an_open_file_knows_that_it_changed(box: Box, files: Files) -> None:
    files.put("data", b"x" * MIB)
    files.begin("reader", "get", "data")
    box.run("printf more >> data")
    assert len(files.take("reader")) == MIB  # as large as it was
    files.close("reader")
    files.begin("reader", "get", "data")
    box.run("truncate -s 10 data")
    assert len(files.take("reader")) == 10
    files.close("reader")


def test_a_file_that_is_replaced_is_read_to_its_end(files: Files) -> None:
    files.put("data", b"old")
    files.begin("reader", "get", "data")
    files.put("data", b"new")
    assert files.take("reader") == b"old"
    files.close("reader")
    assert files.read("data") == b"new"


def test_files_of_proc_have_no_size(files: Files) -> None:
    found = files.get("/proc/1/status")
    assert b"Pid:\t1\n" in found.content
    assert found.size == len(found.content)
    assert files.get("/proc/1/status", 5, 9).content == found.content[5:9]


def test_files_of_the_kernel_are_read_inside(box: Box, files: Files) -> None:
    for path in ("/proc/sys/kernel/hostname", "/proc/version"):
        found = files.get(path)
        assert found.content.decode() == box.run(["cat", path]).output
        assert files.get(path).etag == found.etag
    large = "/proc/kallsyms"
    _refuses(errno.EFBIG, large, files.get, large)


def test_files_of_the_kernel_are_not_written(box: Box, files: Files) -> None:
    begun = box.run("echo $$; exec sleep 601", {"until": "\n"}, background=True)
    path = f"/proc/{begun.output.strip()}/oom_score_adj"
    with pytest.raises(NotARegularFileError):
        files.begin("put", "put", path, if_exists="append")


def test_a_sparse_file_is_as_long_as_it_says(box: Box, files: Files) -> None:
    box.run("truncate -s 3M sparse; printf x >> sparse")
    assert files.read("sparse") == bytes(3 * MIB) + b"x"


def test_links_are_followed_inside(box: Box, files: Files) -> None:
    box.run("echo inside > file; ln -s /../../../workspace/file link; ln -s nowhere dangling")
    assert files.read("link") == b"inside\n"
    _refuses(errno.ENOENT, "dangling", files.get, "dangling")


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("nope", errno.ENOENT),
        (".", errno.EISDIR),
        ("file/below", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("/proc/self/mem", errno.ENOENT),
        ("/proc/self/root/etc/shadow", errno.ENOENT),
        ("n" * 256, errno.ENAMETOOLONG),
        ("zero\0", errno.EINVAL),
    ],
)
def test_what_cannot_be_read(box: Box, files: Files, path: str, number: int) -> None:
    box.run("touch file; ln -s loop loop")
    _refuses(number, path, files.get, path)


def test_memory_of_a_process_is_no_file_that_can_be_read(files: Files) -> None:
    with pytest.raises(OSError) as caught:
        files.get("/proc/1/mem")
    assert caught.value.filename == "/proc/1/mem"


def test_no_thread_of_the_loop_is_needed(box: Box, files: Files) -> None:
    box.run("true", {"threads": True})
    try:
        files.put("data", b"x")
        assert files.read("data") == b"x"
        assert box.run("id -u", user="0").output == "0\n"
    finally:
        box.run("true", {"threads": False})


@pytest.mark.parametrize("path", ["fifo", "socket", "/dev/zero", "/dev/ptmx"])
def test_what_is_no_regular_file(box: Box, files: Files, path: str) -> None:
    _make_irregular(box)
    for refused in (files.get, files.put):
        with pytest.raises(NotARegularFileError) as caught:
            refused(path)
        assert caught.value.filename == path
    with pytest.raises(NotARegularFileError):
        files.begin("put", "put", path, if_exists="append")
    assert files.stat(path)["type"] == "other"


def _make_irregular(box: Box) -> None:
    box.python("""
        import os, socket
        os.mkfifo("fifo")
        socket.socket(socket.AF_UNIX).bind("socket")
    """)


# Writing


def test_parents_are_made(files: Files) -> None:
    deep = "/".join(["d"] * 1500)
    for path in ("a/b/c/file", f"{deep}/file"):
        files.put(path, b"x")
        assert files.read(path) == b"x"


def test_modes(box: Box, files: Files) -> None:
    files.put("new")
    files.put("set", mode=0o4750)
    files.put("closed", b"x", mode=0)
    box.run("touch old; chmod 640 old")
    files.put("old", b"x")
    files.put("old2", mode=0o600)
    files.put("old2", mode=0o666)
    modes = {name: files.stat(name)["mode"] for name in ("new", "set", "closed", "old", "old2")}
    expected = {"new": 0o644, "set": 0o4750, "closed": 0, "old": 0o640, "old2": 0o666}
    assert modes == expected


def test_a_file_is_the_sandbox_users(box: Box, files: Files) -> None:
    files.put("data")
    assert box.run("stat -c %u:%g data").output == box.run("echo $(id -u):$(id -g)").output


def test_nothing_is_seen_before_the_commit(box: Box, files: Files) -> None:
    files.put("data", b"old")
    files.begin("put", "put", "data")
    files.write("put", b"new")
    assert files.read("data") == b"old"
    (temporary,) = (name for name in files.names() if name != "data")
    assert re.fullmatch(r"\.lunette-[0-9a-f]{16}\.part", temporary)
    assert files.stat(temporary)["mode"] == 0o600
    files.commit("put")
    assert files.read("data") == b"new"
    files.abort("put")
    assert files.names() == ["data"]


def test_an_abort_leaves_nothing(files: Files) -> None:
    files.begin("put", "put", "data")
    files.write("put", b"x")
    files.abort("put")
    files.abort("put")
    assert files.names() == []


def test_nothing_is_left_of_its_parents_either(box: Box, files: Files) -> None:
    for path in ("a/b/c/data", "b/data"):
        files.begin("put", "put", path)
        files.abort("put")
    assert files.names() == []
    box.run("mkdir a b")
    files.begin("put", "put", "a/b/c/data")
    box.run("touch a/b/theirs")
    files.abort("put")
    files.begin("put", "put", "b/data")
    files.abort("put")
    assert files.names(depth=0) == ["a", "a/b", "a/b/theirs", "b"]


@pytest.mark.parametrize("if_exists", ["replace", "fail"])
@pytest.mark.parametrize("does", ["echo theirs > x; mv x {}", "ln -sf /etc/passwd {}", "rm {}"])
def test_what_is_not_ours_gets_no_name(box: Box, files: Files, does: str, if_exists: str) -> None:
    files.begin("put", "put", "d/data", if_exists=if_exists)
    box.run(does.format("d/.lunette-*.part"))
    _refuses(errno.ESTALE, "d/data", files.commit, "put")
    assert files.names(depth=0) == []


def test_a_link_is_written_through(box: Box, files: Files) -> None:
    box.run("mkdir d; ln -s d/real link; ln -s loop loop")
    files.put("link", b"x")
    assert files.read("d/real") == b"x"
    assert files.stat("link", follow_symlinks=False)["type"] == "symlink"


LINKS_WITHOUT_END = """
    import os
    junk = "/".join(["j"] * 1900)
    os.symlink(junk, "b0")
    for n in range(1, 400):
        os.symlink(f"b{n - 1}/{junk}", f"b{n}")
"""


@pytest.mark.parametrize("if_exists", ["replace", "append", "fail"])
def test_links_that_would_be_followed_for_ever(box: Box, files: Files, if_exists: str) -> None:
    box.python(LINKS_WITHOUT_END)
    _refuses(errno.ELOOP, "b399/x", files.begin, "put", "put", "b399/x", if_exists=if_exists)
    _refuses(errno.ELOOP, "b399/x", files.begin, "in", "unpack", "b399/x")
    _refuses(errno.ELOOP, "b399/x", files.stat, "b399/x")
    assert box.run("echo here").output == "here\n"


def test_new_only(box: Box, files: Files) -> None:
    box.run("touch old; ln -s nowhere dangling; mkdir d")
    for path in ("old", "dangling", "d", "."):
        _refuses(errno.EEXIST, path, files.begin, "put", "put", path, if_exists="fail")
    files.put("new", b"x", if_exists="fail")
    assert files.read("new") == b"x"
    files.begin("put", "put", "late", if_exists="fail")
    box.run("echo theirs > late")
    _refuses(errno.EEXIST, "late", files.commit, "put")
    assert files.read("late") == b"theirs\n"
    assert files.names() == ["d", "dangling", "late", "new", "old"]


def test_of_many_new_ones_one_wins(files: Files) -> None:
    outcomes = files.race("data", 50)
    (winner,) = (one for one in outcomes if one.isdecimal())
    assert len(outcomes) == 50
    assert files.read("data") == winner.encode()
    assert files.names() == ["data"]


def test_appending(box: Box, files: Files) -> None:
    files.begin("put", "put", "a/log", if_exists="append")
    files.write("put", b"one,")
    assert files.read("a/log") == b"one,"
    assert files.names("a") == ["log"]
    box.run("printf two, >> a/log")
    files.write("put", b"three")
    files.commit("put")
    assert files.read("a/log") == b"one,two,three"
    assert files.stat("a/log")["mode"] == 0o644
    files.begin("put", "put", "a/log", if_exists="append", mode=0o600)
    files.write("put", b"!")
    files.abort("put")
    assert files.read("a/log") == b"one,two,three!"
    assert files.stat("a/log")["mode"] == 0o600


@pytest.mark.parametrize("if_exists", ["replace", "append"])
@pytest.mark.parametrize(
    ("path", "number"),
    [
        (".", errno.EISDIR),
        ("d", errno.EISDIR),
        ("d/", errno.EISDIR),
        ("file/below", errno.ENOTDIR),
        ("/etc/new", errno.EROFS),
        ("/proc/new", errno.ENOENT),
        ("n" * 256, errno.ENAMETOOLONG),
        ("zero\0", errno.EINVAL),
    ],
)
def test_what_cannot_be_written(
    box: Box, files: Files, path: str, number: int, if_exists: str
) -> None:
    box.run("touch file; mkdir d")
    _refuses(number, path, files.begin, "put", "put", path, if_exists=if_exists)
    assert files.names() == ["d", "file"]


def test_a_directory_in_its_place_meanwhile(box: Box, files: Files) -> None:
    files.begin("put", "put", "data")
    box.run("mkdir data")
    _refuses(errno.EISDIR, "data", files.commit, "put")
    assert files.names() == ["data"]


def test_a_full_disk(engine: Engine) -> None:
    small = {"path": "/small", "size": MIB}
    with engine.sandbox(tmpfs=[small]) as box:
        files = Files(box)
        files.begin("put", "put", "/small/data")
        _refuses(errno.ENOSPC, "/small/data", files.fill, "put", 2 * MIB)
        assert files.names("/small") == []
        files.begin("put", "put", "/small/log", if_exists="append")
        _refuses(errno.ENOSPC, "/small/log", files.fill, "put", 2 * MIB)
        assert files.names("/small") == ["log"]


@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_file_that_is_larger_than_all_may_be(engine: Engine, if_exists: str) -> None:
    with engine.sandbox(disk=2 * MIB) as box:
        files = Files(box)
        files.begin("put", "put", "data", if_exists=if_exists)
        files.fill("put", MIB)
        _refuses(errno.EFBIG, "data", files.fill, "put", MIB + 1)
        box.run("rm -f data; truncate -s 2M sparse")
        files.begin("put", "put", "sparse", if_exists="append")
        _refuses(errno.EFBIG, "sparse", files.write, "put", b"x")


@pytest.mark.parametrize("kind", ["put", "get"])
def test_what_the_server_has_open_counts(engine: Engine, kind: str) -> None:
    with engine.sandbox(disk=8 * MIB) as box:
        files = Files(box)
        with pytest.raises((AssertionError, EngineFailure), match="SandboxGoneError"):
            for name in ("one", "two"):
                _hold(box, files, kind, name, size=5 * MIB)
            box.run(["sleep", "20"])
        with pytest.raises(EngineFailure, match=f"may use {8 * MIB}"):
            files.stat(".")
        for name in ("one", "two"):
            files.abort(name) if kind == "put" else files.close(name)


def _hold(box: Box, files: Files, kind: str, name: str, *, size: int) -> None:
    """Keep the engine at a file that is removed meanwhile."""
    if kind == "get":
        box.run(f"head -c {size} /dev/zero > {name}")
    files.begin(name, kind, name)
    box.run(f"rm {name} .lunette*")
    if kind == "put":
        files.fill(name, size)


def test_names_of_every_kind(files: Files) -> None:
    for name in ("n" * 255, "two\nlines", "-rf", "ü", "a b", "\udcff"):
        files.put(name, b"x")
        assert files.read(name) == b"x"
        assert files.stat(name)["path"] == f"/workspace/{name}"
        files.remove(name)
    assert files.names() == []


# Looking


def test_what_a_file_is(box: Box, files: Files) -> None:
    box.run("echo 1234 > file; chmod 2751 file; ln -s file link; mkdir d; touch -d @1000000.5 file")
    found = files.stat("file")
    assert (found["path"], found["type"], found["size"]) == ("/workspace/file", "file", 5)
    assert (found["mode"], found["mtime"], found["target"]) == (0o2751, 1000000.5, None)
    ids = f"{found['uid']}:{found['gid']}\n"
    assert ids == box.run("echo $(id -u):$(id -g)").output
    assert files.stat("d")["type"] == "directory"
    followed, itself = (files.stat("link", follow_symlinks=follow) for follow in (True, False))
    assert (followed["type"], followed["path"]) == ("file", "/workspace/link")
    assert (itself["type"], itself["target"]) == ("symlink", "file")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (".", "/workspace"),
        ("d/..", "/workspace"),
        ("/", "/"),
        ("//workspace//d/", "/workspace/d"),
        ("to_d/inner", "/workspace/d/inner"),
    ],
)
def test_paths_are_absolute(box: Box, files: Files, path: str, shown: str) -> None:
    box.run("mkdir d; ln -s d to_d; touch d/inner")
    assert files.stat(path)["path"] == shown


def test_what_cannot_be_looked_at(box: Box, files: Files) -> None:
    box.run("touch file; ln -s nowhere dangling")
    _refuses(errno.ENOENT, "nope", files.stat, "nope")
    _refuses(errno.ENOENT, "dangling", files.stat, "dangling")
    _refuses(errno.ENOTDIR, "file/x", files.stat, "file/x")


# Making, removing, moving


def test_directories_are_made(box: Box, files: Files) -> None:
    files.mkdir("d")
    files.mkdir("closed", mode=0o700)
    files.mkdir("a/b/c", parents=True)
    files.mkdir("a/b/c", parents=True, exist_ok=True)
    modes = [files.stat(path)["mode"] for path in ("d", "closed", "a/b/c")]
    assert modes == [0o755, 0o700, 0o755]


def test_what_cannot_be_made(box: Box, files: Files) -> None:
    box.run("touch file; mkdir d; ln -s d link")
    _refuses(errno.EEXIST, "d", files.mkdir, "d")
    _refuses(errno.EEXIST, "d", files.mkdir, "d", parents=True)
    _refuses(errno.EEXIST, "file", files.mkdir, "file", exist_ok=True)
    _refuses(errno.ENOENT, "x/y", files.mkdir, "x/y")
    _refuses(errno.ENOTDIR, "file/y", files.mkdir, "file/y", parents=True)
    _refuses(errno.EROFS, "/etc/d", files.mkdir, "/etc/d", parents=True)
    files.mkdir("link", exist_ok=True)


def test_removing(box: Box, files: Files) -> None:
    box.run("mkdir -p d/e; touch file d/f; ln -s d link; mkfifo fifo")
    _refuses(errno.ENOTEMPTY, "d", files.remove, "d")
    for path in ("link", "file", "fifo", "d/e"):
        files.remove(path)
    assert files.names(depth=0) == ["d", "d/f"]
    _refuses(errno.ENOENT, "nope", files.remove, "nope")
    _refuses(errno.ENOTDIR, "d/f/x", files.remove, "d/f/x")
    _refuses(errno.EROFS, "/etc/passwd", files.remove, "/etc/passwd")


def test_moving(box: Box, files: Files) -> None:
    box.run("echo 1 > one; echo 2 > two; mkdir d empty full; touch full/x; ln -s one link")
    files.move("one", "two")
    assert files.read("two") == b"1\n"
    files.move("link", "d/link")
    assert files.stat("d/link", follow_symlinks=False)["target"] == "one"
    files.move("d", "empty")
    assert files.names("empty") == ["link"]
    _refuses(errno.ENOTEMPTY, "full", files.move, "empty", "full")
    _refuses(errno.EISDIR, "full", files.move, "two", "full")
    _refuses(errno.ENOTDIR, "two", files.move, "full", "two")
    _refuses(errno.ENOENT, "nope", files.move, "nope", "x")
    _refuses(errno.ENOENT, "no/x", files.move, "two", "no/x")
    _refuses(errno.EINVAL, "full/y", files.move, "full", "full/y")
