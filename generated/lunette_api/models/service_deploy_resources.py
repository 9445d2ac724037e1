from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.service_deploy_resources_limits import ServiceDeployResourcesLimits


T = TypeVar("T", bound="ServiceDeployResources")


@_attrs_define
class ServiceDeployResources:
    """
    Attributes:
        limits (ServiceDeployResourcesLimits | Unset):
    """

    limits: ServiceDeployResourcesLimits | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.service_deploy_resources_limits import (
            ServiceDeployResourcesLimits,
        )  # noqa: PLC0415

        limits: dict[str, Any] | Unset = UNSET
        if not isinstance(self.limits, Unset):
            limits = self.limits.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if limits is not UNSET:
            field_dict["limits"] = limits

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_deploy_resources_limits import (
            ServiceDeployResourcesLimits,
        )  # noqa: PLC0415

        d = dict(src_dict)
        _limits = d.pop("limits", UNSET)
        limits: ServiceDeployResourcesLimits | Unset
        if isinstance(_limits, Unset):
            limits = UNSET
        else:
            limits = ServiceDeployResourcesLimits.from_dict(_limits)

        service_deploy_resources = cls(
            limits=limits,
        )

        service_deploy_resources.additional_properties = d
        return service_deploy_resources

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
