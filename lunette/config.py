"""Where the server is and which key opens it: argument, environment, file, embedded server."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from .errors import ConfigError

__all__ = [
    "EMBEDDED",
    "HOSTED",
    "Config",
    "check_arguments",
    "check_options",
    "checked_seconds",
    "config_path",
    "resolve",
]

EMBEDDED = "embedded"
HOSTED = "https://lunette.dev/api"

T = TypeVar("T")


class Config(NamedTuple):
    """What one client goes by; *base_url* is "embedded" for the embedded server."""

    base_url: str
    api_key: str | None
    timeout: float | None


def _error(message: str) -> ConfigError:
    from .errors import ConfigError  # and httpx with it: most often there is nothing to say

    return ConfigError(message)


def resolve(
    api_key: str | None = None, base_url: str | None = None, timeout: float | None = None
) -> Config:
    """Settle each key by itself: argument, then environment, then file, then the default."""
    arguments = {"api_key": api_key, "base_url": base_url, "timeout": timeout}
    key: str | None = None
    url: str | None = None
    seconds: float | None = None
    for values, source in ((arguments, "argument"), _environment(), _file()):
        key = key or _checked(values, "api_key", source, _api_key)
        url = url or _checked(values, "base_url", source, _base_url)
        seconds = seconds or _checked(values, "timeout", source, checked_seconds)
    if url is None:
        url = HOSTED if key else EMBEDDED
    # The embedded server wants no key, and none may reach it by way of the environment.
    return Config(base_url=url, api_key=None if url == EMBEDDED else key, timeout=seconds)


def check_arguments(api_key: object, base_url: object, timeout: object) -> None:
    """Refuse wrong arguments at once, before any other source is read."""
    values = {"api_key": api_key, "base_url": base_url, "timeout": timeout}
    _checked(values, "api_key", "argument", _api_key)
    _checked(values, "base_url", "argument", _base_url)
    _checked(values, "timeout", "argument", checked_seconds)


def check_options(retry: object, transport: object) -> None:
    """Refuse what is no policy and no transport, before anything is done with it."""
    import httpx

    from ._retry import RetryPolicy

    if retry is not None and not isinstance(retry, RetryPolicy):
        raise _error(f"retry must be a RetryPolicy, not {type(retry).__name__}")
    if transport in (None, "aiohttp"):
        return
    if not isinstance(transport, httpx.BaseTransport | httpx.AsyncBaseTransport):
        raise _error(f"transport must be 'aiohttp' or a transport of httpx, not {transport!r}")


def config_path() -> Path:
    """Say where the configuration file is, there or not."""
    home = os.environ.get("LUNETTE_HOME")
    return (Path(home) if home else Path("~/.lunette").expanduser()) / "config.json"


def _environment() -> tuple[Mapping[str, Any], str]:
    names = {"api_key": "LUNETTE_API_KEY", "base_url": "LUNETTE_BASE_URL"}
    # An empty variable is how a shell or a CI system says "unset".
    return {key: os.environ.get(name) or None for key, name in names.items()}, "environment"


def _file() -> tuple[Mapping[str, Any], str]:
    try:
        path = config_path()
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # the last: no home directory
        return {}, "file"
    except (OSError, UnicodeDecodeError) as error:
        raise _error(f"cannot read the configuration file: {error}") from error
    return _parsed(text, path), str(path)


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise _error(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise _error(f"{path} must hold a JSON object, not {type(values).__name__}")
    return cast("Mapping[str, Any]", values)


def _checked(
    values: Mapping[str, Any], key: str, source: str, check: Callable[[Any], T]
) -> T | None:
    value = values.get(key)
    if value is None:
        return None
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        names = {"argument": key, "environment": f"the variable LUNETTE_{key.upper()}"}
        where = names.get(source, f"{key!r} in {source}")
        raise _error(f"{where} {error}") from None


def _api_key(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {type(value).__name__}")
    # The value itself never gets into a message.
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be printable ASCII without spaces")
    return value


def _base_url(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {type(value).__name__}")
    if value == EMBEDDED or (value.startswith("unix:///") and len(value) > len("unix:///")):
        return value
    if not _is_web_address(value):
        raise ValueError(
            f"must be https://..., http://..., unix:///path or embedded, not {value!r}"
        )
    return value.rstrip("/")


def _is_web_address(value: str) -> bool:
    import httpx

    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not url.query and not url.fragment


def checked_seconds(value: Any, longest: float = math.inf) -> float:
    """Check a timeout; the error says what it must be, and the caller what it is of."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"must be a number of seconds above 0, not {value}")
    if value > longest:
        raise ValueError(f"must be at most {longest} seconds, not {value}")
    return float(value)
