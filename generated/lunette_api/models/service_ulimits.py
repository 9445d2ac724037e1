from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast

if TYPE_CHECKING:
    from ..models.service_ulimits_additional_property_type_1 import (
        ServiceUlimitsAdditionalPropertyType1,
    )


T = TypeVar("T", bound="ServiceUlimits")


@_attrs_define
class ServiceUlimits:
    """By name without `RLIMIT_`, one number for both or `soft` and `hard`; -1 is no limit. Commands have them. A
    hard limit over the server's own is `not_supported`; `nproc` and `fsize` never go beyond what `pids_limit`
    and `storage_opt` leave.

    """

    additional_properties: dict[str, int | ServiceUlimitsAdditionalPropertyType1] = (
        _attrs_field(init=False, factory=dict)
    )

    def to_dict(self) -> dict[str, Any]:
        from ..models.service_ulimits_additional_property_type_1 import (
            ServiceUlimitsAdditionalPropertyType1,
        )  # noqa: PLC0415

        field_dict: dict[str, Any] = {}
        for prop_name, prop in self.additional_properties.items():
            if isinstance(prop, ServiceUlimitsAdditionalPropertyType1):
                field_dict[prop_name] = prop.to_dict()
            else:
                field_dict[prop_name] = prop

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_ulimits_additional_property_type_1 import (
            ServiceUlimitsAdditionalPropertyType1,
        )  # noqa: PLC0415

        d = dict(src_dict)
        service_ulimits = cls()

        additional_properties = {}
        for prop_name, prop_dict in d.items():

            def _parse_additional_property(
                data: object,
            ) -> int | ServiceUlimitsAdditionalPropertyType1:
                try:
                    if not isinstance(data, dict):
                        raise TypeError()
                    additional_property_type_1 = (
                        ServiceUlimitsAdditionalPropertyType1.from_dict(data)
                    )

                    return additional_property_type_1
                except (TypeError, ValueError, AttributeError, KeyError):
                    pass
                return cast(int | ServiceUlimitsAdditionalPropertyType1, data)

            additional_property = _parse_additional_property(prop_dict)

            additional_properties[prop_name] = additional_property

        service_ulimits.additional_properties = additional_properties
        return service_ulimits

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> int | ServiceUlimitsAdditionalPropertyType1:
        return self.additional_properties[key]

    def __setitem__(
        self, key: str, value: int | ServiceUlimitsAdditionalPropertyType1
    ) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
