"""`lunette rm`, `pause`, `resume` and `stats`: sandboxes of a server."""

# No `from __future__ import annotations`: typer evaluates annotations.

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from ._cli_processes import ask
from ._session import complain
from ._table import amount, print_table

if TYPE_CHECKING:
    import typer

    from .client import AsyncLunetteClient
    from .results import SandboxStats
    from .sandbox import Sandbox

__all__ = ["add_sandbox_commands"]

_HEAD = ("SANDBOX ID", "CPU TIME", "MEMORY", "LIMIT", "PROCESSES", "DISK")
_LIVING = ("running", "paused")
_TOGETHER = 16


def add_sandbox_commands(application: "typer.Typer") -> None:
    """Add the commands to *application*."""
    import typer

    @application.command()
    def rm(
        sandboxes: Annotated[
            list[str] | None, typer.Argument(help="Their ids, as `ps` lists them.")
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", "-a", help="All that the server lets you see.")
        ] = False,
    ) -> None:
        """Destroy sandboxes with all that is in them."""
        if bool(sandboxes) == everything:
            raise typer.BadParameter("name sandboxes, or say --all")
        failures: list[str] = []
        code = ask(lambda client: _remove(client, sandboxes, failures))
        raise typer.Exit(code or int(bool(failures)))

    @application.command()
    def pause(
        sandboxes: Annotated[list[str], typer.Argument(help="Their ids, as `ps` lists them.")],
    ) -> None:
        """Freeze all that runs in sandboxes, until they are resumed."""
        raise typer.Exit(_each(sandboxes, lambda one: one.apause()))

    @application.command()
    def resume(
        sandboxes: Annotated[list[str], typer.Argument(help="Their ids, as `ps` lists them.")],
    ) -> None:
        """Let paused sandboxes go on."""
        raise typer.Exit(_each(sandboxes, lambda one: one.aresume()))

    @application.command()
    def stats(
        sandboxes: Annotated[
            list[str] | None, typer.Argument(help="Their ids. Default: all that run.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="As JSON, in bytes.")] = False,
    ) -> None:
        """Show what sandboxes use now."""
        failures: list[str] = []
        code = ask(lambda client: _stats(client, sandboxes, failures, as_json=as_json))
        raise typer.Exit(code or int(bool(failures)))

    _ = (rm, pause, resume, stats)  # they are called through `application`


async def _remove(
    client: "AsyncLunetteClient", given: Sequence[str] | None, failures: list[str]
) -> None:
    ids = given or [found.sandbox_id for found in await client.alist_sandboxes()]
    if not ids:
        return
    for failure in (await client.astop_sandboxes(ids)).failed:
        complain(f"{failure.sandbox_id}: {failure.error}")
        failures.append(failure.sandbox_id)


def _each(ids: Sequence[str], verb: "Callable[[Sandbox], Awaitable[None]]") -> int:
    """Do something to each sandbox, and return the exit code: what fails is said of each."""
    failures: list[str] = []

    async def work(client: "AsyncLunetteClient") -> None:
        from .errors import LunetteError
        from .sandbox import Sandbox

        for sandbox_id in ids:
            try:
                await verb(Sandbox(client, sandbox_id))
            except LunetteError as error:
                complain(f"{sandbox_id}: {error}")
                failures.append(sandbox_id)

    return ask(work) or int(bool(failures))


async def _stats(
    client: "AsyncLunetteClient",
    given: Sequence[str] | None,
    failures: list[str],
    *,
    as_json: bool,
) -> None:
    from .errors import LunetteError, SandboxDestroyedError
    from .sandbox import Sandbox

    turns = asyncio.Semaphore(_TOGETHER)

    async def measured(sandbox_id: str) -> "tuple[str, SandboxStats] | None":
        try:
            async with turns:
                return sandbox_id, await Sandbox(client, sandbox_id).astats()
        except LunetteError as error:
            if given or not isinstance(error, SandboxDestroyedError):  # else it went meanwhile
                complain(f"{sandbox_id}: {error}")
                failures.append(sandbox_id)
            return None

    ids = given or await _living(client)
    found = [one for one in await asyncio.gather(*map(measured, ids)) if one is not None]
    if found or not failures:
        _print(found, as_json=as_json)


async def _living(client: "AsyncLunetteClient") -> list[str]:
    found = await client.alist_sandboxes()
    return [one.sandbox_id for one in found if one.state in _LIVING]


def _print(found: "Sequence[tuple[str, SandboxStats]]", *, as_json: bool) -> None:
    import attrs

    if as_json:
        print(
            json.dumps([{"sandbox_id": name, **attrs.asdict(used)} for name, used in found]),
            flush=True,
        )
    else:
        print_table(_HEAD, [_row(name, used) for name, used in found])


def _row(sandbox_id: str, used: "SandboxStats") -> tuple[str, ...]:
    limit = "" if used.memory_limit is None else amount(used.memory_limit)
    return (
        sandbox_id,
        f"{used.cpu_seconds:.2f} s",
        amount(used.memory),
        limit,
        str(used.processes),
        amount(used.disk),
    )
