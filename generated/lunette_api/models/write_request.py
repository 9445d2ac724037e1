from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.write_request_encoding import WriteRequestEncoding
from ..types import UNSET, Unset


T = TypeVar("T", bound="WriteRequest")


@_attrs_define
class WriteRequest:
    """
    Attributes:
        path (str):
        content (str):
        encoding (WriteRequestEncoding | Unset):  Default: WriteRequestEncoding.UTF_8.
    """

    path: str
    content: str
    encoding: WriteRequestEncoding | Unset = WriteRequestEncoding.UTF_8

    def to_dict(self) -> dict[str, Any]:
        path = self.path

        content = self.content

        encoding: str | Unset = UNSET
        if not isinstance(self.encoding, Unset):
            encoding = self.encoding.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "path": path,
                "content": content,
            }
        )
        if encoding is not UNSET:
            field_dict["encoding"] = encoding

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        path = d.pop("path")

        content = d.pop("content")

        _encoding = d.pop("encoding", UNSET)
        encoding: WriteRequestEncoding | Unset
        if isinstance(_encoding, Unset):
            encoding = UNSET
        else:
            encoding = WriteRequestEncoding(_encoding)

        write_request = cls(
            path=path,
            content=content,
            encoding=encoding,
        )

        return write_request
