from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lunette import LunetteClient
from lunette.config import HOSTED, Config, config_path, resolve
from lunette.errors import ConfigError


def write(home: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (home / "config.json").write_text(text)


def test_nothing_configured_is_the_embedded_server() -> None:
    assert resolve() == Config(base_url="embedded", api_key=None, timeout=None)


def test_each_key_by_itself(no_configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(no_configuration, {"api_key": "file", "base_url": "https://file", "timeout": 3})
    assert resolve() == Config("https://file", "file", 3.0)
    monkeypatch.setenv("LUNETTE_API_KEY", "environment")
    assert resolve() == Config("https://file", "environment", 3.0)
    monkeypatch.setenv("LUNETTE_BASE_URL", "https://environment/")
    assert resolve() == Config("https://environment", "environment", 3.0)
    assert resolve("argument", timeout=1) == Config("https://environment", "argument", 1.0)
    assert resolve(base_url="unix:///run/x") == Config("unix:///run/x", "environment", 3.0)


def test_a_key_alone_means_the_hosted_service(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("key") == Config(HOSTED, "key", None)
    monkeypatch.setenv("LUNETTE_API_KEY", "key")
    assert resolve() == Config(HOSTED, "key", None)


def test_embedded_wins_over_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_API_KEY", "key")
    assert resolve(base_url="embedded") == Config("embedded", None, None)


def test_empty_variables_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_API_KEY", "")
    monkeypatch.setenv("LUNETTE_BASE_URL", "")
    assert resolve().base_url == "embedded"


def test_the_file_is_in_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LUNETTE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path() == tmp_path / ".lunette" / "config.json"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("{", "config.json is not valid JSON.*line 1"),
        ("[]", "config.json must hold a JSON object, not list"),
        ({"api_key": 1}, "'api_key' in .*config.json must be a string, not int"),
        ({"api_key": "a b"}, "'api_key' in .*config.json must be printable ASCII"),
        ({"base_url": ["x"]}, "'base_url' in .*config.json must be a string, not list"),
        ({"base_url": "ftp://x"}, "'base_url' in .*config.json must be https://"),
        ({"timeout": "3"}, "'timeout' in .*config.json must be a number of seconds, not str"),
        ({"timeout": True}, "'timeout' in .*config.json must be a number of seconds, not bool"),
        ({"timeout": 0}, "'timeout' in .*config.json must be a number of seconds above 0"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(
    no_configuration: Path, content: Any, names: str
) -> None:
    write(no_configuration, content)
    with pytest.raises(ConfigError, match=names):
        resolve()


def test_an_unreadable_file_is_named(no_configuration: Path) -> None:
    (no_configuration / "config.json").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read the configuration file.*config.json"):
        resolve()


@pytest.mark.parametrize(
    "url",
    ["", "x", "unix://", "unix://relative", "http://", "https://a?b=c", "Embedded", 7],
)
def test_wrong_base_urls(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^base_url must be"):
        LunetteClient(base_url=url)
    if url and isinstance(url, str):
        monkeypatch.setenv("LUNETTE_BASE_URL", url)
        with pytest.raises(ConfigError, match=r"^the variable LUNETTE_BASE_URL must be"):
            resolve()


@pytest.mark.parametrize("key", ["", "a b", "ä", "a\n", 3])
def test_a_wrong_key_is_never_shown(key: Any) -> None:
    with pytest.raises(ConfigError, match=r"^api_key must be") as caught:
        LunetteClient(api_key=key)
    assert not key or repr(key) not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1", True])
def test_wrong_timeouts(timeout: Any) -> None:
    with pytest.raises(ConfigError, match=r"^timeout must be"):
        LunetteClient(timeout=timeout)


def test_constructing_reads_no_file(no_configuration: Path) -> None:
    write(no_configuration, "broken")
    client = LunetteClient()
    with pytest.raises(ConfigError):
        client.list_sandboxes()
