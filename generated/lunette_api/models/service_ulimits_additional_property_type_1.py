from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset


T = TypeVar("T", bound="ServiceUlimitsAdditionalPropertyType1")


@_attrs_define
class ServiceUlimitsAdditionalPropertyType1:
    """
    Attributes:
        soft (int):
        hard (int):
    """

    soft: int
    hard: int

    def to_dict(self) -> dict[str, Any]:
        soft = self.soft

        hard = self.hard

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "soft": soft,
                "hard": hard,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        soft = d.pop("soft")

        hard = d.pop("hard")

        service_ulimits_additional_property_type_1 = cls(
            soft=soft,
            hard=hard,
        )

        return service_ulimits_additional_property_type_1
