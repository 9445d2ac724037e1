"""A Docker daemon of our own, with one container of little more than a shell, to compare with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path

__all__ = ["container"]

_PROGRAMS = ("sh", "head", "sleep")
# A namespace of processes ends with its first; one of mounts hides what dockerd writes besides.
_START = """
    set -e
    mount -t tmpfs none /opt
    mount -t tmpfs none /run
    exec dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver vfs \
        --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/pid" \
        --config-file "$0/daemon.json" -H "unix://$0/socket"
"""
_SEPARATE = "unshare --mount --propagation private --pid --fork --kill-child --mount-proc"


@contextlib.contextmanager
def container() -> Generator[list[str] | None]:
    """Yield the command that runs something in a container by `docker exec`; None where there is no
    Docker.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("docker", "dockerd", "containerd"))):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="dockerd-") as directory, _daemon(directory):
        docker = ["docker", "-H", f"unix://{directory}/socket"]
        _quietly(*docker, "import", "-", "bench", given=_image())
        name = f"bench-{uuid.uuid4().hex}"
        run = [*docker, "run", "-d", "--network=none", "--name", name, "bench"]
        _quietly(*run, "/bin/sleep", "3600")
        try:
            yield [*docker, "exec", name]
        finally:
            _quietly(*docker, "rm", "-f", name)


def _quietly(*command: str, given: bytes | None = None) -> None:
    subprocess.run(command, input=given, stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def _daemon(directory: str) -> Generator[None]:
    key = {"deprecated-key-path": f"{directory}/key.json"}  # else in /etc
    Path(directory, "daemon.json").write_text(json.dumps(key))
    daemon = subprocess.Popen(
        [*_SEPARATE.split(), "sh", "-c", _START, directory], stderr=subprocess.PIPE, text=True
    )
    assert daemon.stderr is not None
    try:
        if not any("API listen on" in line for line in daemon.stderr):
            raise RuntimeError("dockerd did not start")
        yield
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.read()  # until the last process that could write has ended
        daemon.stderr.close()


def _image() -> bytes:
    """Pack this machine's own programs with the libraries that they need."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        for program in _PROGRAMS:
            path = shutil.which(program)
            assert path is not None
            tar.add(path, f"bin/{program}")
            told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
            for library in re.findall(r"(/\S+) \(0x", told.stdout):
                if library.lstrip("/") not in tar.getnames():
                    tar.add(library, library.lstrip("/"))
    return packed.getvalue()
