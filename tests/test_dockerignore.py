"""`.dockerignore`, by what Docker's documentation says and by the cases of its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunette._dockerignore import Ignore, Outcomes, read_ignore
from lunette._go_patterns import PatternError, matcher
from lunette.errors import ServiceError


def ignored(text: str, path: str) -> bool:
    ignore = Ignore.parse(text, "f")
    result, above = False, Outcomes()
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        result, above = ignore.ignores("/".join(parts[:end]), above)
    return result


@pytest.mark.parametrize(
    ("text", "out", "sent"),
    [
        # docs.docker.com/build/concepts/context/#dockerignore-files
        ("# comment\n", "", "comment #"),
        ("*/temp*", "somedir/temporary.txt somedir/temp/a", "temp temp/a a/b/temp"),
        ("*/*/temp*", "a/b/temporary.txt", "temp a/temp a/b/c/temp"),
        ("temp?", "tempa tempb tempa/x", "temp tempab a/tempa"),
        ("**/*.go", "a.go a/b.go a/b/c.go", "a.g ago"),
        ("*.md\n!README.md", "a.md", "README.md b/README.md b/a.md"),
        ("*.md\n!README*.md\nREADME-secret.md", "a.md README-secret.md", "README.md README-a.md"),
        ("*.md\nREADME-secret.md\n!README*.md", "a.md", "README.md README-secret.md"),
        ("/foo/bar", "foo/bar foo/bar/x", "foo a/foo/bar"),
        ("foo/bar", "foo/bar foo/bar/x", "foo a/foo/bar"),
        ("foo", "foo foo/a foo/a/b", "a/foo foo2"),
        (".", "", "a .a a/b"),
        # All but some
        ("*\n!a", "b b/a", "a a/b"),
        ("*\n!a/b", "a a/c b", "a/b a/b/c"),
        ("a\n!a/b\na/b/c", "a a/x a/b/c a/b/c/d", "a/b a/b/x"),
        ("*\n!**/*.py", "a b/c b/c.pyc", "a.py b/c.py b/c/d.py"),
        ("**\n!a/**", "b a", "a/b a/b/c"),
        ("!a\na", "a a/b", "b"),
        ("a/*\n!a", "", "a a/b a/b/c"),
        # Cleaned, and anchored at the root
        ("a/", "a a/b", "b/a"),
        ("./a", "a", "b/a"),
        ("a/../b", "b", "a"),
        ("//a", "a", "b/a"),
        ("a//b/./c", "a/b/c", "a/b"),
        ("  a  ", "a", "b"),
        ("a\r\nb\r\n", "a b", "c"),
        ("\ufeffa\nb", "a b", "c"),
        ("\ufeff# a\nb", "b", "a"),
        ("! a\n!/b\n", "", "a b"),
        ("*\n! a\n!/b\n!./c/", "d", "a b c"),
        (" #a", "#a", "a"),
        ("\\#a", "#a", "a"),
        ("\\!a", "!a", "a"),
        ("a?b", "a-b", "a b"),
        ("/", "", "a a/b"),
        ("../a", "", "a"),
    ],
)
def test_documented_cases(text: str, out: str, sent: str) -> None:
    for path in out.split():
        assert ignored(text, path), path
    for path in sent.split():
        assert not ignored(text, path), path


# Those of github.com/moby/patternmatcher.
@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("**", "file dir/file", ""),
        ("**/**", "dir/file file", ""),
        ("dir/**", "dir/file dir/dir2/file", "dir"),
        ("**/dir", "dir a/dir a/b/dir", "xdir dir/file"),
        ("**/dir2/*", "dir/dir2/file dir2/file", "dir2"),
        ("**/dir2/**", "dir/dir2/dir3/file", "dir2"),
        ("**file", "file dir/file dir/dir/file", "file/a"),
        ("**/file*txt", "dir/dir/file.txt", ""),
        ("**/file*.txt*", "dir/dir/file.txt", ""),
        ("**/**/*.txt", "dir/dir/file.txt file.txt", "file.txt2"),
        ("a**/*.txt", "a/file.txt a/dir/file.txt a/dir/dir/file.txt", "b/file.txt"),
        ("a/*.txt", "a/file.txt", "a/dir/file.txt"),
        ("a/*.txt**", "a/file.txt", ""),
        ("a[b-d]e", "ace", "ae aae"),
        ("a[^b-d]e", "aze", "ace"),
        (".*", ".foo", "foo"),
        ("abc.def", "abc.def", "abcdef abcZdef"),
        ("abc?def", "abcZdef", "abcdef abc/def"),
        ("**/foo/bar", "foo/bar dir/foo/bar dir/dir2/foo/bar", "foo"),
        ("abc/**", "abc/def abc/def/ghi", "abc"),
        ("**/.foo", ".foo a/.foo", "bar.foo"),
        ("a(b)c/def", "a(b)c/def", "a(b)c/xyz"),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", ""),
        ("dist/*.whl", "dist/p-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", "dist/a/b.whl"),
        (r"a\\", "a\\", "a"),
        (r"a\*b", "a*b", "ab aab"),
        # And of Go's `filepath.Match`.
        ("*", "abc", "a/b"),
        ("*c", "abc c", "abcd"),
        ("a*/b", "abc/b", "a/c/b"),
        ("a*b*c*d*e*/f", "axbxcxdxe/f axbxcxdxexxx/f", "axbxcxdxe/xxx/f axbxcxdxexxx/fff"),
        ("a*b?c*x", "abxbbxdbxebxczzx", "abxbbxdbxebxczzy"),
        ("ab[e-g]", "abf", "abc"),
        ("a?b", "a☺b", "a☺☺b"),
        ("a[^a]b", "a☺b", "aab"),
        ("a???b", "abcdb", "a☺b"),
        ("[a-ä]*", "à", "A"),
        (r"[\]a]", "] a", "b"),
        (r"[\-]", "-", "a"),
        (r"[x\-]", "x -", "z"),
        (r"[\-x]", "x -", "a"),
        ("*x", "xxx", "xxy"),
        # What leaks of the regular expression that Docker makes of it; measured with Docker 20.10.
        ("^*", "a ^a anything", "a/b"),
        ("a^b", "a^b", "ab"),
        ("[*]", "] ^] []", "* a"),
        ("[[:alpha:]]", "a Z", "1 ["),
        (r"\d*", "1 12 1a", "d \\d"),
        (r"[\w]", "a 1 _", "- w/"),
        (r"\D", "a d", "1"),
        ("x[^a]y", "xby x/y", "xay"),
        ("a]b*", "a]b a]bc", "ab"),
        ("[!a]*", "!x ax", "bx"),
        ("[a&&b]", "a & b", "c"),
        ("[~[|]", "~ [ |", "c"),
    ],
)
def test_patterns(pattern: str, matched: str, not_matched: str) -> None:
    matches = matcher(pattern)
    assert [path for path in matched.split() if not matches(path)] == []
    assert [path for path in not_matched.split() if matches(path)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        *("[]a]", "[-]", "[x-]", "[-x]", "\\", "a\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "*["),
        *(r"[\\", r"[a\]", r"\x41", r"\pL", r"\Q", r"[\b]", r"\ä", "[z-a]", "[[:nothing:]]"),
    ],
)
def test_patterns_that_docker_does_not_take(pattern: str) -> None:
    with pytest.raises(PatternError):
        matcher(pattern)


def test_names_of_any_bytes() -> None:
    name = b"a\xff\nb".decode("utf-8", "surrogateescape")
    assert matcher("a??b")(name)
    assert matcher("a*")(name)
    assert not matcher("**/c**d")(f"{name}/c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n!\nb", "f, line 2: '!': it names nothing"),
        ("!  ", "f, line 1: '!  ': it names nothing"),
        ("\n\n[a", r"f, line 3: '\[a': it ends within brackets"),
        ("a" * 70_000, "f, line 1: longer than 64 KiB"),
    ],
)
def test_errors_name_the_line(text: str, says: str) -> None:
    with pytest.raises(ServiceError, match=f"^{says}"):
        Ignore.parse(text, "f")


@pytest.mark.parametrize(
    ("exception", "inside", "outside"),
    [
        ("a/b/c", "a a/b a/b/c a/b/c/d", "b a/c ab"),
        ("a/*/c", "a a/b a/b/c", "b ab"),
        ("**/c", "a b/c d", ""),
        ("a[b]c/d", "abc axc", "b"),
        ("c", "c c/d", "a b d/c"),
    ],
)
def test_where_an_exception_may_be(exception: str, inside: str, outside: str) -> None:
    ignore = Ignore.parse(f"*\n!{exception}", "f")
    assert [folder for folder in outside.split() if ignore.may_want_in(folder)] == []
    assert [folder for folder in inside.split() if not ignore.may_want_in(folder)] == []


def test_spaces_within_a_name() -> None:
    assert Ignore.parse(" a b ", "f").ignores("a b")[0]


def test_which_file_is_read(tmp_path: Path) -> None:
    assert read_ignore(tmp_path, "Dockerfile") == (Ignore(), None)
    (tmp_path / ".dockerignore").write_text("a")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile.dockerignore").write_text("b")
    ignore, name = read_ignore(tmp_path, "Dockerfile")
    assert (ignore.ignores("a")[0], name) == (True, ".dockerignore")
    ignore, name = read_ignore(tmp_path, "docker/Dockerfile")
    assert ignore.ignores("b")[0] and not ignore.ignores("a")[0]
    assert name == "docker/Dockerfile.dockerignore"


def test_a_dockerignore_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").mkdir()
    with pytest.raises(ServiceError, match="no regular file"):
        read_ignore(tmp_path, "Dockerfile")
