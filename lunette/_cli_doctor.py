"""`lunette doctor`: what this machine can do, and how to mend what is in the way."""

# No `from __future__ import annotations`: typer evaluates annotations.

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import typer

    from .server.doctor import Finding

__all__ = ["add_doctor"]


def add_doctor(application: "typer.Typer") -> None:
    """Add the command to *application*."""
    import typer

    @application.command()
    def doctor(
        as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    ) -> None:
        """Say whether this machine can run sandboxes, how well, and how to mend what is in the way.

        The exit code is 0 if it can, and 1 if not.
        """
        raise typer.Exit(_examine(as_json=as_json))

    _ = doctor  # it is called through `application`


def _examine(*, as_json: bool) -> int:
    from .server.doctor import examine

    try:
        findings = asyncio.run(examine())
    except KeyboardInterrupt:
        return 130
    able = all(finding.status != "problem" for finding in findings)
    if as_json:
        print(json.dumps({"able": able, "findings": [one.to_json() for one in findings]}))
    else:
        _print(findings, able=able)
    return 0 if able else 1


def _print(findings: "Sequence[Finding]", *, able: bool) -> None:
    for finding in findings:
        print(f"{finding.status:<9}{finding.name}: {finding.detail}")
        if finding.mend is not None:
            print(f"{'':<9}mend: {finding.mend}")
    print(f"This machine can{'' if able else 'not'} run sandboxes.", flush=True)
