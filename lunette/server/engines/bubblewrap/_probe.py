"""Why bubblewrap does not work on this machine, in words that help."""

from __future__ import annotations

from pathlib import Path

__all__ = ["explain"]

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_USERNS_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MAX_USER_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")


def explain(stderr: str, error: str) -> str:
    """Say what is in the way, from what bwrap wrote and from what the kernel says of itself."""
    said = stderr.strip() or error
    return f"bubblewrap cannot make a sandbox on this machine: {said}.{_hint(said)}"


def _hint(said: str) -> str:
    if _reads(_APPARMOR) == "1":
        return (
            " AppArmor restricts user namespaces here (Ubuntu 24.04 does by default): as root run"
            " `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run the server as root."
        )
    if _reads(_USERNS_CLONE) == "0":
        return " As root run `sysctl kernel.unprivileged_userns_clone=1`."
    if _reads(_MAX_USER_NAMESPACES) == "0":
        return " As root run `sysctl user.max_user_namespaces=15000`."
    if "proc" in said.lower() or "namespace" in said.lower():
        return (
            " In a container? Start that with `--security-opt seccomp=unconfined"
            " --security-opt systempaths=unconfined`, or with `--privileged`."
        )
    return ""


def _reads(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
