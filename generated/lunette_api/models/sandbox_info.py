from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.sandbox_state import SandboxState
from ..types import UNSET, Unset
from typing import cast
import datetime

if TYPE_CHECKING:
    from ..models.progress import Progress
    from ..models.sandbox_info_labels import SandboxInfoLabels
    from ..models.sandbox_info_service import SandboxInfoService


T = TypeVar("T", bound="SandboxInfo")


@_attrs_define
class SandboxInfo:
    """
    Attributes:
        sandbox_id (str):
        state (SandboxState): `pending` is being made, `running` takes commands, `paused` is frozen, `stopped` means
            that the service's own
            command ended, `failed` that the sandbox broke, `lost` that it vanished with its server or was killed from
            outside.
        engine (str):
        service (SandboxInfoService): The service as it was sent, without the values of its environment.
        labels (SandboxInfoLabels):
        created_at (datetime.datetime):
        reason (str | Unset): Why it is not running, in words.
        progress (Progress | Unset): How far the image is that a sandbox waits for; only while it is pulled or unpacked.
        exit_code (int | Unset): The exit code of the service's own command, once it has ended.
        expires_at (datetime.datetime | Unset): When it will be destroyed, if nobody uses or extends it; left out if
            never.
    """

    sandbox_id: str
    state: SandboxState
    engine: str
    service: SandboxInfoService
    labels: SandboxInfoLabels
    created_at: datetime.datetime
    reason: str | Unset = UNSET
    progress: Progress | Unset = UNSET
    exit_code: int | Unset = UNSET
    expires_at: datetime.datetime | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.progress import Progress  # noqa: PLC0415
        from ..models.sandbox_info_labels import SandboxInfoLabels  # noqa: PLC0415
        from ..models.sandbox_info_service import SandboxInfoService  # noqa: PLC0415

        sandbox_id = self.sandbox_id

        state = self.state.value

        engine = self.engine

        service = self.service.to_dict()

        labels = self.labels.to_dict()

        created_at = self.created_at.isoformat()

        reason = self.reason

        progress: dict[str, Any] | Unset = UNSET
        if not isinstance(self.progress, Unset):
            progress = self.progress.to_dict()

        exit_code = self.exit_code

        expires_at: str | Unset = UNSET
        if not isinstance(self.expires_at, Unset):
            expires_at = self.expires_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "sandbox_id": sandbox_id,
                "state": state,
                "engine": engine,
                "service": service,
                "labels": labels,
                "created_at": created_at,
            }
        )
        if reason is not UNSET:
            field_dict["reason"] = reason
        if progress is not UNSET:
            field_dict["progress"] = progress
        if exit_code is not UNSET:
            field_dict["exit_code"] = exit_code
        if expires_at is not UNSET:
            field_dict["expires_at"] = expires_at

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.progress import Progress  # noqa: PLC0415
        from ..models.sandbox_info_labels import SandboxInfoLabels  # noqa: PLC0415
        from ..models.sandbox_info_service import SandboxInfoService  # noqa: PLC0415

        d = dict(src_dict)
        sandbox_id = d.pop("sandbox_id")

        state = SandboxState(d.pop("state"))

        engine = d.pop("engine")

        service = SandboxInfoService.from_dict(d.pop("service"))

        labels = SandboxInfoLabels.from_dict(d.pop("labels"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        reason = d.pop("reason", UNSET)

        _progress = d.pop("progress", UNSET)
        progress: Progress | Unset
        if isinstance(_progress, Unset):
            progress = UNSET
        else:
            progress = Progress.from_dict(_progress)

        exit_code = d.pop("exit_code", UNSET)

        _expires_at = d.pop("expires_at", UNSET)
        expires_at: datetime.datetime | Unset
        if isinstance(_expires_at, Unset):
            expires_at = UNSET
        else:
            expires_at = datetime.datetime.fromisoformat(_expires_at)

        sandbox_info = cls(
            sandbox_id=sandbox_id,
            state=state,
            engine=engine,
            service=service,
            labels=labels,
            created_at=created_at,
            reason=reason,
            progress=progress,
            exit_code=exit_code,
            expires_at=expires_at,
        )

        sandbox_info.additional_properties = d
        return sandbox_info

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
