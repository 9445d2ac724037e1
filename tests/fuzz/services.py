"""Compose services that mostly can be made, and images as they may be asked for."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

from origin import GOOD, REFUSED

__all__ = ["aimed_reference", "aimed_service", "bounded_service"]

# What the contract's schema makes of them is good as it is.
_KEPT = ("working_dir", "environment", "hostname", "labels")
_VALID: dict[str, tuple[Any, ...]] = {
    "user": ("0", 0, "root", 65534, "1000:1000", "nobody", "nobody:root", "65535:65535"),
    "network_mode": ("none",),
    "pull_policy": ("missing", "if_not_present", "never"),
    "platform": ("linux",),
    "pids_limit": (4096, "200", 64, 12),
    "deploy": ({"resources": {"limits": {"pids": 64}}}, {"resources": {}}, {}, {"x-a": None}),
    "shm_size": (65536, "64m", "1.5 MiB", "100kb"),
    "tmpfs": (
        *("/cache", "/srv:uid=1000,gid=1000,exec,size=8m", "/a/b/c:ro", "/workspace", "/tmp"),
        ["/cache:size=64k,mode=1777", "/workspace/deep:size=8m"],
    ),
    "read_only": (True, False),
    "init": (True, False),
    "extra_hosts": (
        ["db=10.0.0.1", "v6:::1", "x=[::1]"],
        {"db": ["10.0.0.1", "::1"], "one": "127.0.0.1"},
    ),
    "stop_signal": ("SIGTERM", "INT", 15, "9", "SIGRTMIN"),
    "stop_grace_period": ("0s", "100ms", "0.3s"),
    "ulimits": (
        *({"nofile": {"soft": 64, "hard": 256}, "core": 0}, {"nproc": 50, "cpu": 10}),
        *({"fsize": 1 << 20, "stack": 8 << 20}, {"core": -1}),
    ),
    "storage_opt": ({"size": "64m"}, {"size": 33554432}, {}),
}
_NEARLY_VALID: dict[str, tuple[Any, ...]] = {
    "user": ("65536", "no-such", ":", "0:no-such", "\u0663", "-1", 1e3),
    "network_mode": ("host", "bridge", ""),
    "pull_policy": ("build", "Always", ""),
    "platform": ("linux/s390x", "windows", "", "linux/"),
    "pids_limit": (0, -1, 4, 5, 4097, "-1", 64.0, "9" * 30),
    "deploy": (
        *({"replicas": 2}, {"resources": {"reservations": {}}}),
        *({"resources": {"limits": limits}} for limits in ({"memory": "64m"}, {"pids": "x"})),
    ),
    "shm_size": (0, "0.1b", "9999999t", 1 << 60, 1),
    "tmpfs": (
        *("/", "/..", "/proc", "/dev/shm", "/etc", "/usr/lib", "/dev", f"/{'a' * 300}", "/a/../b"),
        *("/x:size=0", "/x:size=1", "/x:mode=9", "/x:uid=65536", "/x:bogus", "/x:size=1152921t"),
        *(["/a", "/a"], ["/a/b", "/a"], "/etc/passwd", "/\ud7ff", "/workspace:mode=0"),
    ),
    "extra_hosts": (["x"], ["=1"], ["x=host-gateway"], {"\u00fc": "1.2.3.4"}, ["a=fe80::1%e"]),
    "stop_signal": ("SIGNO", 0, 65, "", -1, 15.0),
    "stop_grace_period": ("10", "61s", "-1s", "", f"{'9' * 60}h"),
    "ulimits": (
        *({name: 0} for name in ("nofile", "fsize", "nproc", "data", "stack", "cpu", "memlock")),
        *({name: 1 << 20} for name in ("as", "data", "locks")),
        *({"nofile": 1 << 40}, {"nofile": {"soft": 5, "hard": 4}}, {"core": -2}, {"rttime": 1}),
        *({"nproc": 1 << 62}, {"rtprio": 99, "nice": 40}, {"core": 0.0}, {"core": 10**20}),
    ),
    "storage_opt": ({"size": "0"}, {"size": "100t"}, {"inodes": 1}, {"size": "x"}),
    "mem_limit": ("64m", 0),
    "cpus": (0.5, "0.5"),
    "build": (".", {"context": "."}),
    "env_file": (".env",),
    "x-lunette": ({},),
    "volumes": (["/etc:/etc"],),
    "privileged": (True,),
}
_COMMANDS = ("sleep 60", "true", ["sh", "-c", "exit 4"], ["/no/such"], "sh -c 'trap : 15; sleep 9'")
_INVALID = (
    *("UPPER/Case", "a//b", "a:b:c", "small@sha256:1", "http://a/b", "-", "small:", ":5000/a"),
    *(".", "..", "../a", "a/../b", "a b", "\u00e9", "%2e", "a?b#c", "a:99999/b", "[::1]:0/a"),
    *("f" * 64, "a" * 512, f"a/{'b' * 300}", f"small:{'c' * 129}", "host/"),
)
# Where nobody listens, or what only a proxy could reach: each is tried for a second or two.
_UNREACHABLE = ("registry.invalid/a/b:c", "192.0.2.1:5000/a", "[::1]:1/a")


def aimed_reference(choice: random.Random, given: str, *, weights: tuple[float, ...]) -> str:
    """Choose an image that is good, that is refused, that has no name, or the *given* one."""
    kinds = (GOOD, REFUSED, _INVALID, (given,))
    if choice.random() < 0.01:
        return choice.choice(_UNREACHABLE)
    return choice.choice(choice.choices(kinds, weights)[0])


def aimed_service(choice: random.Random, given: Mapping[str, Any]) -> dict[str, Any]:
    """Make a service of what is good in *given*, and of up to four other keys."""
    found = {key: given[key] for key in _KEPT if key in given}
    found["image"] = "host"
    if choice.random() < 0.1:
        found["image"] = aimed_reference(choice, "small", weights=(0.6, 0.2, 0.1, 0.1))
    if choice.random() < 0.1:
        found["command"] = choice.choice(_COMMANDS)
    if choice.random() < 0.5:
        found |= _some(choice, _VALID, choice.randint(1, 3))
    if choice.random() < 0.15:
        found |= _some(choice, _NEARLY_VALID, 1)
    return bounded_service(choice, found)


def bounded_service(choice: random.Random, service: dict[str, Any]) -> dict[str, Any]:
    """Let no sandbox take long to be destroyed."""
    if "stop_signal" in service and "stop_grace_period" not in service:
        service["stop_grace_period"] = choice.choice(_VALID["stop_grace_period"])
    return service


def _some(choice: random.Random, values: Mapping[str, tuple[Any, ...]], number: int) -> Any:
    keys = choice.sample(list(values), number)
    return {key: copy.deepcopy(choice.choice(values[key])) for key in keys}
