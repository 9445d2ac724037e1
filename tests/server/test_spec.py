from __future__ import annotations

from typing import Any

import pytest

from lunette.server._problems import Problem
from lunette.server.engines.protocol import Capabilities
from lunette.server.spec import ServiceSpec, read_service, supported_keys

_WORDS = "image command entrypoint working_dir environment hostname labels network_mode"
KEYS = frozenset(_WORDS.split())
CAPABILITIES = Capabilities(isolation="none", images=("host", "small"), service_keys=KEYS)


def _read(**service: Any) -> ServiceSpec:
    return read_service("id", {"image": "host", **service}, CAPABILITIES)


def _refused(service: Any) -> tuple[str, str | None]:
    with pytest.raises(Problem) as caught:
        read_service("id", service, CAPABILITIES)
    assert caught.value.status == 422
    return caught.value.code, caught.value.key


def test_an_image_is_enough() -> None:
    found = _read().sandbox
    assert (found.id, found.image, found.command) == ("id", "host", None)
    assert (found.working_dir, found.hostname, found.environment) == (None, "sandbox", {})


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ({"command": "sleep 'a b'"}, ("sleep", "a b")),
        ({"command": ["sleep", "a b"]}, ("sleep", "a b")),
        ({"command": "echo $HOME; ls"}, ("echo", "$HOME;", "ls")),
        ({"command": None}, None),
        ({"command": ""}, None),
        ({"command": []}, None),
        ({"entrypoint": "a b"}, ("a", "b")),
        ({"entrypoint": ["a b"]}, ("a b",)),
        ({"entrypoint": None, "command": "c"}, ("c",)),
        ({"entrypoint": [], "command": "c"}, ("c",)),
        ({"entrypoint": "a b", "command": ["c d"]}, ("a", "b", "c d")),
        ({"command": ["", "x"]}, ("", "x")),
    ],
)
def test_command_and_entrypoint(service: dict[str, Any], command: tuple[str, ...] | None) -> None:
    assert _read(**service).sandbox.command == command


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"A": "x", "B": 1, "C": 1.5, "D": True, "E": False, "F": None, "G": ""},
         {"A": "x", "B": "1", "C": "1.5", "D": "true", "E": "false", "G": ""}),
        (["A=x", "B=1=2", "C", "D="], {"A": "x", "B": "1=2", "D": ""}),
        (["A=1", "A=2"], {"A": "2"}),
        ({}, {}),
        ([], {}),
    ],
)  # fmt: skip
def test_environment(value: Any, expected: dict[str, str]) -> None:
    assert _read(environment=value).sandbox.environment == expected


def test_a_variable_without_a_value_never_comes_from_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    for form in ({"AWS_SECRET": None}, ["AWS_SECRET"]):
        assert _read(environment=form).sandbox.environment == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": "x", "b": 1, "c": True, "d": None}, {"a": "x", "b": "1", "c": "true", "d": ""}),
        (["a=x", "b", "c=d=e"], {"a": "x", "b": "", "c": "d=e"}),
    ],
)
def test_labels(value: Any, expected: dict[str, str]) -> None:
    assert _read(labels=value).labels == expected


def test_the_values_of_the_environment_are_not_shown() -> None:
    assert _read(environment={"A": "s3cret"}).shown == {
        "image": "host",
        "environment": {"A": None},
    }
    assert _read(environment=["A=s3cret", "B"]).shown["environment"] == ["A", "B"]


def test_the_rest() -> None:
    found = _read(working_dir="/srv/a b", hostname="a-1.example", network_mode="none").sandbox
    assert (found.working_dir, found.hostname) == ("/srv/a b", "a-1.example")
    assert _read(**{"x-anything": {"a": 1}}).sandbox == _read().sandbox


