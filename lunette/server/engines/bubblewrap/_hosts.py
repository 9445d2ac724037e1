"""The /etc/hosts of one sandbox."""

from __future__ import annotations

from pathlib import Path

from lunette.server.engines.protocol import SandboxSpec

__all__ = ["bind_hosts", "hosts_of"]


def hosts_of(spec: SandboxSpec) -> str:
    """Return the text of /etc/hosts."""
    lines = [f"127.0.0.1 localhost {spec.hostname}", "::1 localhost"]
    lines += [f"{address} {name}" for name, address in spec.extra_hosts]
    return "\n".join(lines) + "\n"


def bind_hosts(disk: Path) -> list[str]:
    """Arguments that show the file `hosts` of the sandbox's disk."""
    return ["--bind", str(disk / "hosts"), "/etc/hosts"]
