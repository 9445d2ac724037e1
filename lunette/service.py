"""The specification of a sandbox: one service in the words of Docker Compose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from ._compose import KEYS, nearest
from ._compose_casts import cast_values
from ._compose_service import ComposeService
from ._plain import Plainer, encodable
from .errors import NotSupportedError, ServiceError

if TYPE_CHECKING:
    from ._build import Build
    from ._compose_file import FoundService
    from ._interpolation import Lookup

__all__ = ["ComposeService", "Specification", "checked", "read", "reads_files"]

# What is read here, from files that no server may open.
_READ_HERE = ("build", "env_file")


@frozen
class Specification:
    """A sandbox as the server is asked for it: a *service* in plain JSON, and what to *build*."""

    service: Mapping[str, Any]
    build: Build | None = None


def reads_files(spec: object) -> bool:
    """Say whether `read` waits for the disk."""
    if not isinstance(spec, Mapping):
        return isinstance(spec, str | os.PathLike)
    return any(key in spec for key in _READ_HERE)


def read(spec: object, service: str | None = None) -> Specification:
    """Read what a sandbox is to be: a mapping, or the path of a Compose file or of a folder.

    *service* is which one of a Compose file is meant.
    """
    # Not every caller has a type checker.
    if service is not None and not isinstance(service, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"service must be the name of a service, not {type(service).__name__}")
    if isinstance(spec, Mapping):
        if service is not None:
            raise ServiceError("service= chooses from a Compose file, and a mapping is one service")
        return _specified(checked(cast("object", spec)), Path(), os.environ.get)
    if not isinstance(spec, str | os.PathLike):
        raise _no_service(spec)
    return _read_path(os.fspath(cast("str | os.PathLike[str]", spec)), service)


def _read_path(text: object, service: str | None) -> Specification:
    from ._compose_file import find_file, read_service
    from ._text_files import located

    if not isinstance(text, str):
        raise TypeError("the path of a Compose file must be a string, not bytes")
    path = located(text, Path(), "a Compose file")
    try:
        file = find_file(path)
    except OSError as error:
        if isinstance(error, ServiceError):
            raise
        raise ServiceError(f"{text[:100]!r} cannot be read: {error.strerror}") from error
    if file is not None:
        return _of_file(file, read_service(file, service))
    if service is not None:
        raise ServiceError(f"{path} holds a Dockerfile and no Compose file: there is no service=")
    from ._build import read_build

    return Specification({}, read_build(".", path))


def _of_file(file: Path, found: FoundService) -> Specification:
    try:
        return _specified(_checked(found.service, found.lookup), found.folder, found.lookup)
    except (ServiceError, NotSupportedError) as error:
        if isinstance(error, OSError):  # it names its own file
            raise
        raise type(error)(f"{file}: {error}") from None


def checked(service: object) -> dict[str, Any]:
    """Check *service* and make it plain JSON, with the caller's environment filled in."""
    if not isinstance(service, Mapping):
        raise _no_service(service)
    return _checked(cast("Mapping[object, object]", service), os.environ.get)


def _no_service(service: object) -> TypeError:
    return TypeError(
        'service must be a mapping such as {"image": "python:3.11-slim"}, or the path of a Compose'
        f" file or of a folder with a Dockerfile, not {type(service).__name__}"
    )


def _checked(service: Mapping[Any, Any], lookup: Lookup) -> dict[str, Any]:
    plain = Plainer().mapping(service, "service")
    for key, value in plain.items():
        _check_key(key, value)
    if plain.get("extends") is not None:
        raise NotSupportedError("extends is not supported; write the service out")
    if not plain.get("image") and not plain.get("build"):
        raise ServiceError('the service names no image; the smallest one is {"image": "host"}')
    if plain.get("environment") is not None:
        plain["environment"] = _variables(plain["environment"], "environment", lookup)
    return cast_values({key: value for key, value in plain.items() if value is not None})


def _specified(service: dict[str, Any], base: Path, lookup: Lookup) -> Specification:
    env_file, build = (service.pop(key, None) for key in ("env_file", "build"))
    if env_file is not None:
        from ._env_file import read_env_files

        variables = read_env_files(env_file, base, lookup) | service.get("environment", {})
        service["environment"] = _variables(variables, "environment", lookup)
    if build is None:
        return Specification(service)
    from ._build import Build, read_build

    read = read_build(build, base)
    options = dict(read.options)
    if "args" in options:
        options["args"] = _variables(options["args"], "build.args", lookup)
    return Specification(service, Build(read.context, options))


def _check_key(key: str, value: object) -> None:
    if key == "x-lunette" and not isinstance(value, Mapping):
        raise ServiceError(f"x-lunette must be a mapping, not {type(value).__name__}")
    if key in KEYS or key.startswith("x-"):
        return
    mend = nearest(key, KEYS)
    raise ServiceError(f"Compose knows no service key {key[:60]!r}; did you mean {mend!r}?")


def _variables(value: object, where: str, lookup: Lookup) -> dict[str, Any]:
    """Read both of Compose's forms; a variable without a value has the caller's, if any."""
    if isinstance(value, Mapping):
        variables = dict(cast("Mapping[str, Any]", value))
    elif isinstance(value, list):
        variables = dict(_variable(entry, where) for entry in cast("list[object]", value))
    else:
        raise ServiceError(f"{where} must be a mapping or a list, not {type(value).__name__}")
    for name, content in variables.items():
        _check_variable(name, content, where)
    filled = {k: lookup(k) if v is None else v for k, v in variables.items()}
    return {
        name: encodable(content, f"{where}.{name}") if isinstance(content, str) else content
        for name, content in filled.items()
        if content is not None
    }


def _variable(entry: object, where: str) -> tuple[str, str | None]:
    if not isinstance(entry, str):
        raise ServiceError(f"{where}: {entry!r} must be a string such as 'NAME=value'")
    name, equals, value = entry.partition("=")
    return name, value if equals else None


def _check_variable(name: str, value: object, where: str) -> None:
    if not name or "=" in name or "\0" in name:
        raise ServiceError(f"{where}: {name[:60]!r} is no name of a variable")
    if not isinstance(value, str | int | float | None):
        raise ServiceError(f"{where}.{name} must be a string, not {type(value).__name__}")
    if isinstance(value, str) and "\0" in value:
        raise ServiceError(f"{where}.{name} must not contain a NUL character")
