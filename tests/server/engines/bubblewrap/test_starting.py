"""What a worker is told of a service, and what is refused before anything of it is made."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen

from lunette.server.engines.bubblewrap._hosts import hosts_of
from lunette.server.engines.bubblewrap._identities import IMAGE_IDS, IdRange
from lunette.server.engines.bubblewrap._limits import PROCESSES
from lunette.server.engines.bubblewrap._starting import (
    check_limits,
    make_disk,
    start_message,
    working_dir,
)
from lunette.server.engines.bubblewrap._users import User
from lunette.server.engines.protocol import NotSupportedError, SandboxSpec, Tmpfs

SPEC = SandboxSpec(id="id", image="host")
MEMORY = 1 << 30
ROOT, APP = User(0, 0, (), "/root"), User(1000, 1001, (5,), "/home/app")


@frozen
class SomeImage:
    """An image that says what a test wants."""

    source: Path | None = None
    working_dir: str | None = None
    environment: Mapping[str, str] = field(factory=dict[str, str])
    user: str | None = None
    passwd: str = ""
    group: str = ""
    directories: tuple[str, ...] = ("workspace", "upper")
    closed: tuple[str, ...] = ("/",)

    def check(self, spec: SandboxSpec) -> None: ...
    def below(self, disk: Path) -> list[str]:
        return []

    def above(self, spec: SandboxSpec, disk: Path) -> list[str]:
        return []

    def release(self) -> None: ...


@pytest.fixture
def ids(tmp_path: Path) -> Iterator[IdRange]:
    found = IdRange(0x7100_0000, 65_536, tmp_path / "lock", os.open(tmp_path, os.O_RDONLY))
    yield found
    found.release()


def _message(
    spec: SandboxSpec = SPEC,
    *,
    image: SomeImage = SomeImage(),
    ids: IdRange | None = None,
    user: User = ROOT,
) -> dict[str, Any]:
    found: dict[str, Any] = start_message(
        spec,
        image=image,
        arguments="a\0b\0",
        libraries=Path("/libraries"),
        disk=Path("/disk"),
        disk_limit=123,
        ids=ids,
        user=user,
    )
    return found


def test_a_service_that_says_nothing() -> None:
    found = _message()
    assert (found["op"], found["arguments"], found["disk"]) == ("start", "a\0b\0", 123)
    assert found["environment"] == {"LD_LIBRARY_PATH": "/libraries"}
    assert (found["processes"], found["ulimits"], found["tmpfs"]) == (PROCESSES, {}, [])
    assert (found["base"], found["count"], found["capabilities"]) == (None, 0, 0)
    assert (found["read_only"], found["working_dir"], found["image"]) == ((), "/workspace", None)


def test_a_service_that_says_much(ids: IdRange) -> None:
    spec = evolve(SPEC, pids_limit=50, ulimits={"nofile": (1, 2)}, read_only=True)
    found = _message(spec, image=SomeImage(source=Path("/tree")), ids=ids, user=APP)
    assert (found["processes"], found["ulimits"]) == (50, {"nofile": (1, 2)})
    assert found["read_only"] == ("/",)
    assert found["user"] == {"uid": 1000, "gid": 1001, "groups": (5,)}
    assert (found["base"], found["count"]) == (ids.base, ids.count)
    assert found["image"] == {"source": "/tree", "target": "/disk/image", "base": IMAGE_IDS[0]}
    assert found["capabilities"]


@pytest.mark.parametrize(
    ("service", "image", "expected"),
    [
        (None, None, "/workspace"),
        (None, "/image", "/image"),
        ("/service", "/image", "/service"),
        ("/service", None, "/service"),
    ],
)
def test_where_commands_start(service: str | None, image: str | None, expected: str) -> None:
    spec = evolve(SPEC, working_dir=service)
    assert working_dir(spec, SomeImage(working_dir=image)) == expected
    assert _message(spec, image=SomeImage(working_dir=image))["working_dir"] == expected


@pytest.mark.parametrize(
    ("entry", "options", "flags"),
    [
        (Tmpfs(path="/a"), "size=1073741824,mode=1777", ["nosuid", "nodev", "noexec"]),
        (
            Tmpfs(path="/a", size=5, mode=0o700, flags=frozenset({"exec", "ro"})),
            *("size=5,mode=700", ["nosuid", "nodev", "ro"]),
        ),
    ],
)
def test_directories_in_memory(entry: Tmpfs, options: str, flags: list[str]) -> None:
    (found,) = _message(evolve(SPEC, tmpfs=(entry,)))["tmpfs"]
    assert found == {"path": "/a", "options": options, "flags": flags}


def test_the_owner_of_a_directory_in_memory(ids: IdRange) -> None:
    spec = evolve(SPEC, tmpfs=(Tmpfs(path="/a", size=1, mode=0o1, uid=5, gid=6),))
    (found,) = _message(spec, ids=ids, user=APP)["tmpfs"]
    assert found["options"] == "size=1,mode=1,uid=5,gid=6"
    # Where there is one id alone it is the user's, and nothing has to be said.
    own = evolve(SPEC, tmpfs=(Tmpfs(path="/a", size=1, mode=0o1, uid=1000, gid=1001),))
    (found,) = _message(own, user=APP)["tmpfs"]
    assert found["options"] == "size=1,mode=1"
    for uid, gid in ((5, None), (None, 5), (0, None)):
        other = evolve(SPEC, tmpfs=(Tmpfs(path="/a", uid=uid, gid=gid),))
        with pytest.raises(NotSupportedError, match="has no id but") as caught:
            _message(other, user=APP)
        assert caught.value.key == "tmpfs"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Return the hard limits of this process, to be changed; others are unlimited."""
    found: dict[int, int] = {}
    monkeypatch.setattr(
        resource, "getrlimit", lambda number: (0, found.get(number, resource.RLIM_INFINITY))
    )
    return found


