"""The filter's decisions, by an interpreter of classic BPF: aarch64 does not run everywhere."""

from __future__ import annotations

import struct

import pytest

from lunette.server.engines.bubblewrap.inside.seccomp import (
    UnsupportedArchitectureError,
    filter_program,
)

ALLOW, KILL, EPERM, ENOSYS, EAFNOSUPPORT = 0x7FFF0000, 0x80000000, 0x50001, 0x50026, 0x50061
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {
        "read": 0,
        "clone": 56,
        "unshare": 272,
        "ioctl": 16,
        "socket": 41,
        "mount": 165,
        "keyctl": 250,
    },
    "aarch64": {
        "read": 63,
        "clone": 220,
        "unshare": 97,
        "ioctl": 29,
        "socket": 198,
        "mount": 40,
        "keyctl": 219,
    },
}


def decide(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the program of *machine* on one system call and return what it answers."""
    program = list(struct.iter_unpack("=HBBI", filter_program(machine)))
    data = struct.pack(
        "=IIQ6Q", number, audit or AUDIT[machine], 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6]
    )
    accumulator, position = 0, 0
    while True:
        code, yes, no, value = program[position]
        position += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
            continue
        holds = {
            0x15: accumulator == value,
            0x35: accumulator >= value,
            0x45: bool(accumulator & value),
        }
        position += yes if holds[code] else no


machines = pytest.mark.parametrize("machine", AUDIT)


@machines
def test_everyday_calls_are_allowed(machine: str) -> None:
    numbers = NUMBERS[machine]
    assert decide(machine, numbers["read"]) == ALLOW
    assert decide(machine, numbers["clone"], 0x11) == ALLOW
    assert decide(machine, numbers["unshare"], 0x20000) == ALLOW
    assert decide(machine, numbers["ioctl"], 0, 0x5413) == ALLOW
    for family in (1, 2, 10, 16):
        assert decide(machine, numbers["socket"], family) == ALLOW


@machines
def test_the_rest_is_refused(machine: str) -> None:
    numbers = NUMBERS[machine]
    assert decide(machine, numbers["mount"]) == EPERM
    assert decide(machine, numbers["keyctl"]) == EPERM
    assert decide(machine, numbers["clone"], 0x10000011) == EPERM
    assert decide(machine, numbers["unshare"], 0x10000000) == EPERM
    assert decide(machine, numbers["ioctl"], 0, 0x5412) == EPERM
    assert decide(machine, 425) == EPERM  # io_uring_setup
    assert decide(machine, 435) == ENOSYS  # clone3
    for family in (17, 38, 40):  # PACKET, ALG, VSOCK
        assert decide(machine, numbers["socket"], family) == EAFNOSUPPORT


@machines
@pytest.mark.parametrize("number", [463, 600, 0x40000000, 0x40000000 + 165])
def test_what_is_newer_than_the_review_does_not_exist(machine: str, number: int) -> None:
    assert decide(machine, number) == ENOSYS


@machines
def test_another_architecture_is_killed(machine: str) -> None:
    assert decide(machine, 0, audit=0x40000003) == KILL  # i386


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match="riscv64"):
        filter_program("riscv64")
