"""Three layers in which everything is that an unpacker can do wrong, and what must come of them.

They lie on a root file system with a shell, and touch it only below `tricky`. Docker 20.10 makes
the same of them, but that it gives directories that no layer names the mode 0600.
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import frozen

from .tar_layers import Entry, directory, file, hard_link, opaque, symlink, whiteout

__all__ = ["ABSENT", "CONFIG", "EXPECTED", "LAYERS", "LINKED", "Expected"]

OWNER = (1234, 1234)
_LONG = f"tricky/{'long/' * 40}{'n' * 200}"

CONFIG: dict[str, Any] = {
    "User": "1234:1234",
    "WorkingDir": "/tricky/work",
    "Env": [
        "PATH=/tricky/bin:/usr/local/bin:/usr/bin:/bin",
        "GREETING=hello  world $HOME",
        "EMPTY=",
        "EQUATION=a=b=c",
    ],
    "Entrypoint": ["/bin/false"],
    "Cmd": ["--never"],
}


@frozen(kw_only=True)
class Expected:
    """What is at a path of the flattened tree; *owner* in the ids of the image."""

    kind: Literal["file", "directory", "symlink"]
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    content: bytes = b""
    link: str = ""


_FIRST = (
    directory("tricky"),
    directory("tricky/bin"),
    file("tricky/bin/tricky", "#!/bin/sh\necho tricky\n", mode=0o755),
    directory("tricky/work", owner=OWNER),
    file("tricky/gone.txt", "gone"),
    directory("tricky/gone-directory"),
    file("tricky/gone-directory/below.txt", "gone"),
    file("tricky/replaced.txt", "old"),
    file("tricky/returned.txt", "old"),
    directory("tricky/opaque", mode=0o700),
    file("tricky/opaque/old.txt", "old"),
    directory("tricky/opaque/old"),
    file("tricky/opaque/old/below.txt", "old"),
    directory("tricky/opaque-last"),
    file("tricky/opaque-last/old.txt", "old"),
    file("tricky/original.txt", "linked"),
    hard_link("tricky/link-within.txt", "tricky/original.txt"),
    directory("tricky/real"),
    symlink("tricky/linked", "real"),
    symlink("tricky/linked-absolutely", "/tricky/real"),
    symlink("tricky/link-then-directory", "real"),
    file("tricky/file-then-directory", "old"),
    directory("tricky/directory-then-file"),
    file("tricky/directory-then-file/below.txt", "old"),
    symlink("tricky/link-then-file", "replaced.txt"),
    directory("tricky/closed", mode=0o555),
    symlink("tricky/dangling", "/nowhere/at/all"),
)
_SECOND = (
    whiteout("tricky/gone.txt"),
    whiteout("tricky/gone-directory"),
    whiteout("tricky/returned.txt"),
    whiteout("tricky/never-was.txt"),
    file("tricky/replaced.txt", "new", mode=0o600, owner=OWNER),
    directory("tricky/opaque"),
    opaque("tricky/opaque"),
    file("tricky/opaque/new.txt", "new"),
    # An opaque mark hides lower layers only, wherever in its layer it stands.
    file("tricky/opaque-last/new.txt", "new"),
    opaque("tricky/opaque-last"),
    hard_link("tricky/link-across.txt", "tricky/original.txt"),
    file("tricky/linked/through.txt", "through a link of a lower layer"),
    file("tricky/linked-absolutely/through-absolute.txt", "within the image"),
    directory("tricky/link-then-directory"),
    file("tricky/link-then-directory/below.txt", "new"),
    directory("tricky/file-then-directory"),
    file("tricky/file-then-directory/below.txt", "new"),
    file("tricky/directory-then-file", "new"),
    file("tricky/link-then-file", "new"),
    file("tricky/setuid", "#!/bin/sh\n", mode=0o4755),
    file("tricky/setgid", "#!/bin/sh\n", mode=0o2755, owner=(0, 1234)),
    directory("tricky/private", mode=0o700, owner=OWNER),
    file("tricky/private/key", "secret", mode=0o400, owner=OWNER),
)
_THIRD = (
    file("tricky/returned.txt", "returned"),
    file("tricky/implied/parents/file.txt", "no entry for the directories"),
    file("tricky/closed/within.txt", "in a directory that nobody may write"),
    directory("tricky/sticky", mode=0o1777),
    directory("tricky/real", mode=0o750, owner=(0, 1234)),
    file("tricky/ünï çødé 文", "a name"),
    file("tricky/-rf", "another"),
    file("./tricky/dotted.txt", "a name that begins with ./"),
    file(_LONG, "a long one"),
    file("tricky/empty"),
    symlink("tricky/gone.link", "gone.txt"),
)

LAYERS: tuple[tuple[Entry, ...], ...] = (_FIRST, _SECOND, _THIRD)


def _directory(mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> Expected:
    return Expected(kind="directory", mode=mode, owner=owner)


def _file(content: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> Expected:
    return Expected(kind="file", mode=mode, owner=owner, content=content.encode())


def _symlink(to: str) -> Expected:
    return Expected(kind="symlink", mode=0o777, link=to)


EXPECTED: dict[str, Expected] = {
    "tricky": _directory(),
    "tricky/bin/tricky": _file("#!/bin/sh\necho tricky\n", 0o755),
    "tricky/work": _directory(owner=OWNER),
    "tricky/replaced.txt": _file("new", 0o600, OWNER),
    "tricky/returned.txt": _file("returned"),
    "tricky/opaque": _directory(),
    "tricky/opaque/new.txt": _file("new"),
    "tricky/opaque-last/new.txt": _file("new"),
    "tricky/original.txt": _file("linked"),
    "tricky/link-within.txt": _file("linked"),
    "tricky/link-across.txt": _file("linked"),
    "tricky/real": _directory(0o750, (0, 1234)),
    "tricky/real/through.txt": _file("through a link of a lower layer"),
    "tricky/real/through-absolute.txt": _file("within the image"),
    "tricky/linked": _symlink("real"),
    "tricky/linked-absolutely": _symlink("/tricky/real"),
    "tricky/link-then-directory": _directory(),
    "tricky/link-then-directory/below.txt": _file("new"),
    "tricky/file-then-directory": _directory(),
    "tricky/file-then-directory/below.txt": _file("new"),
    "tricky/directory-then-file": _file("new"),
    "tricky/link-then-file": _file("new"),
    "tricky/closed": _directory(0o555),
    "tricky/closed/within.txt": _file("in a directory that nobody may write"),
    "tricky/dangling": _symlink("/nowhere/at/all"),
    "tricky/setuid": _file("#!/bin/sh\n", 0o4755),
    "tricky/setgid": _file("#!/bin/sh\n", 0o2755, (0, 1234)),
    "tricky/private": _directory(0o700, OWNER),
    "tricky/private/key": _file("secret", 0o400, OWNER),
    "tricky/implied": _directory(),
    "tricky/implied/parents/file.txt": _file("no entry for the directories"),
    "tricky/sticky": _directory(0o1777),
    "tricky/ünï çødé 文": _file("a name"),
    "tricky/-rf": _file("another"),
    "tricky/dotted.txt": _file("a name that begins with ./"),
    _LONG: _file("a long one"),
    "tricky/empty": _file(""),
    "tricky/gone.link": _symlink("gone.txt"),
}
"""What must be there, by path from the root; without an owner of its own, root's."""

ABSENT = (
    "tricky/gone.txt",
    "tricky/gone-directory",
    "tricky/never-was.txt",
    "tricky/opaque/old.txt",
    "tricky/opaque/old",
    "tricky/opaque-last/old.txt",
    "tricky/real/below.txt",
    "tricky/opaque/.wh..wh..opq",
    "tricky/.wh.gone.txt",
)
"""What must not be there."""

LINKED = ("tricky/original.txt", "tricky/link-within.txt", "tricky/link-across.txt")
"""The names of one file."""
