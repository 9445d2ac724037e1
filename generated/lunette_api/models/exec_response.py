from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset


T = TypeVar("T", bound="ExecResponse")


@_attrs_define
class ExecResponse:
    """
    Attributes:
        stdout (str): Bytes that are not valid UTF-8 are shown as U+FFFD.
        stderr (str): Bytes that are not valid UTF-8 are shown as U+FFFD.
        exit_code (int):
        stdout_base64 (str | Unset): The exact bytes, only where they are not valid UTF-8.
        stderr_base64 (str | Unset): The exact bytes, only where they are not valid UTF-8.
        signal (int | Unset): The signal that ended the command, if one did.
        timed_out (bool | Unset):  Default: False.
        out_of_memory (bool | Unset): Whether it, or what its shell ran, was killed since the sandbox had no memory
            left. Default: False.
        truncated (int | Unset): Bytes of both streams that were left out. Default: 0.
        duration (float | Unset): Seconds from the command's start to its end.
    """

    stdout: str
    stderr: str
    exit_code: int
    stdout_base64: str | Unset = UNSET
    stderr_base64: str | Unset = UNSET
    signal: int | Unset = UNSET
    timed_out: bool | Unset = False
    out_of_memory: bool | Unset = False
    truncated: int | Unset = 0
    duration: float | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        stdout = self.stdout

        stderr = self.stderr

        exit_code = self.exit_code

        stdout_base64 = self.stdout_base64

        stderr_base64 = self.stderr_base64

        signal = self.signal

        timed_out = self.timed_out

        out_of_memory = self.out_of_memory

        truncated = self.truncated

        duration = self.duration

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "stdout": stdout,
                "stderr": stderr,
                "exit_code": exit_code,
            }
        )
        if stdout_base64 is not UNSET:
            field_dict["stdout_base64"] = stdout_base64
        if stderr_base64 is not UNSET:
            field_dict["stderr_base64"] = stderr_base64
        if signal is not UNSET:
            field_dict["signal"] = signal
        if timed_out is not UNSET:
            field_dict["timed_out"] = timed_out
        if out_of_memory is not UNSET:
            field_dict["out_of_memory"] = out_of_memory
        if truncated is not UNSET:
            field_dict["truncated"] = truncated
        if duration is not UNSET:
            field_dict["duration"] = duration

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        stdout = d.pop("stdout")

        stderr = d.pop("stderr")

        exit_code = d.pop("exit_code")

        stdout_base64 = d.pop("stdout_base64", UNSET)

        stderr_base64 = d.pop("stderr_base64", UNSET)

        signal = d.pop("signal", UNSET)

        timed_out = d.pop("timed_out", UNSET)

        out_of_memory = d.pop("out_of_memory", UNSET)

        truncated = d.pop("truncated", UNSET)

        duration = d.pop("duration", UNSET)

        exec_response = cls(
            stdout=stdout,
            stderr=stderr,
            exit_code=exit_code,
            stdout_base64=stdout_base64,
            stderr_base64=stderr_base64,
            signal=signal,
            timed_out=timed_out,
            out_of_memory=out_of_memory,
            truncated=truncated,
            duration=duration,
        )

        exec_response.additional_properties = d
        return exec_response

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