@pytest.mark.parametrize("hard", [0, 1, 5, 10])
def test_a_limit_within_the_servers_own(own: dict[int, int], hard: int) -> None:
    own[resource.RLIMIT_NOFILE] = 10
    ulimits = {"nofile": (0, hard), "core": (-1, -1), "as": (1, 1 << 62)}
    check_limits(evolve(SPEC, ulimits=ulimits), MEMORY)


@pytest.mark.parametrize("hard", [11, 1 << 62, -1])
@pytest.mark.parametrize("name", ["nofile", "core", "memlock", "msgqueue", "rtprio"])
def test_a_limit_over_the_servers_own(own: dict[int, int], name: str, hard: int) -> None:
    own[getattr(resource, f"RLIMIT_{name.upper()}")] = 10
    with pytest.raises(NotSupportedError, match=f"'{name}' is over the server's own, 10") as caught:
        check_limits(evolve(SPEC, ulimits={name: (1, hard)}), MEMORY)
    assert caught.value.key == f"ulimits.{name}"


@pytest.mark.parametrize("name", ["nproc", "fsize"])
def test_what_a_sandbox_limits_itself_may_be_any(own: dict[int, int], name: str) -> None:
    own[getattr(resource, f"RLIMIT_{name.upper()}")] = 10
    check_limits(evolve(SPEC, ulimits={name: (-1, -1)}), MEMORY)


@pytest.mark.parametrize("limit", [1, 4])
def test_a_sandbox_takes_some_processes_itself(limit: int) -> None:
    with pytest.raises(NotSupportedError, match="5 at least") as caught:
        check_limits(evolve(SPEC, pids_limit=limit), MEMORY)
    assert caught.value.key == "pids_limit"
    check_limits(evolve(SPEC, pids_limit=5), MEMORY)


@pytest.mark.parametrize(
    ("key", "value"),
    [("mem_limit", 1), ("mem_limit", (16 << 20) - 1), ("mem_limit", MEMORY + 1), ("cpus", 4096.0)],
)
def test_no_more_than_the_machine_has_and_no_less_than_a_sandbox_takes(
    key: str, value: Any
) -> None:
    with pytest.raises(NotSupportedError, match=f"'{key}") as caught:
        check_limits(evolve(SPEC, **{key: value}), MEMORY)
    assert caught.value.key == key
    check_limits(evolve(SPEC, mem_limit=16 << 20, cpus=0.01), MEMORY)


def test_the_directories_of_a_sandbox(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    spec = evolve(SPEC, hostname="box", extra_hosts=(("db", "10.0.0.1"),))
    make_disk(disk, spec, SomeImage(), ids=None, user=APP)
    assert {entry.name for entry in disk.iterdir()} == {"workspace", "upper", "hosts"}
    assert disk.stat().st_mode & 0o777 == 0o700
    assert (disk / "hosts").read_text() == hosts_of(spec)
    make_disk(tmp_path / "shown", SPEC, SomeImage(source=tmp_path), ids=None, user=ROOT)
    assert (tmp_path / "shown/image").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_whose_the_directories_are(tmp_path: Path, ids: IdRange) -> None:
    disk = tmp_path / "disk"
    make_disk(disk, SPEC, SomeImage(), ids=ids, user=APP)
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in disk.iterdir()}
    own = (ids.base, ids.base)
    assert owners == {
        "hosts": own,
        "upper": own,
        "workspace": (ids.base + 1000, ids.base + 1001),
    }
    assert disk.stat().st_uid == ids.base


def test_hosts() -> None:
    assert hosts_of(SPEC) == "127.0.0.1 localhost sandbox\n::1 localhost\n"
    spec = evolve(SPEC, hostname="box", extra_hosts=(("db", "::2"), ("db", "10.0.0.1")))
    assert hosts_of(spec).splitlines() == [
        *("127.0.0.1 localhost box", "::1 localhost", "::2 db", "10.0.0.1 db"),
    ]
