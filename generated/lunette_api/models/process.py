from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.process_state import ProcessState
from ..types import UNSET, Unset
from typing import cast
import datetime

if TYPE_CHECKING:
    from ..models.exec_response import ExecResponse


T = TypeVar("T", bound="Process")


@_attrs_define
class Process:
    """
    Attributes:
        process_id (str):
        state (ProcessState):
        command (list[str] | str | Unset): As it was asked for, cut behind 4,096 characters, with an ellipsis.
        name (str | Unset):
        tty (bool | Unset): Whether it has a terminal.
        started (bool | Unset): Whether it was started by `PUT`, so that it can be followed, written to and signalled.
        started_at (datetime.datetime | Unset):
        input_offset (int | Unset): The bytes that standard input has taken so far, `input` of the start being taken at
            once.
        output_offset (int | Unset): The bytes that it has written so far.
        exit_code (int | Unset): Of a process that has ended.
        result (ExecResponse | Unset):
    """

    process_id: str
    state: ProcessState
    command: list[str] | str | Unset = UNSET
    name: str | Unset = UNSET
    tty: bool | Unset = UNSET
    started: bool | Unset = UNSET
    started_at: datetime.datetime | Unset = UNSET
    input_offset: int | Unset = UNSET
    output_offset: int | Unset = UNSET
    exit_code: int | Unset = UNSET
    result: ExecResponse | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.exec_response import ExecResponse  # noqa: PLC0415

        process_id = self.process_id

        state = self.state.value

        command: list[str] | str | Unset
        if isinstance(self.command, Unset):
            command = UNSET
        elif isinstance(self.command, list):
            command = self.command

        else:
            command = self.command

        name = self.name

        tty = self.tty

        started = self.started

        started_at: str | Unset = UNSET
        if not isinstance(self.started_at, Unset):
            started_at = self.started_at.isoformat()

        input_offset = self.input_offset

        output_offset = self.output_offset

        exit_code = self.exit_code

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
        if command is not UNSET:
            field_dict["command"] = command
        if name is not UNSET:
            field_dict["name"] = name
        if tty is not UNSET:
            field_dict["tty"] = tty
        if started is not UNSET:
            field_dict["started"] = started
        if started_at is not UNSET:
            field_dict["started_at"] = started_at
        if input_offset is not UNSET:
            field_dict["input_offset"] = input_offset
        if output_offset is not UNSET:
            field_dict["output_offset"] = output_offset
        if exit_code is not UNSET:
            field_dict["exit_code"] = exit_code
        if result is not UNSET:
            field_dict["result"] = result

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.exec_response import ExecResponse  # noqa: PLC0415

        d = dict(src_dict)
        process_id = d.pop("process_id")

        state = ProcessState(d.pop("state"))

        def _parse_command(data: object) -> list[str] | str | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                command_type_1 = cast(list[str], data)

                return command_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | str | Unset, data)

        command = _parse_command(d.pop("command", UNSET))

        name = d.pop("name", UNSET)

        tty = d.pop("tty", UNSET)

        started = d.pop("started", UNSET)

        _started_at = d.pop("started_at", UNSET)
        started_at: datetime.datetime | Unset
        if isinstance(_started_at, Unset):
            started_at = UNSET
        else:
            started_at = datetime.datetime.fromisoformat(_started_at)

        input_offset = d.pop("input_offset", UNSET)

        output_offset = d.pop("output_offset", UNSET)

        exit_code = d.pop("exit_code", UNSET)

        _result = d.pop("result", UNSET)
        result: ExecResponse | Unset
        if isinstance(_result, Unset):
            result = UNSET
        else:
            result = ExecResponse.from_dict(_result)

        process = cls(
            process_id=process_id,
            state=state,
            command=command,
            name=name,
            tty=tty,
            started=started,
            started_at=started_at,
            input_offset=input_offset,
            output_offset=output_offset,
            exit_code=exit_code,
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
