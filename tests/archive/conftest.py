# pathlib knows no bytes, which names here are.
# ruff: noqa: PTH103, PTH118, PTH123, PTH211

from __future__ import annotations

import os
from pathlib import Path

import pytest

NAMES = [
    b"with space",
    b"'quotes'\"",
    b"new\nline",
    "emoji \U0001f680".encode(),
    ("\u00e9" * 127 + "e").encode(),
    b"n" * 255,
    b"not utf-8 \xff\xfe",
    b"-dash",
    b"back\\slash",
    b"#!&|;$(x)",
    b"\x01\x1b[31m",
    b"..dots",
    b"tail. ",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of all that there may be in one."""
    root = tmp_path / "source"
    root.mkdir()
    top = os.fsencode(root)
    for name in NAMES:
        for parent in (b"", b"in a directory/" + name):
            os.makedirs(os.path.join(top, parent), exist_ok=True)
            path = os.path.join(top, parent, name)
            with open(path, "wb") as file:
                file.write(name * 3)
            os.utime(path, ns=(0, 1_700_000_000_123_456_789 + len(name)))
        os.symlink(name, os.path.join(top, b"to-%d" % NAMES.index(name)))
    (root / "empty").touch()
    (root / "large").write_bytes(os.urandom(3_000_007))
    (root / "exact").write_bytes(b"x" * 1024)
    (root / "empty directory").mkdir()
    os.symlink(b"l" * 4000, top + b"/long link")
    for number, mode in enumerate((0o000, 0o700, 0o755, 0o4755, 0o6777, 0o444)):
        (root / f"mode-{number}").write_bytes(b"#")
        (root / f"mode-{number}").chmod(mode)
        (root / f"directory-{number}" / "in").mkdir(parents=True)
        (root / f"directory-{number}" / "in" / "file").touch()
    for number, mode in enumerate((0o000, 0o700, 0o755, 0o1777, 0o2555, 0o311)):
        (root / f"directory-{number}").chmod(mode)
    os.utime(root / "exact", ns=(0, -1_500_000_000))
    os.utime(root / "empty directory", ns=(0, 5))
    os.utime(root / "empty", ns=(0, 1_600_000_000_000_000_000))
    os.link(root / "exact", root / "hard")
    os.utime(root, ns=(0, 1_650_000_000_000_000_001))
    return root
