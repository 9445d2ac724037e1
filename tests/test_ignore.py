from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lunette._archive._rules import Rules
from lunette._ignore import compile_rules, lines_of

# What patterns are made of. `?` and what is in brackets is a byte to Git, and a character here:
# other letters than ASCII are in no file name that they could match.
_PARTS = [
    "*",
    "**",
    "?",
    "/",
    "/",
    "a",
    "b",
    "c",
    "ab",
    ".",
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[]a]",
    "[[:alpha:]]",
    "[[:digit:]b]",
    "[z-a]",
    "[a",
    "\\a",
    "\\*",
    "\\",
    "-",
    "!",
    "#",
    "[\\]a]",
    "[a-",
    "[[:foo:]]",
    "[[:a]",
    "**/",
    "/**",
    "/**/",
    "\\/",
    "[b-]",
    "{a,b}",
    "(",
    "+",
    "^",
    "$",
    "|",
    "&&",
    "[a&&b]",
    "[!/]",
    "[a-\\c]",
]
_PARTS += [" ", "\\ ", "\t"]
_NAMES = [
    "a",
    "b",
    "c",
    "ab",
    "abc",
    "a.b",
    ".a",
    "*",
    "[a",
    "!a",
    "#a",
    "-",
    "\\",
    "a-b",
    "(",
    "$",
    "]",
    "^",
    "|",
    "&",
    "{a,b}",
    "+",
]
_NAMES += ["a b", "a ", "a\nb", "\t"]


def ignored(lines: list[str], paths: list[str]) -> set[str]:
    rules = Rules(compile_rules(lines))
    return {path.rstrip("/") for path in paths if any(map(rules.ignore, _steps(path)))}


def _steps(path: str) -> list[str]:
    """Return *path* and what it is below of."""
    return [path[: at + 1] for at, letter in enumerate(path) if letter == "/"] + [path]


def by_git(root: Path, lines: list[str], paths: list[str]) -> set[str]:
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "exclude").write_bytes(
        "".join(f"{line}\n" for line in lines).encode()
    )
    done = subprocess.run(
        ["git", "-C", root, "check-ignore", "-z", "--stdin", "--no-index"],
        input="\0".join(path.rstrip("/") for path in paths).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.decode().split("\0")) - {""}


def grow(root: Path, random_: random.Random, depth: int = 0) -> list[str]:
    """Make files and directories in *root*, and return their paths."""
    found: list[str] = []
    for name in random_.sample(_NAMES, random_.randint(2, 6)):
        if depth < 3 and random_.random() < 0.5:
            (root / name).mkdir()
            found.append(f"{name}/")
            found += [f"{name}/{below}" for below in grow(root / name, random_, depth + 1)]
        else:
            (root / name).touch()
            found.append(name)
    return found


@pytest.mark.skipif(shutil.which("git") is None, reason="no Git to compare with")
@pytest.mark.parametrize("seed", range(40))
def test_it_is_as_git_has_it(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    paths = grow(tmp_path, random_)
    for _ in range(10):
        lines = [
            "".join(random_.choices(_PARTS, k=random_.randint(1, 5)))
            for _ in range(random_.randint(1, 4))
        ]
        assert ignored(lines, paths) == by_git(tmp_path, lines, paths), lines


@pytest.mark.parametrize(
    ("line", "path", "is_ignored"),
    [
        ("*.py", "d/a.py", True),
        ("build/", "build", False),
        ("build/", "d/build/", True),
        ("/build", "d/build", False),
        ("d/**", "d/", False),
        ("d/**", "d/x", True),
        ("**/x", "x", True),
        ("?", "\u00e9", True),
        ("\u00e9*", "\u00e9t\u00e9", True),
        ("[\u00e0-\u00ff]", "\u00e9", True),
        ("*", "\udcff", True),
        ("*", "a\nb", True),
        ("a", "a\n", False),
    ],
)
def test_a_line(line: str, path: str, is_ignored: bool) -> None:
    assert bool(ignored([line], [path])) is is_ignored


def test_lines_are_a_text_or_many() -> None:
    assert lines_of("a\r\n# no\n\nb") == ["a", "b"]
    assert lines_of(["a", "#", "b\nc"]) == ["a", "b", "c"]
    assert lines_of(None) == []


@pytest.mark.parametrize("wrong", [["x" * 4097], ["x"] * 1001])
def test_too_much(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match=r"the most|more than"):
        lines_of(wrong)


WRONG = [[b"bytes"], [1], [os.curdir, None], 3, 0, False, b"bytes", Path(".gitignore"), lines_of]


@pytest.mark.parametrize("wrong", WRONG)
def test_no_lines(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"as a string or a sequence of strings, not \w+$"):
        lines_of(wrong)


def test_an_open_file_gives_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\n\n*.y\n")
    with (tmp_path / "a").open() as file:
        assert lines_of(file) == ["x", "*.y"]  # type: ignore[arg-type]
