"""What trees use, measured directly: as whoever runs the tests, and as an ordinary user."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lunette._scratch import remove_tree
from lunette.server.engines.bubblewrap.inside import measuring, wire
from lunette.server.engines.bubblewrap.inside.measuring import TOO_MUCH

from ....isolation import stage

BLOCK = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1 << 20
NOBODY = 1 << 22  # a pid that no process has
_ORDINARY = (f"--reuid={stage.ORDINARY}", f"--regid={stage.ORDINARY}", "--clear-groups")
# Measures as the fork server's child does, in a process of the user's own.
_SERVE = """
import signal, socket, sys
from lunette.server.engines.bubblewrap.inside.measuring import Measurer
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
Measurer(socket.socket(fileno=0)).serve()
"""


class Place:
    """A directory of the user who measures, and the process that does."""

    def __init__(self, mode: str, path: Path, sock: socket.socket) -> None:
        self.mode = mode
        self.path = path
        self._sock = sock

    def used(self, *paths: Path) -> list[int]:
        """Return what each of the trees uses; for want of any, the place."""
        return self.measure(*({"path": str(path)} for path in paths or (self.path,)))

    def measure(self, *trees: dict[str, Any]) -> list[int]:
        usual = {"pid1": NOBODY, "overlay": False, "limit": 1 << 60, "held": []}
        whole = [{**usual, **tree} for tree in trees]
        wire.send(self._sock, {"id": 7, "trees": whole})
        received = wire.receive(self._sock)
        assert received is not None, "it ended"
        assert received[0]["id"] == 7
        found: list[int] = received[0]["bytes"]
        return found

    def do(self, work: str) -> None:
        """Run a piece of shell in the place, as its user."""
        command = ["sh", "-ec", work]
        if self.mode == "user" and stage.is_root():
            command = ["setpriv", *_ORDINARY, *command]
        subprocess.run(command, cwd=self.path, check=True)


@pytest.fixture(scope="module", params=["root", "user"])
def mode(request: pytest.FixtureRequest) -> str:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can measure as root")
    return str(request.param)


@pytest.fixture(scope="module")
def measurer(mode: str) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(60)
    command = [sys.executable, "-P", "-c", _SERVE]
    if mode == "user" and stage.is_root():
        command = stage.as_user(command)
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno())
    with ours:
        yield ours
    assert process.wait(30) == 0


@pytest.fixture
def place(mode: str, measurer: socket.socket) -> Iterator[Place]:
    with _directory(mode) as path:
        yield Place(mode, path, measurer)


@contextmanager
def _directory(mode: str) -> Generator[Path]:
    """Yield a directory of the user who measures, in memory, where trees come and go fast."""
    shm = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="test-measuring-", dir=shm if shm.is_dir() else None))
    path.chmod(0o711)
    if mode == "user" and stage.is_root():
        os.chown(path, stage.ORDINARY, stage.ORDINARY)
    try:
        yield path
    finally:
        remove_tree(path)


def test_an_empty_directory_and_what_is_not_there(place: Place) -> None:
    here, gone = place.used(place.path, place.path / "gone")
    assert here <= 2 * BLOCK
    assert gone == 0


def test_what_files_take_is_counted_and_not_what_they_say(place: Place) -> None:
    place.do("head -c 1000000 /dev/zero > file; mkdir -p a/b; head -c 1000000 /dev/zero > a/b/c")
    (full,) = place.used()
    assert 2_000_000 <= full <= 2_000_000 + 8 * BLOCK
    place.do("truncate -s 1T sparse; ln -s /usr/bin link; ln -s ../../.. up; mkfifo fifo")
    (more,) = place.used()
    assert more - full <= 8 * BLOCK
    place.do("rm -r a file")
    assert place.used()[0] <= 16 * BLOCK


def test_trees_are_measured_each_for_itself(place: Place) -> None:
    place.do("for n in 1 2 3; do mkdir $n; head -c ${n}000000 /dev/zero > $n/x; done")
    found = place.used(*(place.path / str(n) for n in (1, 2, 3)))
    assert [used // 1_000_000 for used in found] == [1, 2, 3]


def test_hard_links_count_once(place: Place) -> None:
    place.do("head -c 1000000 /dev/zero > one; mkdir d; for n in 1 2 3 4; do ln one d/$n; done")
    (found,) = place.used()
    assert 1_000_000 <= found <= 1_000_000 + 8 * BLOCK


def test_no_mode_keeps_out(place: Place) -> None:
    place.do("mkdir -p a/b; head -c 1000000 /dev/zero > a/b/c; chmod 0 a/b/c a/b a")
    (found,) = place.used()
    assert found >= 1_000_000


def test_odd_names(place: Place) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b"a" * 255, "ü".encode()):
        path = place.path / os.fsdecode(name)
        path.mkdir()
        (path / "x").write_bytes(b"x" * 100_000)
    (found,) = place.used()
    assert found >= 500_000


def test_links_lead_nowhere_else(place: Place) -> None:
    with _directory(place.mode) as other:
        (other / "x").write_bytes(b"x" * MEGABYTE)
        place.do(f"ln -s {other} link; ln -s {other}/x file")
        assert place.used()[0] <= 8 * BLOCK
        assert place.used(place.path / "link") == [0]


def _deep(path: Path, levels: int) -> None:
    """Make directories below each other, longer than any path."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with open("x", "wb", opener=lambda name, flags: os.open(name, flags, dir_fd=fd)) as file:
        file.write(b"x" * MEGABYTE)
    os.close(fd)


