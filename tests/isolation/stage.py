"""Who runs the server of a test, and what that user can reach.

Python, the virtual environment and the checkout of whoever runs the tests may lie below a directory
that nobody else can pass through. In a mount namespace of its own, a program can be shown them at
the same paths all the same, or can be shown them closed although they are open.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lunette

__all__ = ["ORDINARY", "as_user", "below_a_closed_directory", "directory", "is_root"]

ORDINARY = 54_321

_SHOW = """
set -e
mount -t tmpfs -o mode=755 stage /mnt
number=0
for path in $SHOWN; do
    number=$((number + 1)); mkdir /mnt/$number; mount --rbind "$path" /mnt/$number
done
for path in $CLOSED; do mount -t tmpfs -o mode=$MODE stage "$path"; done
number=0
for path in $SHOWN; do
    number=$((number + 1)); mkdir -p "$path"; mount --rbind /mnt/$number "$path"
done
unset SHOWN CLOSED MODE
exec "$@"
"""


def as_user(command: Sequence[str]) -> list[str]:
    """Return *command* as an ordinary user runs it, who can reach what this process can."""
    drop = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    needed = _needed()
    closed = {directory for path in needed for directory in _closed_above(path)[:1]}
    shown = [path for path in needed if _closed_above(path)]
    return _staged(shown, sorted(closed), "755", [*drop, *command])


def below_a_closed_directory(command: Sequence[str]) -> list[str]:
    """Return *command* as root runs it with the environment of Python below a directory of mode
    0700.
    """
    venv = Path(sys.prefix)
    return _staged([venv], [venv.parent], "700", command)


def _needed() -> list[Path]:
    checkout = Path(lunette.__file__).resolve().parent.parent
    tests = Path(__file__).resolve().parent.parent.parent
    found: list[Path] = []
    for path in (Path(sys.prefix), Path(sys.base_prefix), checkout, tests):
        if not any(path.is_relative_to(known) for known in found):
            found.append(path)
    return found


def _closed_above(path: Path) -> list[Path]:
    return [p for p in (*reversed(path.parents), path) if not p.stat().st_mode & 0o001]


def _staged(
    shown: Sequence[Path], closed: Sequence[Path], mode: str, command: Sequence[str]
) -> list[str]:
    words = {
        "SHOWN": " ".join(map(str, shown)),
        "CLOSED": " ".join(map(str, closed)),
        "MODE": mode,
    }
    return [
        *("env", *(f"{name}={value}" for name, value in words.items())),
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", _SHOW, "stage", *command),
    ]


@contextmanager
def directory(mode: str) -> Generator[Path]:
    """Yield a directory of the user who runs a server in *mode*, which goes afterwards."""
    path = Path(tempfile.mkdtemp(prefix="test-isolation-"))
    path.chmod(0o711)
    if mode == "user" and is_root():
        os.chown(path, ORDINARY, ORDINARY)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def is_root() -> bool:
    return os.geteuid() == 0
