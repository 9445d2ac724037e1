from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast


T = TypeVar("T", bound="StopRequest")


@_attrs_define
class StopRequest:
    """
    Attributes:
        sandbox_ids (list[str]):
        save_state (bool | Unset):  Default: False.
    """

    sandbox_ids: list[str]
    save_state: bool | Unset = False

    def to_dict(self) -> dict[str, Any]:
        sandbox_ids = self.sandbox_ids

        save_state = self.save_state

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "sandbox_ids": sandbox_ids,
            }
        )
        if save_state is not UNSET:
            field_dict["save_state"] = save_state

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        sandbox_ids = cast(list[str], d.pop("sandbox_ids"))

        save_state = d.pop("save_state", UNSET)

        stop_request = cls(
            sandbox_ids=sandbox_ids,
            save_state=save_state,
        )

        return stop_request
