from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from lunette import LunetteClient, Sandbox

from .command_line import lunette
from .command_line import unconfigured as unconfigured
from .faults.server import Server, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def sandbox(server: Server) -> Generator[Sandbox]:
    with (
        LunetteClient(base_url=server.url) as client,
        client.create_sandbox({"image": "host"}) as sandbox,
    ):
        yield sandbox


@pytest.fixture(autouse=True)
def empty(
    unconfigured: None, server: Server, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNETTE_BASE_URL", server.url)
    sandbox.exec("find . -mindepth 1 -delete")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").write_bytes(b"in a directory")
    (tree / "link").symlink_to("inner/file")
    return tree


def cp(*arguments: str | Path, input: bytes | None = None) -> bytes:
    done = lunette("cp", *map(str, arguments), input=input)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def refused(*arguments: str | Path) -> str:
    done = lunette("cp", *map(str, arguments))
    assert (done.returncode, done.stdout) == (1, b"")
    line, end, rest = done.stderr.decode().partition("\n")
    assert (end, rest) == ("\n", "")
    return line


def names(sandbox: Sandbox) -> list[str]:
    return sandbox.exec("find . -mindepth 1 | sort").stdout.split()


def test_a_file_goes_in_and_out(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"\0\xff")
    cp(tmp_path / "here", f"{sandbox.sandbox_id}:new/there")
    cp(f"{sandbox.sandbox_id}:new/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\0\xff"


def test_what_is_copied_to_a_directory_keeps_its_name(
    sandbox: Sandbox, tree: Path, tmp_path: Path
) -> None:
    cp(tree / "inner" / "file", f"{sandbox.sandbox_id}:")
    cp("-r", tree, f"{sandbox.sandbox_id}:.")
    assert names(sandbox) == [
        "./file",
        "./tree",
        "./tree/inner",
        "./tree/inner/file",
        "./tree/link",
    ]
    cp(f"{sandbox.sandbox_id}:/workspace/file", tmp_path)
    assert (tmp_path / "file").read_bytes() == b"in a directory"
    (tmp_path / "out").mkdir()
    cp("-r", f"{sandbox.sandbox_id}:tree/", tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "tree" / "link") == "inner/file"  # noqa: PTH115


def test_a_new_directory_gets_the_name_that_was_given(
    sandbox: Sandbox, tree: Path, tmp_path: Path
) -> None:
    cp("-r", tree, f"{sandbox.sandbox_id}:copy")
    cp("-r", f"{tree}/.", f"{sandbox.sandbox_id}:copy")
    assert names(sandbox) == ["./copy", "./copy/inner", "./copy/inner/file", "./copy/link"]
    cp("-r", f"{sandbox.sandbox_id}:copy", tmp_path / "new")
    cp("-r", f"{sandbox.sandbox_id}:copy/.", tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["inner", "link"]


def test_the_beginning_of_an_id_is_enough(sandbox: Sandbox, tree: Path) -> None:
    cp(tree / "inner" / "file", f"{sandbox.sandbox_id[:8]}:f")
    assert names(sandbox) == ["./f"]


def test_standard_streams_are_a_dash(sandbox: Sandbox) -> None:
    cp("-", f"{sandbox.sandbox_id}:f", input=b"typed\xff")
    assert cp(f"{sandbox.sandbox_id}:f", "-") == b"typed\xff"


def test_what_is_ignored_is_left_out(sandbox: Sandbox, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "ignored").write_text("*\n!inner/\n")
    options: list[str | Path] = [
        "-r",
        "--ignore-file",
        tmp_path / "ignored",
        "--ignore",
        "!link",
        "--ignore",
        "x",
    ]
    cp(*options, tree, f"{sandbox.sandbox_id}:copy")
    assert names(sandbox) == ["./copy", "./copy/inner", "./copy/link"]
    cp("-r", "--ignore", "inner", f"{sandbox.sandbox_id}:copy", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["link"]
    said = refused("--ignore", "x", tree / "inner" / "file", f"{sandbox.sandbox_id}:f")
    assert "ignore is of directories" in said
    (tmp_path / "ignored").write_bytes(b"\xff")
    assert "utf-8" in refused(*options, tree, f"{sandbox.sandbox_id}:copy")
    done = lunette("cp", "--ignore-file", "none", str(tree), f"{sandbox.sandbox_id}:copy")
    assert (done.returncode, done.stdout) == (2, b"")


def test_what_cannot_be_copied_is_said_in_a_line(
    sandbox: Sandbox, tree: Path, tmp_path: Path
) -> None:
    os.mkfifo(tree / "a\nb")
    done = lunette("cp", "-r", str(tree), f"{sandbox.sandbox_id}:copy")
    said = f"left out what is no file, directory or link (1): {str(tree / 'a')[:-1]}"
    assert done.returncode == 0
    assert said in done.stderr.decode().replace("'", "")
    assert done.stderr.count(b"\n") == 1
    sandbox.exec("ln -s /etc/passwd copy/out")
    done = lunette("cp", "-r", f"{sandbox.sandbox_id}:copy", str(tmp_path / "back"))
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"left out links that lead elsewhere (1): " in done.stderr


@pytest.mark.parametrize("out", [False, True])
def test_a_directory_needs_r(sandbox: Sandbox, tree: Path, tmp_path: Path, out: bool) -> None:
    sandbox.files.mkdir("d")
    inside = f"{sandbox.sandbox_id}:d"
    said = refused(inside, tmp_path / "d") if out else refused(tree, inside)
    assert "Is a directory, which -r copies" in said


def test_errors_are_a_line(sandbox: Sandbox, tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none", f"{sandbox.sandbox_id}:f")
    assert "No such file" in refused(f"{sandbox.sandbox_id}:none", tmp_path / "f")
    assert "nobody" in refused("nobody:f", tmp_path / "f")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pair", [("a", "b"), ("some:a", "some:b"), ("./a:b", "/c:d")])
def test_one_side_is_in_a_sandbox(pair: tuple[str, str]) -> None:
    done = lunette("cp", *pair)
    assert done.returncode == 2
    assert b"SANDBOX:PATH" in done.stderr
