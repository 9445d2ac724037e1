from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.digest_algorithm import DigestAlgorithm
from ..models.upload_request_format import UploadRequestFormat
from ..models.upload_request_if_exists import UploadRequestIfExists
from ..types import UNSET, Unset


T = TypeVar("T", bound="UploadRequest")


@_attrs_define
class UploadRequest:
    """
    Attributes:
        path (str):
        format_ (UploadRequestFormat | Unset): `tar` is a directory: what the archive has is put below `path`. Names are
            relative, without `..`; entries
            are directories, regular files, symbolic links and hard links to what came before, and anything else is
            `422 invalid_request`. Owners are ignored, modes and times kept.
             Default: UploadRequestFormat.FILE.
        mode (str | Unset):
        if_exists (UploadRequestIfExists | Unset): What to do with a file that is there: replace it, refuse to (`409
            file_exists`, when it is begun and when it
            is committed), or write behind its end, at once and as it comes. Of a directory only `replace`.
             Default: UploadRequestIfExists.REPLACE.
        digest (DigestAlgorithm | Unset): `xxh3-64` is XXH3 of 64 bits without a seed, in its canonical form: eight
            bytes, the highest first. It costs a tenth
            of `sha-256` and finds what goes wrong by accident; who fears that somebody changes what is sent needs TLS.
    """

    path: str
    format_: UploadRequestFormat | Unset = UploadRequestFormat.FILE
    mode: str | Unset = UNSET
    if_exists: UploadRequestIfExists | Unset = UploadRequestIfExists.REPLACE
    digest: DigestAlgorithm | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        path = self.path

        format_: str | Unset = UNSET
        if not isinstance(self.format_, Unset):
            format_ = self.format_.value

        mode = self.mode

        if_exists: str | Unset = UNSET
        if not isinstance(self.if_exists, Unset):
            if_exists = self.if_exists.value

        digest: str | Unset = UNSET
        if not isinstance(self.digest, Unset):
            digest = self.digest.value

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "path": path,
            }
        )
        if format_ is not UNSET:
            field_dict["format"] = format_
        if mode is not UNSET:
            field_dict["mode"] = mode
        if if_exists is not UNSET:
            field_dict["if_exists"] = if_exists
        if digest is not UNSET:
            field_dict["digest"] = digest

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        path = d.pop("path")

        _format_ = d.pop("format", UNSET)
        format_: UploadRequestFormat | Unset
        if isinstance(_format_, Unset):
            format_ = UNSET
        else:
            format_ = UploadRequestFormat(_format_)

        mode = d.pop("mode", UNSET)

        _if_exists = d.pop("if_exists", UNSET)
        if_exists: UploadRequestIfExists | Unset
        if isinstance(_if_exists, Unset):
            if_exists = UNSET
        else:
            if_exists = UploadRequestIfExists(_if_exists)

        _digest = d.pop("digest", UNSET)
        digest: DigestAlgorithm | Unset
        if isinstance(_digest, Unset):
            digest = UNSET
        else:
            digest = DigestAlgorithm(_digest)

        upload_request = cls(
            path=path,
            format_=format_,
            mode=mode,
            if_exists=if_exists,
            digest=digest,
        )

        return upload_request
