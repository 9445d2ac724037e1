"""Our `.dockerignore` beside that of a real `docker build`, of random patterns."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from lunette._context import Context
from lunette._dockerignore import read_ignore

DOCKER, DOCKERD = "/usr/bin/docker", "/usr/sbin/dockerd"  # those of Debian: with a classic builder
BUILDS, PATTERNS = 20, 10
# The daemon has both, and takes them out again where they are ignored.
BY_THE_WAY = {"Dockerfile", ".dockerignore"}

# Folders whose names are part of others, names that are patterns, and what needs escapes.
_FILES = """
    a a.b ab abc b^c [x] x]y a*b a?b \\d ä äb 1 12 1a -a !a ^a .hidden # #c
    a_/a a_/b a_/b_/a a_/b_/c a_/b_/d_/e a_/.hidden
    ab_/a ab_/ab ab_/b_/a ab_/b_/ab
    dir/a.txt dir/b.md dir/sub/a.txt dir/sub/b.md dir/sub/sub/c.txt
    Dir/a.txt .dot/a .dot/.a ä_/ä ä_/ö d/a d/d
    deep/1/2/3/4/5 deep/1/2/3/x deep/1/y
"""
FILES = _FILES.split()
FOLDERS = sorted({str(path.parent) for path in map(Path, FILES)} - {"."})
_PIECES = """
    a ab b c d dir sub deep 1 2 3 a_ ab_ b_ .dot .hidden .a txt .txt md ä ö x y - ! # _ .
    * * * * ? ? [a-c] [^a] [a-z] [0-9] [ä-ö] [\\^x] [\\]x] [\\-a] [[:alpha:]] [*] [?] [!a]
    \\* \\? \\[ \\] \\\\ \\- \\! \\# \\^ \\d \\w \\a
