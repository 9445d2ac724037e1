"""`lunette run`, `shell`, `ps`, `logs` and `kill`: commands in sandboxes."""

# No `from __future__ import annotations`: typer evaluates annotations.

import os
import shlex
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from ._cli_images import shows_progress
from ._session import OUR_FAULT, STDIN, Manner, attach, complain, finish, show, tell_lost
from ._table import moment, print_table

if TYPE_CHECKING:
    import typer

    from .client import AsyncLunetteClient
    from .process import Process
    from .results import ProcessInfo, SandboxInfo
    from .sandbox import Sandbox

__all__ = ["add_process_commands", "ask"]

_IMAGE = "host"
_SHELL = "if command -v bash >/dev/null; then exec bash; fi; exec sh"
_AS_A_SHELL: Manner = {"interactive": True, "tty": True, "name": "shell"}
_SANDBOX_HEAD = ("SANDBOX ID", "IMAGE", "STATE", "CREATED (UTC)")
_PROCESS_HEAD = ("PROCESS ID", "NAME", "STATE", "STARTED (UTC)", "COMMAND")
_LONGEST_COMMAND = 60
_SHORTEST_BEGINNING = 4
_PROCESS_HELP = "Its id, as `ps SANDBOX` lists it, 4 or more letters of it, or its name."


def add_process_commands(application: "typer.Typer") -> None:
    """Add the commands to *application*."""
    import typer

    @application.command(context_settings={"allow_interspersed_args": False})
    def run(
        command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
        image: Annotated[str, typer.Option(help="The image of the sandbox.")] = _IMAGE,
        env: Annotated[
            list[str] | None,
            typer.Option("--env", "-e", help="K=V, or K to take it from here.", metavar="K=V"),
        ] = None,
        interactive: Annotated[
            bool, typer.Option("--interactive", "-i", help="Pass standard input on as it comes.")
        ] = False,
        tty: Annotated[
            bool, typer.Option("--tty", "-t", help="Give the command a terminal.")
        ] = False,
        user: Annotated[
            str | None, typer.Option("--user", "-u", help="The user of the sandbox.")
        ] = None,
        workdir: Annotated[
            str | None, typer.Option("--workdir", "-w", help="Where the command runs.")
        ] = None,
        timeout: Annotated[
            float | None, typer.Option(help="Seconds after which the command is killed.")
        ] = None,
    ) -> None:
        """Run a command in a new sandbox, show its output as it comes, and exit as it did.

        -it is for programs that are used at the keyboard. 124 is the exit code where the timeout
        killed the command, 125 where no command ran or its end is not known.
        """
        service: dict[str, Any] = {"image": image, "environment": _environment(env or [])}
        if user is not None:
            service["user"] = user
        how: Manner = {"interactive": interactive, "tty": tty, "cwd": workdir, "timeout": timeout}
        raise typer.Exit(_refusal(tty, "; leave out -t") or _run(service, command, how))

    @application.command()
    def shell(
        sandbox: Annotated[
            str | None, typer.Argument(help="Default: a new one, destroyed at the end.")
        ] = None,
        image: Annotated[
            str | None, typer.Option(help="The image of a new sandbox.", show_default=_IMAGE)
        ] = None,
    ) -> None:
        """Open a shell in a sandbox, and exit as it did."""
        if sandbox is None:
            service = {"image": image or _IMAGE}
            raise typer.Exit(_refusal() or _run(service, _SHELL, _AS_A_SHELL))
        if image is not None:
            raise typer.BadParameter("the sandbox has one already", param_hint="--image")
        raise typer.Exit(_refusal() or _enter(sandbox))

    @application.command()
    def ps(
        sandbox: Annotated[
            str | None, typer.Argument(help="Default: list the sandboxes themselves.")
        ] = None,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Ids alone.")] = False,
    ) -> None:
        """List the sandboxes of a server, or the processes of one."""
        raise typer.Exit(ask(lambda client: _list(client, sandbox, quiet=quiet)))

    @application.command()
    def logs(
        sandbox: Annotated[str, typer.Argument(help="Its id, as `ps` lists it.")],
        process: Annotated[str, typer.Argument(help=_PROCESS_HELP)],
        follow: Annotated[
            bool, typer.Option("--follow", "-f", help="Go on until the process ends.")
        ] = False,
    ) -> None:
        """Show what a process has written."""
        raise typer.Exit(ask(lambda client: _logs(client, sandbox, process, follow=follow)))

    @application.command()
    def kill(
        sandbox: Annotated[str, typer.Argument(help="Its id, as `ps` lists it.")],
        process: Annotated[str, typer.Argument(help=_PROCESS_HELP)],
        signal: Annotated[
            str | None,
            typer.Option("--signal", "-s", help="Send this instead, such as TERM or 15."),
        ] = None,
    ) -> None:
        """Kill a process and all that it started."""
        raise typer.Exit(ask(lambda client: _kill(client, sandbox, process, signal)))

    _ = (run, shell, ps, logs, kill)  # they are called through `application`


