from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset


T = TypeVar("T", bound="Problem")


@_attrs_define
class Problem:
    """RFC 9457.

    Attributes:
        type_ (str):
        title (str):
        status (int):
        code (str): Stable, see the table at the top.
        detail (str):
        request_id (str):
        path (str | Unset): The path inside the sandbox that the error is about.
        errno (str | Unset): The name that POSIX has for what a file system said.
        offset (int | Unset): How far it is, of an `input_gap` or an `upload_gap`.
        key (str | Unset): The key of the service, or the field of the body, that the error is about.
    """

    type_: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    path: str | Unset = UNSET
    errno: str | Unset = UNSET
    offset: int | Unset = UNSET
    key: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        type_ = self.type_

        title = self.title

        status = self.status

        code = self.code

        detail = self.detail

        request_id = self.request_id

        path = self.path

        errno = self.errno

        offset = self.offset

        key = self.key

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "type": type_,
                "title": title,
                "status": status,
                "code": code,
                "detail": detail,
                "request_id": request_id,
            }
        )
        if path is not UNSET:
            field_dict["path"] = path
        if errno is not UNSET:
            field_dict["errno"] = errno
        if offset is not UNSET:
            field_dict["offset"] = offset
        if key is not UNSET:
            field_dict["key"] = key

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        type_ = d.pop("type")

        title = d.pop("title")

        status = d.pop("status")

        code = d.pop("code")

        detail = d.pop("detail")

        request_id = d.pop("request_id")

        path = d.pop("path", UNSET)

        errno = d.pop("errno", UNSET)

        offset = d.pop("offset", UNSET)

        key = d.pop("key", UNSET)

        problem = cls(
            type_=type_,
            title=title,
            status=status,
            code=code,
            detail=detail,
            request_id=request_id,
            path=path,
            errno=errno,
            offset=offset,
            key=key,
        )

        problem.additional_properties = d
        return problem

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
