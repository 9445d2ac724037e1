from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.process_state import ProcessState
from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.exec_response import ExecResponse


T = TypeVar("T", bound="Process")


@_attrs_define
class Process:
    """
    Attributes:
        process_id (str):
        state (ProcessState):
        result (ExecResponse | Unset):
    """

    process_id: str
    state: ProcessState
    result: ExecResponse | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.exec_response import ExecResponse  # noqa: PLC0415

        process_id = self.process_id

        state = self.state.value

        result: dict[str, Any] | Unset = UNSET
        if not isinstance(self.result, Unset):
            result = self.result.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "process_id": process_id,
                "state": state,
            }
        )
        if result is not UNSET:
            field_dict["result"] = result

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.exec_response import ExecResponse  # noqa: PLC0415

        d = dict(src_dict)
        process_id = d.pop("process_id")

        state = ProcessState(d.pop("state"))

        _result = d.pop("result", UNSET)
        result: ExecResponse | Unset
        if isinstance(_result, Unset):
            result = UNSET
        else:
            result = ExecResponse.from_dict(_result)

        process = cls(
            process_id=process_id,
            state=state,
            result=result,
        )

        process.additional_properties = d
        return process

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
