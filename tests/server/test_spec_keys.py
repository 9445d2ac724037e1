"""Every key that an engine supports, in each of its forms, and what is wrong for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from lunette.server._problems import Problem
from lunette.server.engines.bubblewrap.engine import BubblewrapEngine
from lunette.server.engines.protocol import Capabilities, SandboxSpec, Tmpfs
from lunette.server.settings import Settings
from lunette.server.spec import read_service

_NAMES = """
    command cpus deploy entrypoint environment extra_hosts hostname image init mem_limit
    network_mode pids_limit platform pull_policy read_only shm_size stop_grace_period stop_signal
    storage_opt tmpfs ulimits user working_dir
"""
FULL = Capabilities(
    isolation="none",
    images=("host",),
    service_keys=frozenset(_NAMES.split()),
    pulls_images=True,
    platform="linux/amd64",
    limits={"processes": 4096, "disk": 10 << 30},
)
PLAIN = SandboxSpec(id="id", image="host")
MEGABYTE = "x" * (1 << 20)


def _full(**service: Any) -> SandboxSpec:
    """Read a service as it comes over the wire."""
    sent = json.loads(json.dumps({"image": "host", **service}))
    return read_service("id", sent, FULL).sandbox


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"image": "python:3.11-slim"}, {"image": "python:3.11-slim"}),
        ({"image": "localhost:5000/a/b@sha256:" + "0" * 64}, {}),
        ({"command": "a 'b c'"}, {"command": ("a", "b c")}),
        ({"command": ["a", "b c"]}, {"command": ("a", "b c")}),
        ({"entrypoint": "a", "command": ["b"]}, {"command": ("a", "b")}),
        ({"entrypoint": ["a"], "command": "b"}, {"command": ("a", "b")}),
        ({"working_dir": "/srv"}, {"working_dir": "/srv"}),
        ({"environment": {"A": 1}}, {"environment": {"A": "1"}}),
        ({"environment": ["A=1"]}, {"environment": {"A": "1"}}),
        ({"hostname": "box"}, {"hostname": "box"}),
        ({"network_mode": "none"}, {}),
        ({"init": True}, {}),
        ({"init": False}, {}),
        ({"platform": "linux"}, {}),
        ({"platform": "Linux/AMD64"}, {}),
        ({"pull_policy": "missing"}, {}),
        ({"pull_policy": "if_not_present"}, {}),
        ({"pull_policy": "always"}, {"pull_policy": "always"}),
        ({"pull_policy": "never"}, {"pull_policy": "never"}),
        ({"user": 1000}, {"user": "1000"}),
        ({"user": 0}, {"user": "0"}),
        ({"user": "app:staff"}, {"user": "app:staff"}),
        ({"read_only": True}, {"read_only": True}),
        ({"read_only": False}, {}),
        ({"shm_size": 1024}, {"shm_size": 1024}),
        ({"shm_size": "1 kb"}, {"shm_size": 1024}),
        ({"mem_limit": "64m"}, {"mem_limit": 64 << 20}),
        ({"deploy": {"resources": {"limits": {"memory": "1g"}}}}, {"mem_limit": 1 << 30}),
        ({"cpus": 0.5}, {"cpus": 0.5}),
        ({"cpus": ".5", "deploy": {"resources": {"limits": {"cpus": "0.50"}}}}, {"cpus": 0.5}),
        ({"deploy": {"resources": {"limits": {"cpus": 2}}}}, {"cpus": 2.0}),
        ({"pids_limit": 50}, {"pids_limit": 50}),
        ({"pids_limit": "50"}, {"pids_limit": 50}),
        ({"pids_limit": 4096}, {"pids_limit": 4096}),
        ({"deploy": {"resources": {"limits": {"pids": 50}}}}, {"pids_limit": 50}),
        ({"deploy": {"resources": {"limits": {"pids": "50"}}}}, {"pids_limit": 50}),
        (
            {"deploy": {"resources": {"limits": {"pids": "50"}}}, "pids_limit": 50},
            {"pids_limit": 50},
        ),
        ({"deploy": {}}, {}),
        ({"deploy": {"x-a": 1, "resources": {"x-b": 1, "limits": {"x-c": 1}}}}, {}),
        ({"storage_opt": {"size": "2g"}}, {"disk": 2 << 30}),
        ({"storage_opt": {"size": 10 << 30}}, {"disk": 10 << 30}),
        ({"storage_opt": {}}, {}),
        ({"tmpfs": "/a:size=1m"}, {"tmpfs": (Tmpfs(path="/a", size=1 << 20),)}),
        ({"tmpfs": ["/a", "/b:ro"]},
         {"tmpfs": (Tmpfs(path="/a"), Tmpfs(path="/b", flags=frozenset({"ro"})))}),
        ({"extra_hosts": ["a=10.0.0.1", "b:::1"]},
         {"extra_hosts": (("a", "10.0.0.1"), ("b", "::1"))}),
        ({"extra_hosts": {"a": "10.0.0.1", "b": ["::1"]}},
         {"extra_hosts": (("a", "10.0.0.1"), ("b", "::1"))}),
        ({"ulimits": {"nofile": 256, "core": {"soft": 0, "hard": -1}}},
         {"ulimits": {"nofile": (256, 256), "core": (0, -1)}}),
        ({"stop_signal": "SIGINT"}, {"stop_signal": 2}),
        ({"stop_signal": 2}, {"stop_signal": 2}),
        ({"stop_grace_period": "1m"}, {"stop_grace_period": 60.0}),
        ({"stop_grace_period": "0s"}, {"stop_grace_period": 0.0}),
    ],
)  # fmt: skip
def test_each_key_in_its_forms_reaches_the_engine(
    service: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert _full(**service) == evolve(PLAIN, **{"image": service.get("image", "host"), **expected})


def test_every_key_of_bubblewrap_is_in_the_table_above() -> None:
    settings = Settings(allow_unenforced_limits=True)  # which a machine may not be able to enforce
    assert BubblewrapEngine(settings).capabilities.service_keys == FULL.service_keys
    (mark,) = (
        mark
        for mark in test_each_key_in_its_forms_reaches_the_engine.pytestmark
        if mark.name == "parametrize"
    )
    assert {key for service, _ in mark.args[1] for key in service} == FULL.service_keys


def _limits(**limits: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {"limits": limits}}}


@pytest.mark.parametrize(
    ("service", "key"),
    [
        (_limits(devices=[]), "deploy.resources.limits.devices"),
        ({"deploy": {"resources": {"reservations": {}}}}, "deploy.resources.reservations"),
        ({"deploy": {"mode": "replicated"}}, "deploy.mode"),
        ({"deploy": {"replicas": 2}}, "deploy.replicas"),
        ({"env_file": "/etc/shadow"}, "env_file"),
        ({"env_file": [{"path": "/etc/shadow", "required": False}]}, "env_file"),
        ({"build": "/"}, "build"),
        ({"build": {"context": "/", "dockerfile_inline": "FROM scratch"}}, "build"),
        ({"extends": {"file": "/etc/shadow", "service": "x"}}, "extends"),
        ({"label_file": "/etc/shadow"}, "label_file"),
        ({"volumes": ["/:/host"]}, "volumes"),
        ({"privileged": True}, "privileged"),
        ({"x-lunette": {}}, "x-lunette"),
        ({"network_mode": "host"}, "network_mode"),
        ({"network_mode": "container:x"}, "network_mode"),
        ({"network_mode": "service:x"}, "network_mode"),
        ({"network_mode": MEGABYTE}, "network_mode"),
        ({"platform": "linux/arm64"}, "platform"),
        ({"platform": "linux/amd64/v9"}, "platform"),
        ({"platform": ""}, "platform"),
        ({"pull_policy": "build"}, "pull_policy"),
        ({"pull_policy": "daily"}, "pull_policy"),
        ({"pull_policy": ""}, "pull_policy"),
        ({"pull_policy": MEGABYTE}, "pull_policy"),
        ({"pids_limit": -1}, "pids_limit"),
        ({"pids_limit": 0}, "pids_limit"),
        ({"pids_limit": 4097}, "pids_limit"),
        ({"pids_limit": "99999999999999999"}, "pids_limit"),
        (_limits(pids=0), "pids_limit"),
        ({"storage_opt": {"size": "11g"}}, "storage_opt.size"),
        ({"storage_opt": {"dm.basesize": "1g"}}, "storage_opt.dm.basesize"),
        ({"stop_grace_period": "61s"}, "stop_grace_period"),
        ({"stop_grace_period": "9" * 60 + "h"}, "stop_grace_period"),
    ],
)  # fmt: skip
def test_what_no_engine_here_keeps_is_named(service: dict[str, Any], key: str) -> None:
    problem = _problem(service)
    assert (problem.code, problem.key) == ("not_supported", key)


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ({"mem_limit": "1g"}, "mem_limit"),
        ({"cpus": 0.5}, "cpus"),
        (_limits(memory="1g"), "deploy.resources.limits.memory"),
        (_limits(cpus=1, pids=5), "deploy.resources.limits.cpus"),
    ],
)
def test_limits_that_nothing_enforces(service: dict[str, Any], key: str) -> None:
    keys = FULL.service_keys - {"mem_limit", "cpus"}
    with pytest.raises(Problem) as caught:
        read_service("id", {"image": "host", **service}, evolve(FULL, service_keys=keys))
    assert (caught.value.code, caught.value.key) == ("not_supported", key)


WRONG: dict[str, list[Any]] = {
    "command": [1, True, {}, [1], [None], "'", "a\0", ["\0"]],
    "cpus": [None, True, 0, 0.001, -1, "", "x", "1e3", "nan", "9" * 33, 10**400, [], {}],
    "deploy": [None, 1, "", [], {"resources": None}, {"resources": {"limits": []}}],
    "deploy.resources.limits.pids": ["", "abc", True, None, 1.5, [], "1e3", "9" * 5000, MEGABYTE],
    "deploy.resources.limits.cpus": [True, "x", "nan", "inf", -1, [], "9" * 400, MEGABYTE],
    "deploy.resources.limits.memory": [True, "1 banana", -1, None],
    "entrypoint": [1, True, {}, [1], "\\", "a\0"],
    "environment": [1, "A=1", True, [1], {"A": []}, {"": "1"}, {"A": "\0"}, ["=1"]],
    "extra_hosts": [None, 1, "a=1.1.1.1", ["a"], ["a=b"], [1], {"a": 1}, {"a": [1]}, [MEGABYTE],
                    {"a": "host-gateway"}, ["a=host-gateway"], ["a=1.1.1.1\nb"], ["a\0=1.1.1.1"],
                    ["a=1.1.1.1"] * 1025],
    "hostname": [None, 1, "", "a b", "a\n", "\0", "a" * 64, MEGABYTE],
    "image": [None, 1, "", "A", " ", "a b", "a\0", "../a", MEGABYTE, []],
    "init": [None, 0, 1, "true", "", {}],
    "labels": [None, 1, "a", [1], {"a": []}],
    "mem_limit": [None, True, 0, -1, 1.5, "", "1x", "9" * 400, 10**400, MEGABYTE, [], 1 << 61],
    "network_mode": [None, 1, True, []],
    "pids_limit": [None, True, 1.5, "", "x", "1.0", "1 ", "0x9", "9" * 33, 10**400, [], {}],
    "platform": [None, 1, [], MEGABYTE],
    "pull_policy": [None, 1, True, [], {}],
    "read_only": [None, 0, 1, "true", "yes", {}],
    "shm_size": [None, True, 0, -1, 1.5, "", "0", "-1", "1x", "1e400", 10**400, "9" * 70, MEGABYTE,
                 [], {}, 1 << 61],
    "stop_grace_period": [None, 10, "", "10", "-1s", "soon", "1s\0", MEGABYTE, {}],
    "stop_signal": [None, True, 0, -1, 999, "", "SIGNOTHING", "TERM\0", 1.5, MEGABYTE, 10**400, []],
    "storage_opt": [None, 1, "size=1g", [], {"size": None}, {"size": True}, {"size": {}}],
    "storage_opt.size": [0, -1, "", "0", "-1", "1x", "1e400", "9" * 400, 10**400, MEGABYTE],
    "tmpfs": [None, 1, True, {}, "", "a", ["a"], "/a\0", [1], "/a:foo", "/a:size=0", "/a:size=-1",
              "/a:size=" + "9" * 400, "/a:mode=9", "/a:uid=-1", "/" + "a" * 4096, MEGABYTE, "/",
              ["/a"] * 65],
    "ulimits": [None, 1, "nofile=1", [], {"nofile": None}, {"nofile": True}, {"nofile": "1"},
                {"nofile": -2}, {"nofile": 1.5}, {"nofile": 1 << 64}, {"nofile": 10**400},
                {"nofile": {"soft": 1}}, {"nofile": {"soft": 2, "hard": 1}}, {"nofiles": 1},
                {"nofile": {"soft": 1, "hard": 2, "x": 3}}, {MEGABYTE: 1}, {"no\0file": 1}],
    "user": [None, -1, True, 1.5, "", "a\0", "x" * 257, MEGABYTE, [], {}],
    "working_dir": [None, 1, "", "a", "/a\0", MEGABYTE, []],
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_wrong_and_hostile_values_are_named(path: str) -> None:
    *outer, key = path.split(".")
    for value in WRONG[path]:
        service = {key: value}
        for name in reversed(outer):
            service = {name: service}
        problem = _problem(service)
        case = (repr(value)[:60], problem.key, problem.detail[:200])
        assert (problem.status, problem.code) == (422, "invalid_service"), case
        assert problem.key == path or str(problem.key).startswith(f"{path}."), case
        assert (path in problem.detail) or key == "image", case


def test_values_of_every_key_are_attacked() -> None:
    assert {path.partition(".")[0] for path in WRONG} == FULL.service_keys | {"labels"}


def test_limits_that_say_two_things() -> None:
    problem = _problem({"pids_limit": 50, **_limits(pids="51")})
    assert (problem.code, problem.key) == ("invalid_service", "pids_limit")
    problem = _problem({"mem_limit": "1g", **_limits(memory="1025m")})
    assert (problem.code, problem.key) == ("invalid_service", "mem_limit")


def _problem(service: dict[str, Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        _full(**service)
    assert caught.value.status == 422
    return caught.value
