"""Environment files, by what Compose's documentation says of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lunette._env_file import parse, parse_raw, read_dotenv, read_env_files
from lunette._text_files import MissingFileError
from lunette.errors import ServiceError

CALLER = {"MINE": "mine", "EMPTY": ""}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        # The documented table
        ("VAR=VAL", "VAL"),
        ('VAR="VAL"', "VAL"),
        ("VAR='VAL'", "VAL"),
        ("VAR: VAL", "VAL"),
        ("VAR = VAL  ", "VAL"),
        ("VAR=VAL # comment", "VAL"),
        ("VAR=VAL# not a comment", "VAL# not a comment"),
        ('VAR="VAL # not a comment"', "VAL # not a comment"),
        ('VAR="VAL" # comment', "VAL"),
        ("VAR='$OTHER'", "$OTHER"),
        ("VAR='${OTHER}'", "${OTHER}"),
        (r"VAR='Let\'s go!'", "Let's go!"),
        (r'VAR="{\"hello\": \"json\"}"', '{"hello": "json"}'),
        (r'VAR="some\tvalue"', "some\tvalue"),
        (r"VAR='some\tvalue'", r"some\tvalue"),
        (r"VAR=some\tvalue", r"some\tvalue"),
        ("VAR='SOME\nVALUE'", "SOME\nVALUE"),
        # More of each
        ("VAR=", ""),
        ("VAR=   ", ""),
        ("VAR= # nothing", ""),
        ("VAR=#1", "#1"),
        ("VAR=a\t# comment", "a"),
        ("VAR=a#b#c", "a#b#c"),
        ("VAR=''", ""),
        ('VAR=""', ""),
        ('VAR="a"#comment', "a"),
        ("VAR=a=b=c", "a=b=c"),
        ("VAR=1:B", "1:B"),
        ("VAR: a=b", "a=b"),
        ("VAR=it's", "it's"),
        ('VAR=say "hi"', 'say "hi"'),
        ("VAR=two words", "two words"),
        ('VAR="first\nsecond\n# third\n"', "first\nsecond\n# third\n"),
        (r'VAR="\n\r\\\"\$MINE\x\a"', '\n\r\\"$MINE\\x\a'),
        (r'VAR="\\$MINE"', "\\mine"),
        (r'VAR="\041"', "!"),
        ("VAR='a\\\\'", "a\\\\"),
        ("VAR=$MINE", "mine"),
        ("VAR=a${MINE}b", "amineb"),
        ('VAR="${MINE:-x} ${UNSET:-default}"', "mine default"),
        ("VAR=$$MINE", "$MINE"),
        ("VAR=$MINE # $UNSET?", "mine"),
        ("export VAR=VAL", "VAL"),
        ("  export\tVAR=VAL", "VAL"),
        ("VAR\t=VAL", "VAL"),
        ("VAR=ä€", "ä€"),
    ],
)
def test_a_variable(line: str, value: str) -> None:
    assert parse(line, CALLER.get, "f") == {"VAR": value}
    assert parse(f"\n# x\n\n  {line}\nNEXT=1", CALLER.get, "f") == {"VAR": value, "NEXT": "1"}


@pytest.mark.parametrize("text", ["", "\n", " \t\n\n", "# comment", "  # a\n#b\n\n"])
def test_nothing(text: str) -> None:
    assert parse(text, CALLER.get, "f") == {}
    assert parse_raw(text, CALLER.get, "f") == {}


@pytest.mark.parametrize("name", ["a.b", "A-B", "a[1]", "ÄÖ", "_", "export", "exported", "1"])
def test_names(name: str) -> None:
    assert parse(f"{name}=x", CALLER.get, "f") == {name: "x"}


def test_a_name_alone_takes_the_callers_value() -> None:
    assert parse("MINE\nUNSET\nexport EMPTY  \n", CALLER.get, "f") == {"MINE": "mine", "EMPTY": ""}
    assert parse_raw("MINE\nUNSET\nEMPTY", CALLER.get, "f") == {"MINE": "mine", "EMPTY": ""}


def test_what_stands_before_can_be_used_and_the_caller_wins() -> None:
    text = "A=1\nB=$A$A\nMINE=file\nC=$MINE\nA=2\nD=$A"
    expected = {"A": "2", "B": "11", "MINE": "file", "C": "mine", "D": "2"}
    assert parse(text, CALLER.get, "f") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A=1\n\nB C=1", "line 3: 'B C=1' is no variable"),
        ("=1", "line 1: '=1' is no variable"),
        ("A=1\nlol$wut", r"line 2: 'lol\$wut' is no variable"),
        ('A="x\n\ny"\nB=\'', "line 4: B: the quote is never closed"),
        ('A="x', "line 1: A: the quote is never closed"),
        ('A="x\n"y', "line 2: A has something after its closing quote"),
        ("A='x' y", "line 1: A has something after its closing quote"),
        ("A='1\n2'\nB=${UNSET?why}", "line 3: B: the variable UNSET is not set: why"),
        ("A=${", "line 1: A: .* has no closing brace"),
        ("x" * 100_000, "line 1: 'x{60}...' is no"),
    ],
)
def test_errors_name_the_line(text: str, says: str) -> None:
    if text.startswith("xxx"):
        text += "!"
    with pytest.raises(ServiceError, match=f"^a.env, {says}"):
        parse(text, CALLER.get, "a.env")


def test_raw_takes_all_that_follows() -> None:
    text = "A='x' # y\n  B=\"$MINE\"\n#C=1\nD= a \nE=\nF=a=b\n"
    expected = {"A": "'x' # y", "B": '"$MINE"', "D": " a ", "E": "", "F": "a=b"}
    assert parse_raw(text, CALLER.get, "f") == expected
    for wrong in ("A=1\n=x", "A=1\nB C=1", "A=1\nexport B=1"):
        with pytest.raises(ServiceError, match=r"^f, line 2: .* is no name of a variable"):
            parse_raw(wrong, CALLER.get, "f")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.env", {"A": "1", "B": "a"}),
        (["a.env", "b.env"], {"A": "1", "B": "b", "C": "1b", "Q": "q"}),
        (["b.env", "a.env"], {"A": "1", "B": "a", "C": "b", "Q": "q"}),
        ([{"path": "b.env", "format": "raw"}], {"B": "b", "C": "${A:-}$B", "Q": "'q'"}),
        ([{"path": "a.env"}, {"path": "none", "required": False}], {"A": "1", "B": "a"}),
        ({"path": "a.env", "required": True, "format": None}, {"A": "1", "B": "a"}),
        ([{"path": "none", "required": "false"}], {}),
        ([], {}),
    ],
)
def test_env_file_in_each_form(tmp_path: Path, value: Any, expected: dict[str, str]) -> None:
    (tmp_path / "a.env").write_text("A=1\r\nB=a\r\n")
    (tmp_path / "b.env").write_bytes(b"\xef\xbb\xbfB=b\nC=${A:-}$B\nQ='q'\n")
    assert read_env_files(value, tmp_path, lambda _: None) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1, "env_file must be a path, or a list, not int"),
        ([["a"]], "env_file must be a path, or a list, not list"),
        ([{"paht": "a"}], "env_file has no 'paht'; it has path, required and format"),
        ([{"required": True}], "each entry needs a path"),
        ([{"path": "a", "required": "maybe"}], "required must be true or false"),
        ([{"path": "a", "format": "json"}], "the format must be 'raw' or left out, not 'json'"),
        ("", "env_file: '' is no path"),
        ("a\0b", "is no path"),
        ("folder", "folder is no regular file"),
        ("fifo", "fifo is no regular file"),
        ("large", "large is larger than 1 MiB"),
        ("binary", "binary, line 2: not UTF-8"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("file/below", "cannot be read: Not a directory"),
    ],
)
def test_env_file_that_is_wrong(tmp_path: Path, value: Any, says: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))
    (tmp_path / "binary").write_bytes(b"A=1\nB=\xff\n")
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match=says):
        read_env_files(value, tmp_path, lambda _: None)


def test_an_env_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="env_file: No such file") as caught:
        read_env_files("none.env", tmp_path, lambda _: None)
    assert isinstance(caught.value, ServiceError)
    assert caught.value.filename == str(tmp_path / "none.env")


def test_missing_files_survive_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(MissingFileError("env_file", Path("a"))))
    assert (type(error), error.errno, error.filename) == (MissingFileError, 2, "a")


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"A=" + b"x" * (1024 * 1024 - 2))
    assert len(read_env_files("a", tmp_path, lambda _: None)["A"]) == 1024 * 1024 - 2


def test_dotenv(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path, CALLER.get) == {}
    (tmp_path / ".env").write_text("A=${MINE}\nMINE\n")
    assert read_dotenv(tmp_path, CALLER.get) == {"A": "mine", "MINE": "mine"}
    (tmp_path / ".env").write_text("A B")
    with pytest.raises(ServiceError, match=r"\.env, line 1"):
        read_dotenv(tmp_path, CALLER.get)


def test_a_dotenv_that_is_a_folder_is_something_else(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert read_dotenv(tmp_path, CALLER.get) == {}


def test_variables_that_double_each_time() -> None:
    lines = ["A0=xxxxxxxx"] + [f"A{n + 1}=$A{n}$A{n}" for n in range(100)]
    with pytest.raises(ServiceError, match="the values of all variables are larger than 16 MiB"):
        parse("\n".join(lines), CALLER.get, "f")
