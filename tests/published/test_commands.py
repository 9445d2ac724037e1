"""`cwd`, `env` and an argv do on the published wire, as a text, what they say."""

from __future__ import annotations

from typing import Any

import pytest

from lunette import Sandbox

from .clients import IMAGE, Perform
from .server import PublishedServer

WORDS = [
    *("a b", "", "it's", '"quoted"', "$HOME", "`pwd`", "$(pwd)", "new\nline", "*", "?", "\\", "\t"),
    *("a;b", "a&b", "a|b", ">x", "#x", "~", "!", "-n", "--", "ä", "=", "{a,b}", "'", "\\'", "\r\n"),
]

COMMANDS = {
    "exit": "echo a; exit 3; echo b",
    "exec": "exec echo a",
    "list": "false && echo a || echo b; echo c",
    "background": "echo a & wait",
    "comment": "echo a # and no more",
    "heredoc": "cat <<END\na\nEND",
    "heredoc without an end": "cat <<END\na",
    "lines": "echo a\n\necho b\n",
    "quotes": """echo 'it'"'"'s' "a  b" $0x""",
    "set": "set -e; false; echo a",
    "trap": "trap 'echo bye' EXIT; echo a",
    "trailing backslash": "echo a\\",
    "backslashes": "printf '%s' '\\' \\\\ \"\\\\\"",
    "open quote": "echo 'a",
    "open double quote": 'echo "a',
    "open parenthesis": "(echo a",
    "closing parenthesis": "echo a) && echo b",
    "unfinished and": "echo a &&",
    "unfinished if": "if true; then echo a",
    "stray fi": "echo a; fi",
    "first and": "&& echo a",
    "spaces": "   ",
    "shell by name": "sh -c 'exit 7'",
    "signal": "kill -TERM $$",
    "substitution": "echo $(exit 3; echo a) `echo b`",
}


def test_an_argv_arrives_word_for_word(perform: Perform) -> None:
    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        for options in ({}, {"cwd": "/"}, {"env": {"A": "1"}}):
            result = await sandbox.exec(["printf", "%s\\0", *WORDS], **options)
            assert result.stdout.split("\0")[:-1] == WORDS

    perform(body)


def test_variables_arrive_character_for_character(perform: Perform) -> None:
    variables = {f"V{n}": word for n, word in enumerate(WORDS)}

    async def body(client: Any) -> None:
        sandbox = await client.create_sandbox(IMAGE)
        result = await sandbox.exec(["env", "-0"], env=variables | {"_x": "y"})
        there = dict(line.split("=", 1) for line in result.stdout.split("\0") if "=" in line)
        assert {name: there.get(name) for name in variables} == variables
        assert there["_x"] == "y"
        # They are the command's own.
        assert (await sandbox.exec("echo $V0$_x")).stdout == "\n"

    perform(body)


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'a "b"', "$HOME", "new\nline", "a;exit 9", "-dash", "-", "--", "~", "*"]
)
def test_it_starts_in_its_cwd(sandbox: Sandbox, name: str) -> None:
    sandbox.files.write_text(f"{name}/here", name)
    for cwd in (f"/workspace/{name}", name):
        result = sandbox.exec("pwd; cat here", cwd=cwd)
        assert (result.stdout, result.exit_code) == (f"/workspace/{name}\n{name}", 0)
        assert sandbox.exec(["cat", "here"], cwd=cwd).stdout == name


def test_without_its_cwd_it_does_not_run(sandbox: Sandbox, published: PublishedServer) -> None:
    result = sandbox.exec("echo ran; touch /workspace/ran", cwd="/no/such", env={"A": "1"})
    assert (result.success, result.stdout) == (False, "")
    assert "/no/such" in result.stderr
    assert not sandbox.exec("test -e /workspace/ran").success


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_does_the_same_with_and_without_a_place(sandbox: Sandbox, command: str) -> None:
    alone = sandbox.exec(command)
    places: list[dict[str, Any]] = [
        {"cwd": "/workspace"},
        {"env": {"A": "1"}},
        {"cwd": "/workspace", "env": {"A": "1", "B": "'"}},
    ]
    for options in places:
        placed = sandbox.exec(command, **options)
        assert (placed.stdout, placed.exit_code) == (alone.stdout, alone.exit_code)
        assert bool(placed.stderr) == bool(alone.stderr)


@pytest.mark.parametrize("argv", [["exit", "0"], ["A=1", "true"], ["if"], ["!", "true"], ["#"]])
def test_an_argv_names_a_program_and_no_word_of_the_shell(
    sandbox: Sandbox, argv: list[str]
) -> None:
    assert sandbox.exec(argv).exit_code == 127
    assert sandbox.exec(argv, cwd="/").exit_code == 127


def test_what_a_variable_is_called_does_not_change_how_the_command_starts(
    sandbox: Sandbox,
) -> None:
    odd = {"PATH": "/bin:/usr/bin", "HOME": "/", "IFS": "a/", "CDPATH": "/", "PS1": "x", "PWD": "/"}
    result = sandbox.exec("echo $HOME $CDPATH; pwd", cwd="/workspace", env=odd)
    assert (result.stdout, result.stderr) == ("/ /\n/workspace\n", "")
