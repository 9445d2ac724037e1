from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lunette.server.engines.protocol import EngineUnavailableError
from lunette.server.engines.selection import select
from lunette.server.settings import Settings

VARIABLES = {
    "allow_unenforced_limits": "LUNETTE_ALLOW_UNENFORCED_LIMITS",
    "log_limit": "LUNETTE_LOG_LIMIT",
    "registry_mirrors": "LUNETTE_REGISTRY_MIRRORS",
    "insecure_registries": "LUNETTE_INSECURE_REGISTRIES",
    "disk_limit": "LUNETTE_DISK_LIMIT",
    "ttl": "LUNETTE_TTL",
    "idle_timeout": "LUNETTE_IDLE_TIMEOUT",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(no_configuration: Path) -> Path:
    return no_configuration / "config.json"


def test_the_defaults(no_configuration: Path) -> None:
    found = Settings.read()
    assert found == Settings(
        images=no_configuration / "images", mirrors={}, insecure=(), disk=10 << 30
    )


def test_the_file(file: Path) -> None:
    file.write_text(
        json.dumps(
            {
                "registry_mirrors": ["docker.io=mirror.example:5000", " ghcr.io=ghcr.example "],
                "insecure_registries": ["mirror.example:5000", ""],
                "disk_limit": "2g",
                "api_key": "k",
                "unknown": 1,
            }
        )
    )
    found = Settings.read()
    assert found.mirrors == {"docker.io": "mirror.example:5000", "ghcr.io": "ghcr.example"}
    assert (found.insecure, found.disk) == (("mirror.example:5000",), 2 << 30)


def test_the_environment_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        json.dumps(
            {
                "registry_mirrors": ["docker.io=from.file"],
                "insecure_registries": ["from.file"],
                "disk_limit": 5,
            }
        )
    )
    monkeypatch.setenv("LUNETTE_REGISTRY_MIRRORS", "docker.io=one.example, ghcr.io=two.example,")
    monkeypatch.setenv("LUNETTE_DISK_LIMIT", "1 GiB")
    found = Settings.read()
    assert found.mirrors == {"docker.io": "one.example", "ghcr.io": "two.example"}
    assert (found.insecure, found.disk) == (("from.file",), 1 << 30)
    monkeypatch.setenv("LUNETTE_INSECURE_REGISTRIES", "a.example,b.example:80")
    assert Settings.read().insecure == ("a.example", "b.example:80")


def test_the_limit_of_a_log(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().log == 64 << 20
    file.write_text('{"log_limit": "1g"}')
    assert Settings.read().log == 1 << 30
    monkeypatch.setenv("LUNETTE_LOG_LIMIT", "1m")
    assert Settings.read().log == 1 << 20


def test_limits_that_nothing_keeps(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.read().allow_unenforced_limits
    file.write_text('{"allow_unenforced_limits": true}')
    assert Settings.read().allow_unenforced_limits
    monkeypatch.setenv("LUNETTE_ALLOW_UNENFORCED_LIMITS", "0")
    assert not Settings.read().allow_unenforced_limits


def test_lifetimes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings.read().ttl, Settings.read().idle_timeout) == (24 * 3600, 3600)
    file.write_text('{"ttl": 90.5, "idle_timeout": 0}')
    assert (Settings.read().ttl, Settings.read().idle_timeout) == (90.5, None)
    monkeypatch.setenv("LUNETTE_TTL", "1h30m")
    assert Settings.read().ttl == 5400
    given = Settings.read({"ttl": "0", "idle_timeout": None})
    assert (given.ttl, given.idle_timeout) == (None, None)


def test_an_empty_variable_is_an_unset_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('{"disk_limit": 7, "insecure_registries": ["a"]}')
    for name in VARIABLES.values():
        monkeypatch.setenv(name, "")
    found = Settings.read()
    assert (found.disk, found.insecure, found.mirrors) == (7, ("a",), {})


WRONG: dict[str, list[Any]] = {
    "allow_unenforced_limits": [None, 2, "yes", [], {}],
    "log_limit": [0, "1023k", "lots", None],
    "disk_limit": [0, -1, True, None, 1.5e300, "10 bananas", "", [], {}],
    "ttl": [-1, "soon", None, True, "1d", "9" * 400 + "h", 31536001],
    "registry_mirrors": [1, {"a": "b"}, [1], ["docker.io"], ["=b"], ["a="]],
    "insecure_registries": [1, "a.example", {}, [None], [["a"]]],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value_in_the_file_is_named(file: Path, key: str, value: Any) -> None:
    file.write_text(json.dumps({key: value}))
    with pytest.raises(EngineUnavailableError, match=key):
        Settings.read()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("allow_unenforced_limits", "yes"),
        *(("disk_limit", t) for t in ("0", "-1", "lots", "1e400", "9" * 400)),
        *(("idle_timeout", t) for t in ("-1", "soon", "1e3", "9000h")),
        *(("registry_mirrors", t) for t in ("docker.io", "a=b,c", "=b", "a=")),
    ],
)
def test_a_wrong_variable_is_named(key: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES[key], text)
    with pytest.raises(EngineUnavailableError, match=VARIABLES[key]):
        Settings.read()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": 1'],
    ids=lambda content: repr(content[:10]),
)  # fmt: skip
def test_a_file_that_is_none_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(EngineUnavailableError, match="config"):
        Settings.read()


def test_a_file_that_cannot_be_read(file: Path) -> None:
    file.mkdir()
    with pytest.raises(EngineUnavailableError, match="cannot read"):
        Settings.read()


def test_a_home_that_is_no_directory(
    no_configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no file then, and it is for the store to say so."""
    (no_configuration / "file").write_text("")
    monkeypatch.setenv("LUNETTE_HOME", str(no_configuration / "file"))
    assert Settings.read().disk == 10 << 30


def test_a_user_without_a_home_has_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUNETTE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    found = Settings.read()
    assert found.images.parent == Path(tempfile.gettempdir())
    assert str(os.geteuid()) in found.images.name


def test_an_engine_says_what_is_wrong_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_DISK_LIMIT", "lots")
    with pytest.raises(EngineUnavailableError, match=r"LUNETTE_DISK_LIMIT.*'lots' is no size"):
        select("bubblewrap")


def test_how_long_a_server_waits_for_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().grace == 5
    monkeypatch.setenv("LUNETTE_GRACE", "1m30s")
    assert Settings.read().grace == 90
    assert Settings.read({"grace": "0"}).grace == 0
    with pytest.raises(EngineUnavailableError, match="grace"):
        Settings.read({"grace": "soon"})
