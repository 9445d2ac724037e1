from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast


T = TypeVar("T", bound="ArchiveRequest")


@_attrs_define
class ArchiveRequest:
    """
    Attributes:
        path (str):
        ignore (list[str] | Unset): Patterns of what to leave out, as the lines of a `.gitignore` in the directory.
    """

    path: str
    ignore: list[str] | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        path = self.path

        ignore: list[str] | Unset = UNSET
        if not isinstance(self.ignore, Unset):
            ignore = self.ignore

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "path": path,
            }
        )
        if ignore is not UNSET:
            field_dict["ignore"] = ignore

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        path = d.pop("path")

        ignore = cast(list[str], d.pop("ignore", UNSET))

        archive_request = cls(
            path=path,
            ignore=ignore,
        )

        return archive_request
