"""Which reference means which image, as it was when it was last pulled."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from ._disk import write_whole
from ._locks import wait_for_lock
from .errors import ImageStoreError
from .reference import Reference

__all__ = ["Entry", "References"]


@frozen(kw_only=True)
class Entry:
    """What a reference means: *digest* is of an index or a manifest, *manifest* always of one."""

    image_id: str
    digest: str
    manifest: str
    pulled_at: str


class References:
    """The file `references.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mapping[str, Entry]:
        """Return all of them by their canonical text."""
        return self._load()

    def find(self, reference: Reference) -> Entry | None:
        """Return what *reference* means; one with a digest also if it came by another name."""
        entries = self.read()
        if (entry := entries.get(str(reference))) is not None:
            return entry
        if reference.digest is None:
            return None
        for text, entry in entries.items():
            of_same_name = Reference.parse(text).name == reference.name
            if of_same_name and reference.digest in (entry.digest, entry.manifest):
                return entry
        return None

    @contextlib.contextmanager
    def change(self) -> Generator[dict[str, Entry]]:
        """Yield them to be changed, and write what is then there; others wait meanwhile."""
        with wait_for_lock(self._path.with_name("references.lock")):
            entries = self._load()
            before = dict(entries)
            yield entries
            if entries != before:
                found = {text: asdict(entry) for text, entry in sorted(entries.items())}
                write_whole(self._path, json.dumps(found, indent=1).encode())

    def _load(self) -> dict[str, Entry]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            found: dict[str, dict[str, Any]] = json.loads(content)
            return {str(Reference.parse(text)): Entry(**entry) for text, entry in found.items()}
        except Exception as error:  # whatever a file of somebody else's may do
            raise ImageStoreError(
                f"{self._path} is broken: remove it, and pull the images again"
            ) from error
