"""Why bubblewrap does not work on this machine, in words that help."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CONTAINER", "explain", "forbidden"]

CONTAINER = (
    "Start that with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or"
    " with `--privileged`"
)
_KERNEL = Path("/proc/sys/kernel")
# File, the value that forbids, what it forbids, and the mend.
_SWITCHES = (
    (
        _KERNEL / "apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts user namespaces here (Ubuntu 24.04 does by default)",
        "as root run `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run the server as"
        " root",
    ),
    (
        _KERNEL / "unprivileged_userns_clone",
        "0",
        "The kernel gives user namespaces to root alone",
        "as root run `sysctl kernel.unprivileged_userns_clone=1`",
    ),
    (
        Path("/proc/sys/user/max_user_namespaces"),
        "0",
        "The kernel gives no user namespaces",
        "as root run `sysctl user.max_user_namespaces=15000`",
    ),
)


def explain(stderr: str, error: str) -> str:
    """Say what is in the way, from what bwrap wrote and from what the kernel says of itself."""
    said = stderr.strip() or error
    return f"bubblewrap cannot make a sandbox on this machine: {said}.{_hint(said)}"


def _hint(said: str) -> str:
    found = forbidden()
    if found is not None:
        return f" {found[0]}: {found[1]}."
    if "proc" in said.lower() or "namespace" in said.lower():
        return f" In a container? {CONTAINER}."
    return ""


def forbidden() -> tuple[str, str] | None:
    """Return what the kernel says that it forbids to ordinary users, and how to allow it."""
    for path, value, what, mend in _SWITCHES:
        if _reads(path) == value:
            return what, mend
    return None


def _reads(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
