from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.file_info_type import FileInfoType
from ..types import UNSET, Unset


T = TypeVar("T", bound="FileInfo")


@_attrs_define
class FileInfo:
    """
    Attributes:
        path (str): Absolute; in a list, relative to its directory. Bytes that are not UTF-8 are U+FFFD in it.
        type_ (FileInfoType):
        size (int): In bytes.
        mode (int): The permissions, at most 0o7777.
        mtime (float): When its content was changed last, in seconds since 1970.
        uid (int): Of the owner, inside the sandbox.
        gid (int): Of the group, inside the sandbox.
        path_base64 (str | Unset): The bytes of `path`, only where they are not UTF-8.
        target (str | Unset): Where a symbolic link points.
        etag (str | Unset): As of `GET .../files`, where a `digest` was asked for.
        digest (str | Unset): Written as a dictionary member of RFC 9530: its algorithm, and its bytes in base64 between
            colons.
    """

    path: str
    type_: FileInfoType
    size: int
    mode: int
    mtime: float
    uid: int
    gid: int
    path_base64: str | Unset = UNSET
    target: str | Unset = UNSET
    etag: str | Unset = UNSET
    digest: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        path = self.path

        type_ = self.type_.value

        size = self.size

        mode = self.mode

        mtime = self.mtime

        uid = self.uid

        gid = self.gid

        path_base64 = self.path_base64

        target = self.target

        etag = self.etag

        digest = self.digest

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "path": path,
                "type": type_,
                "size": size,
                "mode": mode,
                "mtime": mtime,
                "uid": uid,
                "gid": gid,
            }
        )
        if path_base64 is not UNSET:
            field_dict["path_base64"] = path_base64
        if target is not UNSET:
            field_dict["target"] = target
        if etag is not UNSET:
            field_dict["etag"] = etag
        if digest is not UNSET:
            field_dict["digest"] = digest

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        path = d.pop("path")

        type_ = FileInfoType(d.pop("type"))

        size = d.pop("size")

        mode = d.pop("mode")

        mtime = d.pop("mtime")

        uid = d.pop("uid")

        gid = d.pop("gid")

        path_base64 = d.pop("path_base64", UNSET)

        target = d.pop("target", UNSET)

        etag = d.pop("etag", UNSET)

        digest = d.pop("digest", UNSET)

        file_info = cls(
            path=path,
            type_=type_,
            size=size,
            mode=mode,
            mtime=mtime,
            uid=uid,
            gid=gid,
            path_base64=path_base64,
            target=target,
            etag=etag,
            digest=digest,
        )

        file_info.additional_properties = d
        return file_info

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
