from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.service import Service


T = TypeVar("T", bound="CreateSandbox")


@_attrs_define
class CreateSandbox:
    """
    Attributes:
        service (Service): A Compose service (https://github.com/compose-spec/compose-spec/blob/main/05-services.md).
            `service_keys` of
            `GET /capabilities` names the keys that this server's engine supports. Any other key that Compose knows is
            `422 not_supported`, and so is a value that the engine cannot keep (a limit is never ignored); a key that
            Compose does not know is `422 invalid_service`. Keys that begin with `x-` are ignored, except `x-lunette`, which
            is reserved. `env_file`, `build` and what else names a file of the client's is the client's to read.

            Sizes are bytes, or a string with one of Docker's units, all powers of 1,024: `b`, `k`, `m`, `g`, `t`, each
            also with a `b` or `ib` after it.
        ttl (float | Unset):
        idle_timeout (float | Unset):
    """

    service: Service
    ttl: float | Unset = UNSET
    idle_timeout: float | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.service import Service  # noqa: PLC0415

        service = self.service.to_dict()

        ttl = self.ttl

        idle_timeout = self.idle_timeout

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "service": service,
            }
        )
        if ttl is not UNSET:
            field_dict["ttl"] = ttl
        if idle_timeout is not UNSET:
            field_dict["idle_timeout"] = idle_timeout

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service import Service  # noqa: PLC0415

        d = dict(src_dict)
        service = Service.from_dict(d.pop("service"))

        ttl = d.pop("ttl", UNSET)

        idle_timeout = d.pop("idle_timeout", UNSET)

        create_sandbox = cls(
            service=service,
            ttl=ttl,
            idle_timeout=idle_timeout,
        )

        return create_sandbox
