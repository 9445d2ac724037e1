from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.lifetimes import Lifetimes
    from ..models.limits import Limits


T = TypeVar("T", bound="Capabilities")


@_attrs_define
class Capabilities:
    """
    Attributes:
        name (str):
        version (str): The version of the server.
        api_version (str): `info.version` of the contract that the server speaks.
        engine (str):
        isolation (str): How sandboxes are kept apart, in one word, such as the uid mode of the engine.
        limits (Limits):
        images (list[str] | Unset): Images that are always there.
        pulls_images (bool | Unset): Whether images are pulled from registries.
        platform (str | Unset): Of the images that run here.
        service_keys (list[str] | Unset): The Compose keys that the engine supports.
        network_modes (list[str] | Unset):
        enforces (list[str] | Unset): Limits of a sandbox that the engine enforces; what is missing is refused, or not
            kept where the server was told to allow that.
        limits_by (str | Unset): What enforces memory and processors.
        lifetimes (Lifetimes | Unset): In seconds; what is left out is without end.
    """

    name: str
    version: str
    api_version: str
    engine: str
    isolation: str
    limits: Limits
    images: list[str] | Unset = UNSET
    pulls_images: bool | Unset = UNSET
    platform: str | Unset = UNSET
    service_keys: list[str] | Unset = UNSET
    network_modes: list[str] | Unset = UNSET
    enforces: list[str] | Unset = UNSET
    limits_by: str | Unset = UNSET
    lifetimes: Lifetimes | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.lifetimes import Lifetimes  # noqa: PLC0415
        from ..models.limits import Limits  # noqa: PLC0415

        name = self.name

        version = self.version

        api_version = self.api_version

        engine = self.engine

        isolation = self.isolation

        limits = self.limits.to_dict()

        images: list[str] | Unset = UNSET
        if not isinstance(self.images, Unset):
            images = self.images

        pulls_images = self.pulls_images

        platform = self.platform

        service_keys: list[str] | Unset = UNSET
        if not isinstance(self.service_keys, Unset):
            service_keys = self.service_keys

        network_modes: list[str] | Unset = UNSET
        if not isinstance(self.network_modes, Unset):
            network_modes = self.network_modes

        enforces: list[str] | Unset = UNSET
        if not isinstance(self.enforces, Unset):
            enforces = self.enforces

        limits_by = self.limits_by

        lifetimes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.lifetimes, Unset):
            lifetimes = self.lifetimes.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "name": name,
                "version": version,
                "api_version": api_version,
                "engine": engine,
                "isolation": isolation,
                "limits": limits,
            }
        )
        if images is not UNSET:
            field_dict["images"] = images
        if pulls_images is not UNSET:
            field_dict["pulls_images"] = pulls_images
        if platform is not UNSET:
            field_dict["platform"] = platform
        if service_keys is not UNSET:
            field_dict["service_keys"] = service_keys
        if network_modes is not UNSET:
            field_dict["network_modes"] = network_modes
        if enforces is not UNSET:
            field_dict["enforces"] = enforces
        if limits_by is not UNSET:
            field_dict["limits_by"] = limits_by
        if lifetimes is not UNSET:
            field_dict["lifetimes"] = lifetimes

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.lifetimes import Lifetimes  # noqa: PLC0415
        from ..models.limits import Limits  # noqa: PLC0415

        d = dict(src_dict)
        name = d.pop("name")

        version = d.pop("version")

        api_version = d.pop("api_version")

        engine = d.pop("engine")

        isolation = d.pop("isolation")

        limits = Limits.from_dict(d.pop("limits"))

        images = cast(list[str], d.pop("images", UNSET))

        pulls_images = d.pop("pulls_images", UNSET)

        platform = d.pop("platform", UNSET)

        service_keys = cast(list[str], d.pop("service_keys", UNSET))

        network_modes = cast(list[str], d.pop("network_modes", UNSET))

        enforces = cast(list[str], d.pop("enforces", UNSET))

        limits_by = d.pop("limits_by", UNSET)

        _lifetimes = d.pop("lifetimes", UNSET)
        lifetimes: Lifetimes | Unset
        if isinstance(_lifetimes, Unset):
            lifetimes = UNSET
        else:
            lifetimes = Lifetimes.from_dict(_lifetimes)

        capabilities = cls(
            name=name,
            version=version,
            api_version=api_version,
            engine=engine,
            isolation=isolation,
            limits=limits,
            images=images,
            pulls_images=pulls_images,
            platform=platform,
            service_keys=service_keys,
            network_modes=network_modes,
            enforces=enforces,
            limits_by=limits_by,
            lifetimes=lifetimes,
        )

        capabilities.additional_properties = d
        return capabilities

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
