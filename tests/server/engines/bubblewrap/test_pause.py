"""The program of a few bytes: what it does where this machine can run it, and how it is built."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lunette.server.engines.bubblewrap.inside import pause
from lunette.server.engines.bubblewrap.inside.launching import PAUSE_FD
from lunette.server.engines.bubblewrap.inside.pause import pause_program

GUARD = 30.0


@contextmanager
def running(*fds: int) -> Generator[subprocess.Popen[bytes]]:
    """Run the program from a memfd under the descriptor that it expects, as bwrap does."""
    memfd = os.memfd_create("pause", os.MFD_CLOEXEC)
    os.write(memfd, pause_program())
    os.dup2(memfd, PAUSE_FD)
    try:
        process = subprocess.Popen(
            ["pause"],
            executable=f"/proc/self/fd/{PAUSE_FD}",
            stdin=subprocess.PIPE,
            pass_fds=(PAUSE_FD, *fds),
            env={},
        )
    finally:
        os.close(memfd)
        os.close(PAUSE_FD)
    assert process.stdin is not None
    with process:
        yield process
        process.kill()


def _reads(pid: int) -> bool:
    """Return whether a process waits in a system call."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def _until_it_reads(process: subprocess.Popen[bytes]) -> None:
    while not _reads(process.pid):
        assert process.poll() is None
        os.sched_yield()


def test_it_ends_with_its_standard_input() -> None:
    with running() as process:
        _until_it_reads(process)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(GUARD) == 0


def test_it_closes_what_it_was_run_from_and_nothing_else() -> None:
    reading, writing = os.pipe()
    with running(reading) as process:
        _until_it_reads(process)
        names = {int(entry.name) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert names == {0, 1, 2, reading}
    os.close(reading)
    os.close(writing)


def test_it_reads_over_what_comes_and_over_signals() -> None:
    with running() as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 100_000)  # more than a pipe holds: it has to read
        process.stdin.flush()
        for _ in range(3):
            _until_it_reads(process)
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            process.send_signal(signal.SIGCONT)
            os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(GUARD) == 0


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_file_is_an_elf_of_one_segment(
    machine: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uname = os.uname()
    other = os.uname_result((*uname[:4], machine))
    monkeypatch.setattr(pause.os, "uname", lambda: other)
    program = pause_program()
    header = struct.unpack_from("<16sHHIQQQIHHHHHH", program)
    assert header[0][:7] == b"\x7fELF\x02\x01\x01"
    assert header[1:4] == (2, number, 1)
    segment = struct.unpack_from("<IIQQQQQQ", program, header[5])
    kind, flags, offset, address, _, file_size, memory_size, _ = segment
    assert (kind, flags, offset) == (1, 5, 0)  # load; read and execute, and not write
    assert file_size == memory_size == len(program)
    assert header[4] - address == 64 + 56  # it begins right after the headers
    if machine == "aarch64":
        assert (len(program) - 120) % 4 == 0


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_it_closes_the_descriptor_that_launching_gives(machine: str) -> None:
    code = bytes.fromhex(pause._CODE[machine][1])
    if machine == "x86_64":
        assert code[5:10] == b"\xbf" + struct.pack("<I", PAUSE_FD)  # mov edi, 64
        return
    instruction = struct.unpack_from("<I", code, 4)[0]  # movz x0, #64
    assert instruction == 0xD2800000 | PAUSE_FD << 5
