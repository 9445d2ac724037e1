from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field
import json
from .. import types

from ..types import UNSET, Unset

from ..types import File, FileTypes
from ..types import UNSET, Unset
from io import BytesIO


T = TypeVar("T", bound="CreateSandboxForm")


@_attrs_define
class CreateSandboxForm:
    """
    Attributes:
        image (str | Unset): An image
        service (str | Unset): The whole Compose service as JSON.
        dockerfile (str | Unset): The path of the Dockerfile in the build context.
        build_context (File | Unset): A tar of the build context.
    """

    image: str | Unset = UNSET
    service: str | Unset = UNSET
    dockerfile: str | Unset = UNSET
    build_context: File | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        image = self.image

        service = self.service

        dockerfile = self.dockerfile

        build_context: FileTypes | Unset = UNSET
        if not isinstance(self.build_context, Unset):
            build_context = self.build_context.to_tuple()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if image is not UNSET:
            field_dict["image"] = image
        if service is not UNSET:
            field_dict["service"] = service
        if dockerfile is not UNSET:
            field_dict["dockerfile"] = dockerfile
        if build_context is not UNSET:
            field_dict["build_context"] = build_context

        return field_dict

    def to_multipart(self) -> types.RequestFiles:
        files: types.RequestFiles = []

        if not isinstance(self.image, Unset):
            files.append(("image", (None, str(self.image).encode(), "text/plain")))

        if not isinstance(self.service, Unset):
            files.append(("service", (None, str(self.service).encode(), "text/plain")))

        if not isinstance(self.dockerfile, Unset):
            files.append(
                ("dockerfile", (None, str(self.dockerfile).encode(), "text/plain"))
            )

        if not isinstance(self.build_context, Unset):
            files.append(("build_context", self.build_context.to_tuple()))

        for prop_name, prop in self.additional_properties.items():
            files.append((prop_name, (None, str(prop).encode(), "text/plain")))

        return files

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        image = d.pop("image", UNSET)

        service = d.pop("service", UNSET)

        dockerfile = d.pop("dockerfile", UNSET)

        _build_context = d.pop("build_context", UNSET)
        build_context: File | Unset
        if isinstance(_build_context, Unset):
            build_context = UNSET
        else:
            build_context = File(payload=BytesIO(_build_context))

        create_sandbox_form = cls(
            image=image,
            service=service,
            dockerfile=dockerfile,
            build_context=build_context,
        )

        create_sandbox_form.additional_properties = d
        return create_sandbox_form

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
