"""How a file of a sandbox is to be opened, in the words of Python's own `open`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import frozen

from ._operations._paths import RemotePath, remote_path

if TYPE_CHECKING:
    from ._operations._opening import IfExists

__all__ = ["Opening", "ReadBinary", "ReadText", "WriteBinary", "WriteText", "read_mode"]

ReadText: TypeAlias = Literal["r", "rt", "tr"]
WriteText: TypeAlias = Literal["w", "wt", "tw", "x", "xt", "tx", "a", "at", "ta"]
ReadBinary: TypeAlias = Literal["rb", "br"]
WriteBinary: TypeAlias = Literal["wb", "bw", "xb", "bx", "ab", "ba"]

_IF_EXISTS: Mapping[str, IfExists] = {"w": "replace", "x": "fail", "a": "append"}


@frozen
class Opening:
    """What `open` was asked for; *action* is one of r, w, x and a."""

    path: str
    mode: str
    action: str
    is_binary: bool
    encoding: str | None
    errors: str | None
    newline: str | None

    @property
    def if_exists(self) -> IfExists:
        """What to do with a file that is there."""
        return _IF_EXISTS[self.action]


def read_mode(
    path: RemotePath, mode: str, encoding: str | None, errors: str | None, newline: str | None
) -> Opening:
    """Check what `open` was asked for, before anything is opened."""
    # Not every caller has a type checker.
    if not isinstance(mode, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"mode must be a string, not {type(mode).__name__}")
    letters = set(mode)
    if "+" in letters:
        raise ValueError("a file of a sandbox is read or written, not both: open it twice")
    action = "".join(sorted(letters & set("rwxa")))
    if len(letters) != len(mode) or letters - set("rwxabt") or len(action) != 1:
        raise ValueError(f"invalid mode: {mode!r}")
    if {"b", "t"} <= letters:
        raise ValueError("can't have text and binary mode at once")
    is_binary = "b" in letters
    if is_binary:
        _refuse_text(encoding=encoding, errors=errors, newline=newline)
    else:
        encoding = encoding or "utf-8"
        # Python's own checks.
        io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
    return Opening(remote_path(path), mode, action, is_binary, encoding, errors, newline)


def _refuse_text(**arguments: str | None) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"binary mode doesn't take an {name} argument")
