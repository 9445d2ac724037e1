from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast


T = TypeVar("T", bound="SignalRequest")


@_attrs_define
class SignalRequest:
    """
    Attributes:
        signal (int | str): A name such as `SIGTERM`, `TERM` or `term`, or a number of Linux.
    """

    signal: int | str

    def to_dict(self) -> dict[str, Any]:
        signal: int | str
        signal = self.signal

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "signal": signal,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_signal(data: object) -> int | str:
            return cast(int | str, data)

        signal = _parse_signal(d.pop("signal"))

        signal_request = cls(
            signal=signal,
        )

        return signal_request