def _environment(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _run(service: Mapping[str, Any], command: str | list[str], how: Manner) -> int:
    from .client import LunetteClient

    async def work() -> int:
        async with (
            LunetteClient() as client,
            await client.create_sandbox(service, progress=shows_progress()) as sandbox,
        ):
            return await attach(sandbox, command, **how)

    return finish(work)


def _enter(sandbox_id: str) -> int:
    from .client import LunetteClient

    async def work() -> int:
        _check_server()
        async with LunetteClient() as client:
            sandbox = await client.aget_sandbox(sandbox_id)
            return await attach(sandbox, _SHELL, **_AS_A_SHELL)

    return finish(work)


def _refusal(tty: bool = True, mend: str = "") -> int:
    if not tty or os.isatty(STDIN):
        return 0
    complain(f"the input device is not a TTY{mend}")
    return OUR_FAULT


def ask(work: "Callable[[AsyncLunetteClient], Coroutine[Any, Any, None]]") -> int:
    """Do *work* with a client of the server that the user means, and return the exit code."""
    from .client import LunetteClient

    async def asked() -> int:
        _check_server()
        async with LunetteClient() as client:
            await work(client)
        return 0

    return finish(asked, fault=1)


def _check_server() -> None:
    """Refuse to ask a server of our own, which would know of no sandbox."""
    from .config import EMBEDDED, resolve
    from .errors import ConfigError

    if resolve().base_url == EMBEDDED:
        raise ConfigError(
            "there is no server to ask, since an embedded one ends with its client: set"
            " LUNETTE_BASE_URL to that of another, see `lunette serve`"
        )


async def _list(client: "AsyncLunetteClient", sandbox_id: str | None, *, quiet: bool) -> None:
    if sandbox_id is None:
        rows = [_sandbox_row(found) for found in await client.alist_sandboxes()]
        _print(_SANDBOX_HEAD, rows, quiet=quiet)
    else:
        sandbox = await client.aget_sandbox(sandbox_id)
        rows = [_process_row(found) for found in await sandbox.aprocesses()]
        _print(_PROCESS_HEAD, rows, quiet=quiet)


def _print(head: Sequence[str], rows: Sequence[tuple[str, ...]], *, quiet: bool) -> None:
    if not quiet:
        print_table(head, rows)
        return
    print("".join(f"{row[0]}\n" for row in rows), end="", flush=True)


def _sandbox_row(found: "SandboxInfo") -> tuple[str, ...]:
    image = str(found.service.get("image", ""))
    return found.sandbox_id, image, found.state, moment(found.created_at)


def _process_row(found: "ProcessInfo") -> tuple[str, ...]:
    state = found.state if found.exit_code is None else f"{found.state} ({found.exit_code})"
    command = found.command if isinstance(found.command, str) else shlex.join(found.command or ())
    name = found.name or ("" if found.started else "(exec)")
    return found.id, name, state, moment(found.started_at), _shown(command)


def _shown(command: str) -> str:
    """Make one line of *command*, with nothing in it that a terminal would obey."""
    line = "".join(letter if letter.isprintable() else " " for letter in command)
    return line if len(line) <= _LONGEST_COMMAND else f"{line[: _LONGEST_COMMAND - 1]}…"


async def _logs(client: "AsyncLunetteClient", sandbox_id: str, given: str, *, follow: bool) -> None:
    process = await _find(await client.aget_sandbox(sandbox_id), given)
    await show(process, follow=follow)
    tell_lost(process.gaps)


async def _kill(
    client: "AsyncLunetteClient", sandbox_id: str, given: str, signal: str | None
) -> None:
    # Asked for first: an id that there is not is an error, and no mark for one that is to come.
    process = await _find(await client.aget_sandbox(sandbox_id), given)
    if signal is None:
        await process.akill()
    else:
        await process.asignal(int(signal) if signal.isdecimal() else signal)


async def _find(sandbox: "Sandbox", given: str) -> "Process":
    """Find the process that is *given* by its id, its name, or the beginning of its id."""
    known = await sandbox.aprocesses()
    if all(given != info.id for info in known):
        named = [info.id for info in known if info.name == given]
        begun = [info.id for info in known if info.id.startswith(given)]
        found = named or (begun if len(given) >= _SHORTEST_BEGINNING else [])
        if len(found) > 1:
            raise ValueError(f"{given!r} means more than one process: {', '.join(found)}")
        given = found[0] if found else given
    return await sandbox.aprocess(given)