@pytest.mark.parametrize(
    "key",
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent configs
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime
    cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices
    dns dns_opt dns_search domainname env_file expose extends external_links extra_hosts gpus
    group_add healthcheck init ipc isolation label_file links logging mac_address mem_limit
    mem_reservation mem_swappiness memswap_limit models networks oom_kill_disable oom_score_adj
    pid pids_limit platform ports post_start pre_stop privileged profiles provider pull_policy
    pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open
    stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user
    userns_mode uts volumes volumes_from x-lunette
    """.split(),  # noqa: SIM905, words are easier to compare with Compose's own list
)
@pytest.mark.parametrize("value", [None, False, {}, "/etc/passwd"])
def test_what_compose_knows_and_nobody_here_does_is_refused_by_name(key: str, value: Any) -> None:
    assert _refused({"image": "host", key: value}) == ("not_supported", key)
    assert _refused({key: value}) == ("not_supported", key)


@pytest.mark.parametrize("key", ["imagee", "Image", "", "x", "env", "lunette", "image ", "\0"])
def test_what_compose_does_not_know_is_invalid(key: str) -> None:
    assert _refused({"image": "host", key: 1}) == ("invalid_service", key)


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ({}, "image"),
        ({"image": ""}, "image"),
        ({"image": 1}, "image"),
        ({"image": "host", "command": 1}, "command"),
        ({"image": "host", "command": [1]}, "command.0"),
        ({"image": "host", "command": "'"}, "command"),
        ({"image": "host", "command": "a\0b"}, "command"),
        ({"image": "host", "entrypoint": "\\"}, "entrypoint"),
        ({"image": "host", "entrypoint": ["a\0"]}, "entrypoint"),
        ({"image": "host", "working_dir": "relative"}, "working_dir"),
        ({"image": "host", "working_dir": "/a\0"}, "working_dir"),
        ({"image": "host", "working_dir": "/" + "a" * 4096}, "working_dir"),
        ({"image": "host", "environment": "A=1"}, "environment"),
        ({"image": "host", "environment": {"A": []}}, "environment.A"),
        ({"image": "host", "environment": {"": "1"}}, "environment"),
        ({"image": "host", "environment": {"A=B": "1"}}, "environment"),
        ({"image": "host", "environment": {"A": "\0"}}, "environment"),
        ({"image": "host", "environment": ["=1"]}, "environment"),
        ({"image": "host", "environment": [1]}, "environment.0"),
        ({"image": "host", "hostname": "a_b"}, "hostname"),
        ({"image": "host", "hostname": "-a"}, "hostname"),
        ({"image": "host", "hostname": "a" * 64}, "hostname"),
        ({"image": "host", "hostname": "a\nb"}, "hostname"),
        ({"image": "host", "hostname": "a\n"}, "hostname"),
        ({"image": "host", "labels": 1}, "labels"),
        ({"image": "host", "network_mode": None}, "network_mode"),
    ],
)
def test_values_that_are_no_compose(service: dict[str, Any], key: str) -> None:
    assert _refused(service) == ("invalid_service", key)


@pytest.mark.parametrize("service", [None, [], "host", 1, True])
def test_no_service_at_all(service: Any) -> None:
    assert _refused(service) == ("invalid_request", "service")


@pytest.mark.parametrize("mode", ["host", "bridge", "service:x", "container:x", "", "NONE"])
def test_other_networks_are_not_supported(mode: str) -> None:
    assert _refused({"image": "host", "network_mode": mode}) == ("not_supported", "network_mode")


@pytest.mark.parametrize("image", ["python:3.11-slim", "HOST", "host ", "../host"])
def test_other_images_are_not_supported(image: str) -> None:
    assert _refused({"image": image}) == ("not_supported", "image")


def test_an_engine_that_can_less_is_asked_for_less() -> None:
    less = Capabilities(isolation="x", images=("host",), service_keys=frozenset({"image"}))
    assert supported_keys(less) == {"image", "labels"}
    with pytest.raises(Problem) as caught:
        read_service("id", {"image": "host", "hostname": "a"}, less)
    assert (caught.value.code, caught.value.key) == ("not_supported", "hostname")


def test_what_only_the_engine_knows_is_refused_and_not_lost() -> None:
    more = Capabilities(isolation="x", images=("host",), service_keys=KEYS | {"memswap_limit"})
    with pytest.raises(Problem) as caught:
        read_service("id", {"image": "host", "memswap_limit": "1g"}, more)
    assert (caught.value.code, caught.value.key) == ("not_supported", "memswap_limit")
