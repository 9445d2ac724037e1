"""Tar archives of directories, made and unpacked by descriptors of directories alone.

No link is followed, whoever changes the tree meanwhile, and nothing but the standard library is
imported: this also runs in the worker of a sandbox, which cannot import.
"""

from __future__ import annotations

from lunette._archive._errors import ArchiveError
from lunette._archive._extracting import Extractor
from lunette._archive._packing import pack
from lunette._archive._placing import place, remove
from lunette._archive._trail import Trail

__all__ = ["ArchiveError", "Extractor", "Trail", "pack", "place", "remove"]
