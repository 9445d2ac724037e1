"""Docker's config.json, and helpers that are real programs."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lunette.server.images import _credentials
from lunette.server.images._credentials import Credentials, find_credentials
from lunette.server.images.errors import RegistryError

SECRET = "s3cret:w\u00f6rd"
AUTH = base64.b64encode(f"ann:{SECRET}".encode()).decode()
ANN = Credentials("ann", SECRET)
HUB = "https://index.docker.io/v1/"


def configure(directory: Path, **config: Any) -> None:
    (directory / "config.json").write_text(json.dumps(config))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory


def helper(programs: Path, script: str, name: str = "test") -> None:
    path = programs / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\nread server\n{script}\n')
    path.chmod(0o755)


def test_no_file_is_no_login(docker_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_credentials("h.io") is None
    (docker_config / "file").touch()
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config / "file"))
    assert find_credentials("h.io") is None


def test_the_home_is_where_it_is_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    configure(tmp_path / ".docker", auths={"h.io": {"auth": AUTH}})
    assert find_credentials("h.io") == ANN


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("h.io", "h.io"),
        ("h.io:5000", "h.io:5000"),
        ("https://h.io", "h.io"),
        ("https://h.io/v2/", "h.io"),
        ("http://h.io:5000/v1/", "h.io:5000"),
        (HUB, "docker.io"),
        ("https://index.docker.io/v1", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_keys(docker_config: Path, key: str, registry: str) -> None:
    configure(docker_config, auths={key: {"auth": AUTH}, "other": {"auth": "bm86bm8="}})
    assert find_credentials(registry) == ANN
    assert find_credentials("else.where") is None
    assert find_credentials(f"x{registry}") is None


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ({"auth": AUTH}, ANN),
        ({"username": "ann", "password": SECRET}, ANN),
        ({"auth": AUTH, "username": "bob", "password": "x"}, ANN),
        ({"identitytoken": "t"}, Credentials("", "", "t")),
        ({"auth": AUTH, "identitytoken": "t"}, Credentials("ann", SECRET, "t")),
        ({"auth": base64.b64encode(b"ann:x\0\0").decode()}, Credentials("ann", "x")),
        ({}, None),
        ({"auth": ""}, None),
        ({"email": "a@b"}, None),
    ],
)
def test_logins(docker_config: Path, login: dict[str, str], expected: Credentials | None) -> None:
    configure(docker_config, auths={"h.io": login})
    assert find_credentials("h.io") == expected


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "\ufffe",
        '{"auths": [1]}',
        '{"auths": {"h.io": "s3cret"}}',
        '{"auths": {"h.io": {"auth": "s3cret"}}}',
        '{"auths": {"h.io": {"auth": 7}}}',
        '{"auths": {"h.io": {"auth": "czNjcmV0"}}}',
        '{"auths": {"h.io": {"username": "ann", "password": ["s3cret"]}}}',
        '{"credHelpers": "s3cret"}',
        '{"credHelpers": {"h.io": "../s3cret"}}',
        '{"credHelpers": {"h.io": "a b"}}',
        '{"credsStore": "no-such-helper"}',
        '{"credsStore": 7}',
    ],
)
def test_a_broken_file_is_named_and_not_shown(docker_config: Path, content: str) -> None:
    path = docker_config / "config.json"
    path.write_text(content)
    with pytest.raises(RegistryError) as raised:
        find_credentials("h.io")
    assert str(path) in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert "czNjcmV0" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(docker_config: Path) -> None:
    (docker_config / "config.json").mkdir()
    with pytest.raises(RegistryError, match=r"cannot read .*config\.json"):
        find_credentials("h.io")


def test_a_helper(docker_config: Path, programs: Path) -> None:
    answer = json.dumps({"ServerURL": "x", "Username": "ann", "Secret": SECRET})
    helper(programs, f"""[ "$server" = h.io ] && echo '{answer}'""")
    configure(docker_config, credHelpers={"h.io": "test"}, credsStore="none")
    assert find_credentials("h.io") == ANN


def test_a_store_for_all(docker_config: Path, programs: Path) -> None:
    helper(programs, """echo '{"Username": "ann", "Secret": "'$server'"}'""")
    configure(docker_config, credsStore="test", auths={"h.io": {}})
    assert find_credentials("h.io") == Credentials("ann", "h.io")
    assert find_credentials("docker.io") == Credentials("ann", HUB)


def test_a_helper_may_have_an_identity_token(docker_config: Path, programs: Path) -> None:
    helper(programs, """echo '{"Username": "<token>", "Secret": "t"}'""")
    configure(docker_config, credsStore="test")
    assert find_credentials("h.io") == Credentials("", "", "t")


def test_a_helper_that_has_no_login(docker_config: Path, programs: Path) -> None:
    helper(programs, "echo credentials not found in native keychain; exit 1")
    configure(docker_config, credsStore="test", auths={"a.io": {"auth": AUTH}})
    assert find_credentials("h.io") is None
    assert find_credentials("a.io") == ANN


@pytest.mark.parametrize(
    "script",
    [
        "echo s3cret; exit 3",
        "kill -9 $$",
        "echo s3cret",
        "echo '{}'",
        "echo '[\"s3cret\"]'",
        """echo '{"Username": "ann"}'""",
        """echo '{"Username": "ann", "Secret": 7}'""",
        "exec <&-",
    ],
)
def test_a_broken_helper_is_named(docker_config: Path, programs: Path, script: str) -> None:
    helper(programs, script)
    configure(docker_config, credsStore="test")
    with pytest.raises(RegistryError, match="docker-credential-test") as raised:
        find_credentials("h.io")
    assert str(docker_config) in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_helper_that_hangs_is_killed_with_what_it_started(
    docker_config: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_credentials, "_HELPER_SECONDS", 0.2)
    fifo = programs / "fifo"
    os.mkfifo(fifo)
    # Both wait for a writer that never comes, and hold the pipe meanwhile.
    helper(programs, f"cat {fifo} & cat {fifo}")
    configure(docker_config, credsStore="test")
    with pytest.raises(RegistryError, match="no answer in time"):
        find_credentials("h.io")


def test_nothing_of_it_is_shown() -> None:
    shown = repr(Credentials("ann", SECRET, "t0ken"))
    assert not any(text in shown for text in ("ann", SECRET, "t0ken"))


def test_basic() -> None:
    assert ANN.basic == f"Basic {AUTH}"
