"""Which manifest of an index is for this machine."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from ._documents import Document
from ._manifests import Choice, Descriptor, Index
from .errors import PlatformError

__all__ = ["architecture", "check_platform", "choose"]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CPUINFO = Path("/proc/cpuinfo")
# The micro-architecture levels of the x86-64 psABI, by the names that Linux gives the flags.
_V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
_V3 = {*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
_V4 = {*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_MOST_SHOWN = 12


def architecture() -> str:
    """Return what images call this machine's processor."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def choose(index: Index, *, name: str) -> Descriptor:
    """Return this machine's manifest of *index*; raise PlatformError if there is none."""
    images = [choice for choice in index.choices if choice.is_image]
    ranked = [(rank, n) for n, choice in enumerate(images) if (rank := _rank(choice)) is not None]
    if ranked:
        return images[min(ranked)[1]].manifest
    if len(images) == 1 and images[0].platform is None:  # its config will say
        return images[0].manifest
    raise _none(name, [_spelled(choice.platform or {}) for choice in images])


def check_platform(config: Document, *, name: str) -> None:
    """Raise PlatformError if an image whose config is *config* is not for this machine."""
    # What an old builder left out is taken for ours.
    found = (config.get("os") or "linux", config.get("architecture") or architecture())
    if found != ("linux", architecture()):
        raise _none(name, [_spelled(config)])


def _rank(choice: Choice) -> int | None:
    """Return a smaller number for what suits better, None for what does not run here."""
    found = choice.platform or {}
    if (found.get("os"), found.get("architecture")) != ("linux", architecture()):
        return None
    # The plainest that is offered: it was tried on the most machines.
    variants = _variants()
    variant = found.get("variant") or ""
    return variants.index(variant) if variant in variants else None


@functools.cache
def _variants() -> tuple[str, ...]:
    if architecture() == "arm64":
        return ("", "v8")
    if architecture() != "amd64":
        return ("",)
    flags = _flags()
    levels = {"v2": _V2, "v3": _V3, "v4": _V4}
    return ("", "v1", *(level for level, needed in levels.items() if needed <= flags))


def _flags() -> set[str]:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _spelled(found: Document) -> str:
    parts = (str(found.get(key) or "")[:20] for key in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if part) or "an unknown platform"


def _none(name: str, offered: list[str]) -> PlatformError:
    shown = ", ".join(sorted(set(offered))[:_MOST_SHOWN]) or "nothing"
    return PlatformError(
        f"{name} has no image for linux/{architecture()}, but for {shown}: choose another tag"
    )
