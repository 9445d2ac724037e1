from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset


T = TypeVar("T", bound="Limits")


@_attrs_define
class Limits:
    """
    Attributes:
        json_body (int): The largest JSON body in bytes.
        output (int): The output of a command that is kept by default, in bytes a stream.
        read (int): The largest file that `read` answers, in bytes.
        output_limit (int | Unset): The largest `output_limit` of a command.
        log (int | Unset): The output of a process that is kept to be followed, in bytes.
        logs (int | Unset): The same of all processes of a sandbox together, on the disk, in bytes.
        input_chunk (int | Unset): The largest body of `PUT .../input`, in bytes.
        uploads (int | Unset): Uploads that a sandbox has open at a time.
        archives (int | Unset): Directories that come in and go out of a sandbox at a time.
        archive_piece (int | Unset): The most bytes of one answer of `GET .../archives/{archive_id}`.
        listing (int | Unset): The most entries of a listing.
        disk (int | Unset): The disk that a sandbox may use, in bytes: its writable layer and `/workspace` together.
        free_disk (int | Unset): Bytes that must be free on the server's disk for a create.
        tmp (int | Unset): The size of `/tmp`, and of a `tmpfs` without one, in bytes.
        shm (int | Unset): The size of `/dev/shm` without `shm_size`, in bytes.
        processes (int | Unset): Processes and threads of a sandbox without `pids_limit`.
        memory (int | Unset): The memory of a sandbox without `mem_limit`, in bytes.
        cpus (float | Unset): The processors of a sandbox without `cpus`.
        image (int | Unset): The largest image, unpacked, in bytes.
        image_files (int | Unset): The most files of an image.
        starting_commands (int | Unset): Commands that are started at the same time.
        starting_sandboxes (int | Unset): Sandboxes that are made at the same time.
    """

    json_body: int
    output: int
    read: int
    output_limit: int | Unset = UNSET
    log: int | Unset = UNSET
    logs: int | Unset = UNSET
    input_chunk: int | Unset = UNSET
    uploads: int | Unset = UNSET
    archives: int | Unset = UNSET
    archive_piece: int | Unset = UNSET
    listing: int | Unset = UNSET
    disk: int | Unset = UNSET
    free_disk: int | Unset = UNSET
    tmp: int | Unset = UNSET
    shm: int | Unset = UNSET
    processes: int | Unset = UNSET
    memory: int | Unset = UNSET
    cpus: float | Unset = UNSET
    image: int | Unset = UNSET
    image_files: int | Unset = UNSET
    starting_commands: int | Unset = UNSET
    starting_sandboxes: int | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        json_body = self.json_body

        output = self.output

        read = self.read

        output_limit = self.output_limit

        log = self.log

        logs = self.logs

        input_chunk = self.input_chunk

        uploads = self.uploads

        archives = self.archives

        archive_piece = self.archive_piece

        listing = self.listing

        disk = self.disk

        free_disk = self.free_disk

        tmp = self.tmp

        shm = self.shm

        processes = self.processes

        memory = self.memory

        cpus = self.cpus

        image = self.image

        image_files = self.image_files

        starting_commands = self.starting_commands

        starting_sandboxes = self.starting_sandboxes

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "json_body": json_body,
                "output": output,
                "read": read,
            }
        )
        if output_limit is not UNSET:
            field_dict["output_limit"] = output_limit
        if log is not UNSET:
            field_dict["log"] = log
        if logs is not UNSET:
            field_dict["logs"] = logs
        if input_chunk is not UNSET:
            field_dict["input_chunk"] = input_chunk
        if uploads is not UNSET:
            field_dict["uploads"] = uploads
        if archives is not UNSET:
            field_dict["archives"] = archives
        if archive_piece is not UNSET:
            field_dict["archive_piece"] = archive_piece
        if listing is not UNSET:
            field_dict["listing"] = listing
        if disk is not UNSET:
            field_dict["disk"] = disk
        if free_disk is not UNSET:
            field_dict["free_disk"] = free_disk
        if tmp is not UNSET:
            field_dict["tmp"] = tmp
        if shm is not UNSET:
            field_dict["shm"] = shm
        if processes is not UNSET:
            field_dict["processes"] = processes
        if memory is not UNSET:
            field_dict["memory"] = memory
        if cpus is not UNSET:
            field_dict["cpus"] = cpus
        if image is not UNSET:
            field_dict["image"] = image
        if image_files is not UNSET:
            field_dict["image_files"] = image_files
        if starting_commands is not UNSET:
            field_dict["starting_commands"] = starting_commands
        if starting_sandboxes is not UNSET:
            field_dict["starting_sandboxes"] = starting_sandboxes

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        json_body = d.pop("json_body")

        output = d.pop("output")

        read = d.pop("read")

        output_limit = d.pop("output_limit", UNSET)

        log = d.pop("log", UNSET)

        logs = d.pop("logs", UNSET)

        input_chunk = d.pop("input_chunk", UNSET)

        uploads = d.pop("uploads", UNSET)

        archives = d.pop("archives", UNSET)

        archive_piece = d.pop("archive_piece", UNSET)

        listing = d.pop("listing", UNSET)

        disk = d.pop("disk", UNSET)

        free_disk = d.pop("free_disk", UNSET)

        tmp = d.pop("tmp", UNSET)

        shm = d.pop("shm", UNSET)

        processes = d.pop("processes", UNSET)

        memory = d.pop("memory", UNSET)

        cpus = d.pop("cpus", UNSET)

        image = d.pop("image", UNSET)

        image_files = d.pop("image_files", UNSET)

        starting_commands = d.pop("starting_commands", UNSET)

        starting_sandboxes = d.pop("starting_sandboxes", UNSET)

        limits = cls(
            json_body=json_body,
            output=output,
            read=read,
            output_limit=output_limit,
            log=log,
            logs=logs,
            input_chunk=input_chunk,
            uploads=uploads,
            archives=archives,
            archive_piece=archive_piece,
            listing=listing,
            disk=disk,
            free_disk=free_disk,
            tmp=tmp,
            shm=shm,
            processes=processes,
            memory=memory,
            cpus=cpus,
            image=image,
            image_files=image_files,
            starting_commands=starting_commands,
            starting_sandboxes=starting_sandboxes,
        )

        limits.additional_properties = d
        return limits

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
