from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast

if TYPE_CHECKING:
    from ..models.service import Service


T = TypeVar("T", bound="CreateSandbox")


@_attrs_define
class CreateSandbox:
    """
    Attributes:
        service (Service): A Compose service (https://github.com/compose-spec/compose-spec/blob/main/05-services.md).
            This server supports
            `image`, `command`, `entrypoint`, `working_dir`, `environment`, `hostname`, `labels` and `network_mode: none`;
            any other key that Compose knows is `422 not_supported`, a key that it does not know `422 invalid_service`, and
            keys that begin with `x-` are ignored, except `x-lunette`, which is reserved.
    """

    service: Service

    def to_dict(self) -> dict[str, Any]:
        from ..models.service import Service  # noqa: PLC0415

        service = self.service.to_dict()

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "service": service,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service import Service  # noqa: PLC0415

        d = dict(src_dict)
        service = Service.from_dict(d.pop("service"))

        create_sandbox = cls(
            service=service,
        )

        return create_sandbox
