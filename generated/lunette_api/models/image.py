from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.image_state import ImageState
from ..types import UNSET, Unset
from typing import cast
import datetime

if TYPE_CHECKING:
    from ..models.progress import Progress


T = TypeVar("T", bound="Image")


@_attrs_define
class Image:
    """
    Attributes:
        reference (str): The whole reference.
        state (ImageState):
        image_id (str | Unset): The digest of the image's configuration, as Docker's image id.
        digest (str | Unset): The digest of its manifest, by which it can be pulled again.
        size (int | Unset): The bytes of its layers, compressed.
        unpacked (int | Unset): The bytes that it takes on disk.
        created (str | Unset): When it was made, as the image says.
        pulled_at (datetime.datetime | Unset):
        progress (Progress | Unset): How far the image is that a sandbox waits for; only while it is pulled or unpacked.
    """

    reference: str
    state: ImageState
    image_id: str | Unset = UNSET
    digest: str | Unset = UNSET
    size: int | Unset = UNSET
    unpacked: int | Unset = UNSET
    created: str | Unset = UNSET
    pulled_at: datetime.datetime | Unset = UNSET
    progress: Progress | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.progress import Progress  # noqa: PLC0415

        reference = self.reference

        state = self.state.value

        image_id = self.image_id

        digest = self.digest

        size = self.size

        unpacked = self.unpacked

        created = self.created

        pulled_at: str | Unset = UNSET
        if not isinstance(self.pulled_at, Unset):
            pulled_at = self.pulled_at.isoformat()

        progress: dict[str, Any] | Unset = UNSET
        if not isinstance(self.progress, Unset):
            progress = self.progress.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "reference": reference,
                "state": state,
            }
        )
        if image_id is not UNSET:
            field_dict["image_id"] = image_id
        if digest is not UNSET:
            field_dict["digest"] = digest
        if size is not UNSET:
            field_dict["size"] = size
        if unpacked is not UNSET:
            field_dict["unpacked"] = unpacked
        if created is not UNSET:
            field_dict["created"] = created
        if pulled_at is not UNSET:
            field_dict["pulled_at"] = pulled_at
        if progress is not UNSET:
            field_dict["progress"] = progress

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.progress import Progress  # noqa: PLC0415

        d = dict(src_dict)
        reference = d.pop("reference")

        state = ImageState(d.pop("state"))

        image_id = d.pop("image_id", UNSET)

        digest = d.pop("digest", UNSET)

        size = d.pop("size", UNSET)

        unpacked = d.pop("unpacked", UNSET)

        created = d.pop("created", UNSET)

        _pulled_at = d.pop("pulled_at", UNSET)
        pulled_at: datetime.datetime | Unset
        if isinstance(_pulled_at, Unset):
            pulled_at = UNSET
        else:
            pulled_at = datetime.datetime.fromisoformat(_pulled_at)

        _progress = d.pop("progress", UNSET)
        progress: Progress | Unset
        if isinstance(_progress, Unset):
            progress = UNSET
        else:
            progress = Progress.from_dict(_progress)

        image = cls(
            reference=reference,
            state=state,
            image_id=image_id,
            digest=digest,
            size=size,
            unpacked=unpacked,
            created=created,
            pulled_at=pulled_at,
            progress=progress,
        )

        image.additional_properties = d
        return image

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
