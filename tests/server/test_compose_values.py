"""The values of Compose, one function at a time; `test_spec.py` has them as keys of a service."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from lunette.server._compose_values import (
    count,
    hosts,
    seconds,
    signal_number,
    size,
    tmpfs_entries,
    ulimits,
)
from lunette.server.engines.protocol import Tmpfs

LONG = "9" * (1 << 20)
ARABIC = "\N{ARABIC-INDIC DIGIT ONE}"


def _brief(value: object) -> str:
    """Name a case by its beginning: some are a megabyte."""
    return repr(value)[:40]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (1 << 60, 1 << 60),
        (64.0, 64),  # an integer, for JSON Schema
        ("1", 1),
        ("64b", 64),
        ("64k", 64 << 10),
        ("64K", 64 << 10),
        ("64kb", 64 << 10),
        ("64 KiB", 64 << 10),
        ("2m", 2 << 20),
        ("1.5g", 3 << 29),
        ("1 GB", 1 << 30),
        ("1t", 1 << 40),
        ("0.5k", 512),
    ],
)
def test_sizes(value: object, expected: int) -> None:
    assert size(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 1 << 61, 10**4000, True, False, None, 1e300, float("inf"), [], {}),
        *(
            "",
            "0",
            "0m",
            "-1",
            "-1m",
            "1e400",
            "1e3",
            "nan",
            "inf",
            "m",
            "1p",
            "1 1",
            "1,5m",
            ".5m",
        ),
        *("5.", "1m\n", " 1m", "1mm", "1\0", "0.1", ARABIC, "1\N{KELVIN SIGN}", "2000000t"),
        *("9" * 31, LONG, f"0.{LONG}", f"{LONG}m", "x" * (1 << 20)),
    ],
    ids=_brief,
)
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is no size") as caught:
        size(value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (7, 7), (-1, -1), ("7", 7), ("-1", -1), (7.0, 7), ("007", 7)]
)
def test_whole_numbers(value: object, expected: int) -> None:
    assert count(value) == expected


@pytest.mark.parametrize(
    "value",
    ["", "1.0", "1_0", " 1", "1\n", "0x1", "+1", "²", ARABIC, 1.5, 1e300, 10**18, LONG, None],
    ids=_brief,
)
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="is no whole number"):
        count(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10s", 10.0),
        ("0s", 0.0),
        ("1m30s", 90.0),
        ("1h1m1s", 3661.0),
        ("1.5s", 1.5),
        ("2ms", 0.002),
        ("3us", 3e-6),
        ("1m2ms", 60.002),
    ],
)
def test_durations(value: str, expected: float) -> None:
    assert seconds(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "10",
        "s",
        "-1s",
        "+1s",
        "1 s",
        "1s ",
        "1s1",
        "1.s",
        ".5s",
        "1d",
        "1S",
        "1e3s",
        "1s\n",
        f"{ARABIC}s",
    ],
)
def test_what_is_no_duration(value: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        seconds(value)


@pytest.mark.parametrize(
    "value", ["SIGUSR1", "USR1", "usr1", "sigusr1", "10", 10, 10.0, signal.SIGUSR1]
)
def test_signals(value: object) -> None:
    assert signal_number(value) == signal.SIGUSR1


@pytest.mark.parametrize("name", ["SIGRTMIN", "RTMAX", "TERM", "KILL"])
def test_every_signal_that_python_knows(name: str) -> None:
    assert signal_number(name) == signal.Signals[f"SIG{name.removeprefix('SIG')}"]


@pytest.mark.parametrize(
    "value",
    ["", "SIG", "SIGSIGTERM", "TERMINATE", "0", 0, -1, 65, 10**4000, "-15", ARABIC, "15\n", LONG],
    ids=_brief,
)
def test_what_is_no_signal(value: object) -> None:
    with pytest.raises(ValueError, match="is no signal"):
        signal_number(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, (5, 5)),
        (0, (0, 0)),
        (-1, (-1, -1)),
        (5.0, (5, 5)),
        ({"soft": 1, "hard": 2}, (1, 2)),
        ({"soft": 2, "hard": 2}, (2, 2)),
        ({"soft": 1, "hard": -1}, (1, -1)),
    ],
)
def test_ulimits(value: Any, expected: tuple[int, int]) -> None:
    assert ulimits({"nofile": value, "core": 0}) == {"nofile": expected, "core": (0, 0)}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"nofiles": 1}, "no limit 'nofiles', only: as, core"),
        ({"x" * (1 << 20): 1}, "no limit 'xx"),
        ({"nofile": {"soft": 2, "hard": 1}}, "above the hard one"),
        ({"nofile": {"soft": -1, "hard": 1}}, "above the hard one"),
        ({"nofile": 1 << 63}, "no whole number"),
        ({"nofile": {"soft": 1, "hard": 10**400}}, "no whole number"),
    ],
)
def test_what_is_no_ulimit(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ulimits(value)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("/a", Tmpfs(path="/a")),
        ("/a:", Tmpfs(path="/a")),
        ("/a b/ü", Tmpfs(path="/a b/ü")),
        ("/a:size=64m,mode=700", Tmpfs(path="/a", size=64 << 20, mode=0o700)),
        ("/a:mode=1777", Tmpfs(path="/a", mode=0o1777)),
        ("/a:uid=0,gid=65535", Tmpfs(path="/a", uid=0, gid=65_535)),
        ("/a:ro,exec", Tmpfs(path="/a", flags=frozenset({"ro", "exec"}))),
        ("/a:rw,noexec,nosuid,nodev", Tmpfs(path="/a")),
        ("/a:size=1k,size=2k", Tmpfs(path="/a", size=2048)),
        ("/a:,,size=1k,", Tmpfs(path="/a", size=1024)),
    ],
)
def test_directories_in_memory(entry: str, expected: Tmpfs) -> None:
    assert tmpfs_entries(entry) == (expected,)
    assert tmpfs_entries([entry, "/b"]) == (expected, Tmpfs(path="/b"))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("/a:foo", "'foo' is none of: size, mode"),
        ("/a:nr_inodes=1", "none of"),
        ("/a:size", "none of"),
        ("/a:exec=1", "none of"),
        ("/a:SIZE=1", "none of"),
        ("/a:" + "x" * 4000, "none of"),
        ("/a:size=0", "no size"),
        ("/a:size=-1", "no size"),
        ("/a:size=50%", "no size"),
        ("/a:size=" + "9" * 4000, "no size"),
        ("/a:mode=8", "no mode"),
        ("/a:mode=-1", "no mode"),
        ("/a:mode=00777", "no mode"),
        ("/a:mode=", "no mode"),
        ("/a:uid=-1", "no id"),
        ("/a:uid=65536", "no id"),
        ("/a:gid=root", "no id"),
        ("/a:gid=1,uid=0x1", "no id"),
        ("/", "'/' itself"),
        ("/:size=1m", "'/' itself"),
        ("//", "'/' itself"),
        ("/./", "'/' itself"),
        ("/a/..", "'/' itself"),
    ],
)
def test_what_is_no_directory_in_memory(entry: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        tmpfs_entries(["/b", entry])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["db=10.0.0.1"], [("db", "10.0.0.1")]),
        (["db:10.0.0.1"], [("db", "10.0.0.1")]),
        (["db=::1", "db:::1", "db=[::1]"], [("db", "::1")] * 3),
        (["db=fe80::1%eth0"], [("db", "fe80::1%eth0")]),
        ({"db": "10.0.0.1", "a.b-c_d": "::2"}, [("db", "10.0.0.1"), ("a.b-c_d", "::2")]),
        ({"db": ["10.0.0.1", "::1"], "none": []}, [("db", "10.0.0.1"), ("db", "::1")]),
    ],
)
def test_hosts(value: Any, expected: list[tuple[str, str]]) -> None:
    assert hosts(value) == tuple(expected)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (["db"], "not of the form"),
        ([""], "not of the form"),
        (["=10.0.0.1"], "no name"),
        (["a b=10.0.0.1"], "no name"),
        (["a\n=10.0.0.1"], "no name"),
        ({"a\0": "10.0.0.1"}, "no name"),
        ({"a" * 256: "10.0.0.1"}, "no name"),
        (["db=host-gateway"], "'host-gateway' is no address"),
        ({"db": "host-gateway"}, "'host-gateway' is no address"),
        ({"db": ["10.0.0.1", "host-gateway"]}, "'host-gateway' is no address"),
        (["db=10.0.0.256"], "no address"),
        (["db=10.0.0.1 evil"], "no address"),
        (["db=10.0.0.1\n6.6.6.6 bank"], "no address"),
        (["db=fe80::1%x\n6.6.6.6 bank"], "no address"),
        (["db=fe80::1%x 6.6.6.6"], "no address"),
        (["db=fe80::1%\0"], "no address"),
        (["db="], "no address"),
        (["db=167772161"], "no address"),
    ],
)
def test_what_is_no_host(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        hosts(value)