"""
PIECES = _PIECES.split()

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root"),
    pytest.mark.skipif(
        not all(map(shutil.which, (DOCKER, DOCKERD, "containerd", "unshare"))),
        reason="there is no docker.io of Debian's",
    ),
]


class Docker:
    """A daemon of our own, from `with` to its end, when nothing of it is left."""

    # A namespace of processes ends with its first; one of mounts hides what dockerd writes besides.
    _START = """
        set -e
        mount -t tmpfs none /opt
        mount -t tmpfs none /run
        exec "$0" --iptables=false --ip6tables=false --bridge=none --storage-driver vfs \
            --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" \
            --config-file "$1/daemon.json" -H "unix://$1/socket"
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CONFIG": str(directory / "config"),
            "DOCKER_HOST": f"unix://{directory}/socket",
        }
        key = {"deprecated-key-path": str(directory / "key.json")}  # else in /etc
        (directory / "daemon.json").write_text(json.dumps(key))
        separate = "unshare --mount --propagation private --pid --fork --kill-child --mount-proc"
        self._daemon = subprocess.Popen(
            [*separate.split(), "sh", "-c", self._START, DOCKERD, str(directory)],
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Docker:
        assert self._daemon.stderr is not None
        said = ""
        for line in self._daemon.stderr:
            said += line
            if "API listen on" in line:
                return self
        self.__exit__()
        raise AssertionError(f"dockerd did not start:\n{said}")

    def __exit__(self, *_: object) -> None:
        assert self._daemon.stderr is not None
        self._daemon.kill()
        self._daemon.wait()
        # Until the last process that could write has ended.
        self._daemon.stderr.read()
        self._daemon.stderr.close()

    def copied(self, folder: Path) -> set[str]:
        """Build an image of all that Docker takes of *folder*, and list that."""
        image = self._run("build", "-q", "--no-cache", str(folder)).decode().strip()
        try:
            saved = self._run("save", image)
        except AssertionError as error:
            if "empty export" in str(error):
                return set()
            raise
        self._run("rmi", image)
        with tarfile.open(fileobj=io.BytesIO(saved)) as layers:
            [described] = json.load(self._member(layers, "manifest.json"))
            [name] = described["Layers"]
            layer = self._member(layers, name)
        with tarfile.open(fileobj=layer) as tar:
            return {member.name for member in tar if not member.isdir()} - BY_THE_WAY

    def _member(self, tar: tarfile.TarFile, name: str) -> io.BytesIO:
        file = tar.extractfile(name)
        assert file is not None
        return io.BytesIO(file.read())

    def _run(self, *arguments: str) -> bytes:
        done = subprocess.run(
            [DOCKER, *arguments], env=self._environment, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture(scope="module")
def docker() -> Generator[Docker]:
    with tempfile.TemporaryDirectory(prefix="dockerd-") as directory:
        with Docker(Path(directory)) as daemon:
            yield daemon
        mounts = Path("/proc/self/mountinfo").read_text()
        assert directory not in mounts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return tmp_path


def pattern(chance: random.Random) -> str:
    """Make a line of a `.dockerignore` that every Docker takes alike."""
    while True:
        line = "/".join(part(chance) for _ in range(chance.choice([1, 1, 1, 2, 2, 3])))
        if chance.random() < 0.2:
            line = chance.choice(["/{}", "./{}", "{}/", "{} ", "a/../{}", "//{}"]).format(line)
        # Before patternmatcher, `**y` was the end of a part of a path, and is now that of any; and
        # a caret, of which there is none here, was an anchor where now it often is itself.
        if re.search(r"(^|/)\*\*[^/]", line):
            continue
        if not line.startswith(("#", "!")) and line.strip("! ./"):
            return line


def exception(chance: random.Random) -> str:
    return chance.choice(["", "", "!", "! "])


def part(chance: random.Random) -> str:
    """Make what stands between two slashes: the name of something, or of anything."""
    draw = chance.random()
    if draw < 0.15:
        return "**"
    if draw < 0.5:
        name = chance.choice(chance.choice(FILES).split("/"))
        return re.sub(r"([*?\[\]\\^])", r"\\\1", name)
    return "".join(chance.choices(PIECES, k=chance.choice([1, 2, 2, 3])))


def ours(folder: Path) -> set[str]:
    tar = b"".join(Context.found(folder, None).tar())
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        return {member.name for member in members if not member.isdir()} - BY_THE_WAY


def paths(folder: Path) -> set[str]:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return files - BY_THE_WAY


def misjudged(folder: Path) -> set[str]:
    """Say which files Docker 20.10 gets wrong in a folder that is ignored and looked into.

    Of the folders above a file it asks a pattern about one alone: that of as many slashes. `**/d`
    ignores `d` there, but not `d/a`. Since 23.0 it asks about all, as we do.
    """
    ignore, _ = read_ignore(folder, "Dockerfile")
    return {
        path
        for path in paths(folder)
        for above in list(map(str, Path(path).parents))[:-1]
        for pattern in ignore.patterns
        if pattern.matches(above) and pattern.text.count("/") != above.count("/")
    }


def test_random_patterns_take_what_docker_takes(docker: Docker, folder: Path) -> None:
    seed = int(os.environ.get("LUNETTE_SEED", random.randrange(1 << 32)))
    chance = random.Random(seed)
    compared = 0
    for _ in range(BUILDS // 2):
        lines = [pattern(chance) for _ in range(PATTERNS)]
        (folder / ".dockerignore").write_text("\n".join(lines) + "\n")
        assert ours(folder) == docker.copied(folder), (seed, lines)
        compared += len(paths(folder))
    for _ in range(BUILDS // 2):
        # Without an exception that begins with its name, the classic builder does not look into a
        # folder that is ignored; BuildKit and we do.
        lines = [f"!{name}/nothing" for name in FOLDERS]
        lines += [exception(chance) + pattern(chance) for _ in range(PATTERNS)]
        (folder / ".dockerignore").write_text("\n".join(lines) + "\n")
        wrong = misjudged(folder)
        assert ours(folder) - wrong == docker.copied(folder) - wrong, (seed, lines)
        compared += len(paths(folder) - wrong)
    print(f"LUNETTE_SEED={seed}: {BUILDS} builds of {PATTERNS} patterns, {compared} files")
