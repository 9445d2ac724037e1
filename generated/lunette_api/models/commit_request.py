from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset


T = TypeVar("T", bound="CommitRequest")


@_attrs_define
class CommitRequest:
    """
    Attributes:
        length (int): How many bytes there were.
        digest (str | Unset): Written as a dictionary member of RFC 9530: its algorithm, and its bytes in base64 between
            colons.
    """

    length: int
    digest: str | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        length = self.length

        digest = self.digest

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "length": length,
            }
        )
        if digest is not UNSET:
            field_dict["digest"] = digest

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        length = d.pop("length")

        digest = d.pop("digest", UNSET)

        commit_request = cls(
            length=length,
            digest=digest,
        )

        return commit_request
