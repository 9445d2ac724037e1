from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset


T = TypeVar("T", bound="TerminalSize")


@_attrs_define
class TerminalSize:
    """A terminal of the sandbox's own is the standard input, output and error of the process, which writes one stream,
    `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.

        Attributes:
            rows (int):
            columns (int):
    """

    rows: int
    columns: int

    def to_dict(self) -> dict[str, Any]:
        rows = self.rows

        columns = self.columns

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "rows": rows,
                "columns": columns,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        rows = d.pop("rows")

        columns = d.pop("columns")

        terminal_size = cls(
            rows=rows,
            columns=columns,
        )

        return terminal_size
