from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.service_deploy_resources import ServiceDeployResources


T = TypeVar("T", bound="ServiceDeploy")


@_attrs_define
class ServiceDeploy:
    """`resources.limits` with `memory`, `cpus` and `pids`, as the keys of their own.

    Attributes:
        resources (ServiceDeployResources | Unset):
    """

    resources: ServiceDeployResources | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.service_deploy_resources import ServiceDeployResources  # noqa: PLC0415

        resources: dict[str, Any] | Unset = UNSET
        if not isinstance(self.resources, Unset):
            resources = self.resources.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if resources is not UNSET:
            field_dict["resources"] = resources

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_deploy_resources import ServiceDeployResources  # noqa: PLC0415

        d = dict(src_dict)
        _resources = d.pop("resources", UNSET)
        resources: ServiceDeployResources | Unset
        if isinstance(_resources, Unset):
            resources = UNSET
        else:
            resources = ServiceDeployResources.from_dict(_resources)

        service_deploy = cls(
            resources=resources,
        )

        service_deploy.additional_properties = d
        return service_deploy

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
