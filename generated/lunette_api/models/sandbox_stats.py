from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset


T = TypeVar("T", bound="SandboxStats")


@_attrs_define
class SandboxStats:
    """What is measured only where the engine can is left out.

    Attributes:
        memory (int): The memory of all its processes, in bytes; shared pages count once where the machine can tell.
        cpu_seconds (float): Processor time since it began.
        processes (int): Processes and threads, those of the sandbox itself included.
        disk (int): The disk that its files take, in bytes.
        memory_peak (int | Unset): The most that it was.
        memory_limit (int | Unset): What it may be, in bytes; left out where there is no limit.
    """

    memory: int
    cpu_seconds: float
    processes: int
    disk: int
    memory_peak: int | Unset = UNSET
    memory_limit: int | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        memory = self.memory

        cpu_seconds = self.cpu_seconds

        processes = self.processes

        disk = self.disk

        memory_peak = self.memory_peak

        memory_limit = self.memory_limit

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "memory": memory,
                "cpu_seconds": cpu_seconds,
                "processes": processes,
                "disk": disk,
            }
        )
        if memory_peak is not UNSET:
            field_dict["memory_peak"] = memory_peak
        if memory_limit is not UNSET:
            field_dict["memory_limit"] = memory_limit

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        memory = d.pop("memory")

        cpu_seconds = d.pop("cpu_seconds")

        processes = d.pop("processes")

        disk = d.pop("disk")

        memory_peak = d.pop("memory_peak", UNSET)

        memory_limit = d.pop("memory_limit", UNSET)

        sandbox_stats = cls(
            memory=memory,
            cpu_seconds=cpu_seconds,
            processes=processes,
            disk=disk,
            memory_peak=memory_peak,
            memory_limit=memory_limit,
        )

        sandbox_stats.additional_properties = d
        return sandbox_stats

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
