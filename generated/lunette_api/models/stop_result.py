from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast

if TYPE_CHECKING:
    from ..models.stop_failure import StopFailure


T = TypeVar("T", bound="StopResult")


@_attrs_define
class StopResult:
    """
    Attributes:
        stopped (list[str]):
        failed (list[StopFailure]):
    """

    stopped: list[str]
    failed: list[StopFailure]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.stop_failure import StopFailure  # noqa: PLC0415

        stopped = self.stopped

        failed = []
        for failed_item_data in self.failed:
            failed_item = failed_item_data.to_dict()
            failed.append(failed_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "stopped": stopped,
                "failed": failed,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.stop_failure import StopFailure  # noqa: PLC0415

        d = dict(src_dict)
        stopped = cast(list[str], d.pop("stopped"))

        failed = []
        _failed = d.pop("failed")
        for failed_item_data in _failed:
            failed_item = StopFailure.from_dict(failed_item_data)

            failed.append(failed_item)

        stop_result = cls(
            stopped=stopped,
            failed=failed,
        )

        stop_result.additional_properties = d
        return stop_result

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