def test_trees_that_are_deep_and_too_deep(place: Place) -> None:
    paths = [place.path / name for name in ("deep", "too-deep", "flat")]
    for path, levels in zip(paths, (1500, 2100, 0), strict=True):
        path.mkdir()
        _deep(path, levels)
    deep, too_deep, flat = place.used(*paths)
    assert deep >= MEGABYTE
    assert too_deep == TOO_MUCH
    assert MEGABYTE <= flat <= MEGABYTE + 4 * BLOCK


def test_with_few_descriptors_less_is_too_deep(tmp_path: Path) -> None:
    """Where no more directories can be open, none is passed over for that."""
    _deep(tmp_path, 300)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert measuring._used(str(tmp_path), 1 << 60) == TOO_MUCH
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert measuring._used(str(tmp_path), 1 << 60) >= MEGABYTE
    remove_tree(tmp_path / "d")


def test_many_entries(place: Place) -> None:
    place.do("mkdir d; cd d; seq 3000 | xargs touch; echo x > 1")
    assert place.used()[0] >= BLOCK


def test_a_tree_that_changes_meanwhile(place: Place) -> None:
    """Directories come, go and change into links; nothing of it ends the process."""
    ended = threading.Event()
    thread = threading.Thread(target=_churn, args=(place.path, ended))
    thread.start()
    try:
        for _ in range(5):
            (found,) = place.used()
            assert 0 <= found < 100 * MEGABYTE
    finally:
        ended.set()
        thread.join()


def _churn(path: Path, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        number = (number + 1) % 50
        way = path / f"{number}"
        if way.is_symlink():
            way.unlink()
        elif way.exists():
            remove_tree(way)
            way.symlink_to("/usr")
        else:
            (way / "a/b/c").mkdir(parents=True)


# A command that holds a file which has no name any more, until its standard input ends.
_HOLD = """
import os, sys
file = open("gone", "wb")
file.write(bytes({size})); file.flush()
os.unlink("gone")
{after}
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def _holding(place: Place, after: str = "") -> Generator[int]:
    """Run such a command in a pid namespace of its own; yield the first process of that."""
    hold = [sys.executable, "-c", _HOLD.format(size=MEGABYTE, after=after)]
    command = ["unshare", "--user", "--pid", "--fork", "--kill-child", *hold]
    if place.mode == "user" and stage.is_root():
        command = stage.as_user(command)
    with subprocess.Popen(
        command, cwd=place.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        yield int(children.read_text())
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(
    "after", ["", "os.dup(file.fileno()); os.dup(file.fileno())"], ids=["once", "three-times"]
)
def test_files_without_a_name_count_once(place: Place, after: str) -> None:
    tree = {"path": str(place.path)}
    with _holding(place, after) as pid1:
        assert MEGABYTE <= place.measure({**tree, "pid1": pid1})[0] <= MEGABYTE + 4 * BLOCK
    assert place.measure({**tree, "pid1": pid1})[0] <= 4 * BLOCK


def test_those_of_other_sandboxes_do_not_count(place: Place) -> None:
    with _holding(place) as one, _holding(place) as other:
        trees = [{"path": str(place.path), "pid1": pid1} for pid1 in (one, other)]
        for used in place.measure(*trees):
            assert MEGABYTE <= used <= MEGABYTE + 4 * BLOCK


def test_those_on_another_disk_do_not_count(place: Place) -> None:
    with _holding(place) as pid1, stage.directory(place.mode) as elsewhere:
        if elsewhere.stat().st_dev == place.path.stat().st_dev:
            pytest.skip("there is but one file system")
        tree = {"path": str(elsewhere), "pid1": pid1}
        assert place.measure(tree)[0] <= 4 * BLOCK
        # That of the root counts where the sandbox writes to it, by an overlay.
        with_root = place.measure({**tree, "overlay": True})[0]
        on_root = Path("/").stat().st_dev == place.path.stat().st_dev
        assert (with_root >= MEGABYTE) is on_root


def test_one_message_after_the_other(place: Place) -> None:
    for _ in range(3):
        assert len(place.used(*[place.path] * 16)) == 16


def test_a_child_that_dies_is_not_taken_for_empty_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: str) -> int:
        os._exit(1)

    monkeypatch.setattr(measuring, "_used", die)
    before = _reaping()
    try:
        with pytest.raises(ChildProcessError):
            measuring._in_child([{"path": str(tmp_path)}])
    finally:
        before()


def _reaping() -> Callable[[], object]:
    """Ignore the ends of children, as the fork server does; return what undoes it."""
    import signal

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGCHLD, before)
