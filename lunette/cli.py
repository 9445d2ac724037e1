"""The `lunette` command: run something in a sandbox, or run a server."""

# No `from __future__ import annotations`: typer evaluates annotations, and it is imported late,
# so that its absence is a sentence and no traceback.

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ._cli_doctor import add_doctor
from ._cli_files import add_file_commands
from ._cli_images import images_application
from ._cli_processes import add_process_commands
from ._cli_sandboxes import add_sandbox_commands

if TYPE_CHECKING:
    import typer

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    _open_closed_streams()
    try:
        application = _application()
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit(f"the lunette command needs typer: pip install '{_distribution()}[cli]'")
    application(prog_name="lunette")


def _open_closed_streams() -> None:
    """Make a standard stream that the caller closed an empty one."""
    # Else it is None, and the first socket that is opened gets its number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def _application() -> "typer.Typer":
    import typer

    from lunette import _version

    application = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"lunette {_version.version()}")
            raise typer.Exit

    @application.callback()
    def lunette(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True)
        ] = False,
    ) -> None:
        """Code sandboxes: on this machine, on your server, on a fleet."""

    add_process_commands(application)
    add_sandbox_commands(application)
    add_file_commands(application)

    @application.command()
    def serve(
        host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
        uds: Annotated[
            Path | None, typer.Option(help="Listen on this Unix socket; no key is needed.")
        ] = None,
        api_key: Annotated[
            str | None,
            typer.Option(envvar="LUNETTE_API_KEY", help="Made and printed if there is none."),
        ] = None,
        engine: Annotated[
            str | None, typer.Option(envvar="LUNETTE_ENGINE", help="Default: auto.")
        ] = None,
        allowed_host: Annotated[
            list[str] | None, typer.Option(help="A host name that clients may use.")
        ] = None,
        state: Annotated[
            Path | None,
            typer.Option(help="What is remembered is kept here. Default: ~/.lunette/server."),
        ] = None,
        ttl: Annotated[
            str | None,
            typer.Option(help="How long a sandbox lives at most; 0 is for ever. Default: 24h."),
        ] = None,
        idle_timeout: Annotated[
            str | None,
            typer.Option(help="How long one lives unused; 0 is for ever. Default: 1h."),
        ] = None,
        grace: Annotated[
            str | None,
            typer.Option(help="How long what runs may go on at SIGTERM. Default: 5s."),
        ] = None,
    ) -> None:
        """Serve sandboxes to other processes or machines."""
        given = {"ttl": ttl, "idle_timeout": idle_timeout, "grace": grace}
        raise typer.Exit(_serve(host, port, uds, api_key, engine, allowed_host or [], state, given))

    application.add_typer(images_application(), name="images")
    add_doctor(application)
    _ = (lunette, serve)  # they are called through `application`
    return application


def _serve(
    host: str,
    port: int,
    uds: Path | None,
    api_key: str | None,
    engine: str | None,
    names: Sequence[str],
    state: Path | None,
    given: Mapping[str, str | None],
) -> int:
    try:
        from lunette.server import serving
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        print(
            f"lunette: the server needs {missing}: pip install '{_distribution()}[server]'",
            file=sys.stderr,
        )
        return 1
    from lunette.config import config_path

    _log_to_stderr()
    kept = state or config_path().with_name("server")
    try:
        if uds is not None:
            serving.serve_unix(uds, state=kept, engine=engine, given=given, announce=_announce)
        else:
            serving.serve_tcp(
                host,
                port,
                api_key=api_key,
                state=kept,
                engine=engine,
                names=names,
                given=given,
                announce=_announce,
            )
    except serving.CannotServeError as error:
        print(f"lunette: {error}", file=sys.stderr)
        return 1
    return 0


def _announce(line: str) -> None:
    print(line, flush=True)


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _distribution() -> str:
    from lunette._embedded import distribution

    return distribution()
