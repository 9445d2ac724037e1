from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.service_environment_type_0 import ServiceEnvironmentType0
    from ..models.service_labels_type_0 import ServiceLabelsType0


T = TypeVar("T", bound="Service")


@_attrs_define
class Service:
    """A Compose service (https://github.com/compose-spec/compose-spec/blob/main/05-services.md). This server supports
    `image`, `command`, `entrypoint`, `working_dir`, `environment`, `hostname`, `labels` and `network_mode: none`;
    any other key that Compose knows is `422 not_supported`, a key that it does not know `422 invalid_service`, and
    keys that begin with `x-` are ignored, except `x-lunette`, which is reserved.

        Attributes:
            image (str): `host` is the server's own `/usr`, read-only, with its Python.
            command (list[str] | None | str | Unset): Runs when the sandbox starts; when it ends, the sandbox is `stopped`.
                A string is split as a shell would
                split it, without a shell. Without a command the sandbox idles.
            entrypoint (list[str] | None | str | Unset): Goes before `command`.
            working_dir (str | Unset): The absolute path at which commands start; it is made if missing. Default
                `/workspace`.
            environment (list[str] | ServiceEnvironmentType0 | Unset): Variables of every command. Values are never shown
                again.
            hostname (str | Unset): A host name after RFC 1123. Default `sandbox`.
            labels (list[str] | ServiceLabelsType0 | Unset): Yours to find sandboxes by.
            network_mode (str | Unset): `none`, which is also the default: no network at all.
    """

    image: str
    command: list[str] | None | str | Unset = UNSET
    entrypoint: list[str] | None | str | Unset = UNSET
    working_dir: str | Unset = UNSET
    environment: list[str] | ServiceEnvironmentType0 | Unset = UNSET
    hostname: str | Unset = UNSET
    labels: list[str] | ServiceLabelsType0 | Unset = UNSET
    network_mode: str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.service_environment_type_0 import ServiceEnvironmentType0  # noqa: PLC0415
        from ..models.service_labels_type_0 import ServiceLabelsType0  # noqa: PLC0415

        image = self.image

        command: list[str] | None | str | Unset
        if isinstance(self.command, Unset):
            command = UNSET
        elif isinstance(self.command, list):
            command = self.command

        else:
            command = self.command

        entrypoint: list[str] | None | str | Unset
        if isinstance(self.entrypoint, Unset):
            entrypoint = UNSET
        elif isinstance(self.entrypoint, list):
            entrypoint = self.entrypoint

        else:
            entrypoint = self.entrypoint

        working_dir = self.working_dir

        environment: dict[str, Any] | list[str] | Unset
        if isinstance(self.environment, Unset):
            environment = UNSET
        elif isinstance(self.environment, ServiceEnvironmentType0):
            environment = self.environment.to_dict()
        else:
            environment = self.environment

        hostname = self.hostname

        labels: dict[str, Any] | list[str] | Unset
        if isinstance(self.labels, Unset):
            labels = UNSET
        elif isinstance(self.labels, ServiceLabelsType0):
            labels = self.labels.to_dict()
        else:
            labels = self.labels

        network_mode = self.network_mode

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "image": image,
            }
        )
        if command is not UNSET:
            field_dict["command"] = command
        if entrypoint is not UNSET:
            field_dict["entrypoint"] = entrypoint
        if working_dir is not UNSET:
            field_dict["working_dir"] = working_dir
        if environment is not UNSET:
            field_dict["environment"] = environment
        if hostname is not UNSET:
            field_dict["hostname"] = hostname
        if labels is not UNSET:
            field_dict["labels"] = labels
        if network_mode is not UNSET:
            field_dict["network_mode"] = network_mode

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_environment_type_0 import ServiceEnvironmentType0  # noqa: PLC0415
        from ..models.service_labels_type_0 import ServiceLabelsType0  # noqa: PLC0415

        d = dict(src_dict)
        image = d.pop("image")

        def _parse_command(data: object) -> list[str] | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                command_type_1 = cast(list[str], data)

                return command_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | str | Unset, data)

        command = _parse_command(d.pop("command", UNSET))

        def _parse_entrypoint(data: object) -> list[str] | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                entrypoint_type_1 = cast(list[str], data)

                return entrypoint_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | str | Unset, data)

        entrypoint = _parse_entrypoint(d.pop("entrypoint", UNSET))

        working_dir = d.pop("working_dir", UNSET)

        def _parse_environment(
            data: object,
        ) -> list[str] | ServiceEnvironmentType0 | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                environment_type_0 = ServiceEnvironmentType0.from_dict(data)

                return environment_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, list):
                raise TypeError()
            environment_type_1 = cast(list[str], data)

            return environment_type_1

        environment = _parse_environment(d.pop("environment", UNSET))

        hostname = d.pop("hostname", UNSET)

        def _parse_labels(data: object) -> list[str] | ServiceLabelsType0 | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                labels_type_0 = ServiceLabelsType0.from_dict(data)

                return labels_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, list):
                raise TypeError()
            labels_type_1 = cast(list[str], data)

            return labels_type_1

        labels = _parse_labels(d.pop("labels", UNSET))

        network_mode = d.pop("network_mode", UNSET)

        service = cls(
            image=image,
            command=command,
            entrypoint=entrypoint,
            working_dir=working_dir,
            environment=environment,
            hostname=hostname,
            labels=labels,
            network_mode=network_mode,
        )

        service.additional_properties = d
        return service

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
