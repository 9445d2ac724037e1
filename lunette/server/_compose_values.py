"""The values of Compose that are more than a string or a number, read into what engines take.

https://github.com/compose-spec/compose-spec/blob/main/05-services.md and, for the options of a
tmpfs, https://docs.docker.com/engine/storage/tmpfs/. What is wrong is a ValueError that says what
it should be.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import signal
from collections.abc import Iterable, Mapping
from typing import Any, cast

from lunette.server.engines.protocol import Tmpfs

__all__ = [
    "count",
    "hosts",
    "processors",
    "seconds",
    "seconds_or_duration",
    "signal_number",
    "size",
    "tmpfs_entries",
    "ulimits",
]

_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?([kmgt])?(?:i?b)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LARGEST = 1 << 60
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|us|m|s))+")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|m|s)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # what a limit of the kernel takes
_PROCESSORS = re.compile(r"[0-9]{0,9}\.?[0-9]{1,18}")
_FEWEST_PROCESSORS = 0.01  # as of Docker
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_ADDRESS = re.compile(r"[0-9A-Za-z:.%_-]+")  # the name of a scope may else be anything
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,253}[A-Za-z0-9_])?")
# The defaults of Docker for a tmpfs; `exec` and `ro` are what can be asked for.
_FLAGS = {"exec": True, "ro": True, "noexec": False, "rw": False, "nosuid": False, "nodev": False}
_NAMES_OF_ULIMITS = """
    as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
_ULIMITS = frozenset(_NAMES_OF_ULIMITS.split())
UNLIMITED = -1


def size(value: object) -> int:
    """Return the bytes of a number, or of a string such as `64m`."""
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        match = _SIZE.fullmatch(str(value))
        if match is None:
            raise ValueError(f"{_shown(value)} is no size such as 67108864 or '64m'")
        found = int(float(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()])
    if not 0 < found <= _LARGEST:
        raise ValueError(f"{_shown(value)} is no size above 0")
    return found


def processors(value: object) -> float:
    """Return a number of processors such as 0.5, which may come as a string."""
    text = str(value)
    if not _PROCESSORS.fullmatch(text) or float(text) < _FEWEST_PROCESSORS:
        raise ValueError(f"{_shown(value)} is no number from {_FEWEST_PROCESSORS} on, such as 0.5")
    return float(text)


def count(value: object) -> int:
    """Return a whole number, which may come as a string."""
    text = _text(value)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{_shown(value)} is no whole number such as 100")
    return int(text)


def seconds(value: str) -> float:
    """Return the seconds of a duration such as `1m30s`."""
    if not _DURATION.fullmatch(value):
        raise ValueError(f"{_shown(value)} is no duration such as '10s' or '1m30s'")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


def seconds_or_duration(value: object) -> float:
    """Return the seconds of a number, which may come as a string, or of a duration."""
    text = _text(value)
    return float(text) if _NUMBER.fullmatch(text) else seconds(text)


def signal_number(value: object) -> int:
    """Return the number of a signal that is given by number or by name, with `SIG` or without."""
    text = _text(value).upper()
    found = {str(int(number)): int(number) for number in signal.valid_signals()}
    for name, number in signal.Signals.__members__.items():
        found |= {name: int(number), name.removeprefix("SIG"): int(number)}
    if text not in found:
        raise ValueError(f"{_shown(value)} is no signal such as SIGTERM or 15")
    return found[text]


def ulimits(value: Mapping[str, int | Mapping[str, int]]) -> dict[str, tuple[int, int]]:
    """Return (soft, hard) of each limit."""
    return {name: _ulimit(name, limit) for name, limit in value.items()}


def _ulimit(name: str, value: int | Mapping[str, int]) -> tuple[int, int]:
    if name not in _ULIMITS:
        raise ValueError(f"there is no limit '{name[:64]}', only: {', '.join(sorted(_ULIMITS))}")
    pair = (value["soft"], value["hard"]) if isinstance(value, Mapping) else (value, value)
    soft, hard = map(count, pair)
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise ValueError(f"the soft limit of '{name}' is above the hard one")
    return soft, hard


def tmpfs_entries(value: str | list[str]) -> tuple[Tmpfs, ...]:
    """Return what a `tmpfs` asks for."""
    return tuple(_tmpfs(entry) for entry in ([value] if isinstance(value, str) else value))


def _tmpfs(entry: str) -> Tmpfs:
    path, _, options = entry.partition(":")
    if not posixpath.normpath(path).strip("/"):
        raise ValueError("'/' itself cannot be in memory")
    found: dict[str, Any] = {}
    flags: set[str] = set()
    for option in filter(None, options.split(",")):
        name, equals, text = option.partition("=")
        if equals and name in _TMPFS_VALUES:
            found[name] = _TMPFS_VALUES[name](text)
        elif not equals and name in _FLAGS:
            flags |= {name} if _FLAGS[name] else set()
        else:
            known = ", ".join([*_TMPFS_VALUES, *_FLAGS])
            raise ValueError(f"the option {_shown(option)} is none of: {known}")
    return Tmpfs(path=path, flags=frozenset(flags), **found)


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{1,4}", text):
        raise ValueError(f"{_shown(text)} is no mode such as 1777")
    return int(text, 8)


def _id(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) >= 65_536:
        raise ValueError(f"{_shown(text)} is no id below 65536")
    return int(text)


_TMPFS_VALUES = {"size": size, "mode": _mode, "uid": _id, "gid": _id}


def hosts(value: Mapping[str, Any] | list[str]) -> tuple[tuple[str, str], ...]:
    """Return (name, address) of each host."""
    pairs = _mapped(value) if isinstance(value, Mapping) else map(_listed, value)
    return tuple(_host(name, address) for name, address in pairs)


def _mapped(value: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, found in value.items():
        addresses = cast("list[str]", found) if isinstance(found, list) else [str(found)]
        for address in addresses:
            yield name, address


def _listed(entry: str) -> tuple[str, str]:
    """Split `name=address`, or `name:address` as Compose had it before."""
    name, sign, address = entry.partition("=" if "=" in entry else ":")
    if not sign:
        raise ValueError(f"{_shown(entry)} is not of the form 'name=address'")
    return name, address


def _host(name: str, address: str) -> tuple[str, str]:
    if not _HOST.fullmatch(name):
        raise ValueError(f"{_shown(name)} is no name of a host")
    bare = address.strip("[]")
    try:
        if _ADDRESS.fullmatch(bare):
            return name, str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    raise ValueError(f"{_shown(address)} is no address of a host")


def _text(value: object) -> str:
    """Return a value as text, a 5.0 as 5: JSON Schema takes it for an integer."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 64 else f"{text[:64]}...")
