"""What dpkg knows of this machine: packages, what they depend on, and their files."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from attrs import frozen

_FIELDS = (
    r"${Status}\t${Architecture}\t${Package}\t${Version}\t${Pre-Depends}, ${Depends}\t${Provides}\n"
)
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")
_LINKED_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@frozen
class Package:
    """An installed package; of each tuple in *needs* one is enough."""

    name: str
    architecture: str
    version: str
    needs: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def installed() -> dict[str, Package]:
    """Return the installed packages by name, and by what they provide; none without dpkg."""
    if shutil.which("dpkg-query") is None:
        return {}
    native = {"all", _output("dpkg", "--print-architecture").strip()}
    lines = _output("dpkg-query", "-W", "-f", _FIELDS).splitlines()
    fields = [line.split("\t") for line in lines if line.startswith("install ok installed\t")]
    found = [_package(*rest) for _, *rest in fields if rest[0] in native]
    provided = {name: package for package in found for name in package.provides}
    return provided | {package.name: package for package in found}


def closure(names: Iterable[str], packages: Mapping[str, Package]) -> list[Package]:
    """Return the packages that *names* need to run, sorted by name.

    Raises KeyError for one of *names* that is not installed.
    """
    found: dict[str, Package] = {}
    left = [packages[name] for name in names]
    while left:
        package = left.pop()
        if package.name in found:
            continue
        found[package.name] = package
        for names_of_one in package.needs:
            left.extend([packages[n] for n in names_of_one if n in packages][:1])
    return [found[name] for name in sorted(found)]


def files(packages: Iterable[Package]) -> list[PurePosixPath]:
    """Return the absolute paths that the packages have, sorted, as a merged /usr has them."""
    names = [
        package.name if package.architecture == "all" else f"{package.name}:{package.architecture}"
        for package in packages
    ]
    lines = _output("dpkg-query", "-L", *names).splitlines()
    # Other lines tell of diversions.
    return sorted({merged(PurePosixPath(line)) for line in lines if line.startswith("/")})


def merged(path: PurePosixPath) -> PurePosixPath:
    """Return where a *path* below /bin, /lib and their like is, when /usr is merged."""
    if len(path.parts) > 1 and path.parts[1] in _LINKED_DIRECTORIES:
        return PurePosixPath("/usr", *path.parts[1:])
    return path


def _package(architecture: str, name: str, version: str, depends: str, provides: str) -> Package:
    needs = tuple(tuple(_names(group.split("|"))) for group in depends.split(",") if group.strip())
    return Package(name, architecture, version, needs, tuple(_names(provides.split(","))))


def _names(texts: Iterable[str]) -> list[str]:
    return [found[1] for text in texts if (found := _NAME.match(text))]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
