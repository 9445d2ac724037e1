"""What becomes of honest layers: the rules of the OCI image specification, and Docker's habits."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lunette.server.images.errors import InvalidImageError
from lunette.server.images.unpacking import Unpacked

from ...images import tricky
from ...images.tar_layers import Entry, directory, file, hard_link, opaque, symlink, whiteout
from .layers import TIME, device, fifo, layer
from .stand import Stand
from .stand import stand as stand
from .stand import unpacking as unpacking

OWNER = (1234, 4321)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def owner_of(stand: Stand, path: str) -> tuple[int, int]:
    """Return the owner of *path* as the image knows them."""
    found = (stand.target / path).lstat()
    return found.st_uid - stand.unpacker.user, found.st_gid - stand.unpacker.group


def owned(stand: Stand, owner: tuple[int, int]) -> tuple[int, int]:
    return owner if stand.unpacker.is_range else (0, 0)


def test_an_image_without_layers(stand: Stand) -> None:
    assert stand.unpack() == Unpacked(size=0, files=0, passwd="", group="")
    assert stand.names() == set()


def test_files_directories_and_links(stand: Stand) -> None:
    unpacked = stand.unpack(
        layer(
            directory("d", mode=0o750),
            file("d/f", b"data", mode=0o640),
            symlink("s", "d/f"),
            hard_link("h", "d/f"),
            fifo("p"),
        )
    )
    assert (unpacked.size, unpacked.files) == (4, 5)
    assert stand.names() == {"d", "s", "h", "p"}
    assert stand.read("d/f") == b"data"
    assert (stand.target / "s").readlink() == Path("d/f")
    assert (stand.target / "h").samefile(stand.target / "d/f")
    assert (stand.target / "p").is_fifo()
    modes = {name: mode_of(stand.target / name) for name in ("d", "d/f", "p")}
    assert modes == {"d": 0o750, "d/f": 0o640, "p": 0o640}


def test_owners(stand: Stand) -> None:
    made = [
        directory("d", owner=OWNER),
        file("d/f", owner=OWNER),
        Entry(name="d/s", kind="symlink", link="f", owner=OWNER),
        Entry(name="d/p", kind="fifo", owner=OWNER),
    ]
    stand.unpack(layer(*made, file("implied/f", owner=OWNER)))
    for name in ("d", "d/f", "d/s", "d/p", "implied/f"):
        assert owner_of(stand, name) == owned(stand, OWNER), name
    for name in (".", "implied", "etc", "etc/hosts", "workspace"):
        assert owner_of(stand, name) == (0, 0), name


def test_the_last_id_and_the_one_after(stand: Stand) -> None:
    last = file("last", owner=(65_535, 65_535))
    if not stand.unpacker.is_range:
        stand.unpack(layer(last, file("after", owner=(65_536, 2_000_000_000))))
        return
    message = r"layer 1 of 1: the entry 'after' belongs to user 0 and group 65536, and an image has"
    with pytest.raises(InvalidImageError, match=message):
        stand.unpack(layer(last, file("after", owner=(0, 65_536))))


def test_the_group_is_not_inherited_from_a_directory(stand: Stand) -> None:
    stand.unpack(layer(directory("d", mode=0o2775, owner=(0, 50)), file("d/f"), directory("d/e")))
    assert owner_of(stand, "d/f") == owner_of(stand, "d/e") == (0, 0)
    assert mode_of(stand.target / "d") == 0o2775
    assert mode_of(stand.target / "d/e") == 0o755


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o1644, 0o777, 0, 0o444])
def test_modes_of_files(stand: Stand, mode: int) -> None:
    stand.unpack(layer(file("f", b"data", mode=mode, owner=OWNER)))
    assert mode_of(stand.target / "f") == mode
    assert (stand.target / "f").stat().st_size == 4


@pytest.mark.parametrize("mode", [0, 0o555, 0o1777, 0o2755, 0o111])
def test_modes_of_directories_do_not_stand_in_the_way(stand: Stand, mode: int) -> None:
    first = layer(directory("d", mode=mode), file("d/f"), directory("d/e", mode=mode))
    second = layer(file("d/g"), file("d/e/h"), whiteout("d/f"))
    stand.unpack(first, second)
    assert mode_of(stand.target / "d") == mode_of(stand.target / "d/e") == mode
    assert os.geteuid() or stand.names("d") == {"e", "g"}


def test_times(stand: Stand) -> None:
    seconds = Entry(name="d/f", mtime=1_234_567_890)
    exact = Entry(name="d/exact", pax={"mtime": "1234567890.123456789"})
    before = Entry(name="d/before", pax={"mtime": "-5.5"})
    never = Entry(name="d/never", pax={"mtime": "99999999999999"})
    stand.unpack(layer(directory("d"), seconds, exact, before, never, symlink("d/s", "f")))
    times = {
        name: (stand.target / "d" / name).lstat().st_mtime_ns
        for name in ("f", "exact", "before", "never", "s", ".")
    }
    assert times == {
        "f": 1_234_567_890 * 10**9,
        "exact": 1_234_567_890_123_456_789,
        "before": 0,
        "never": 0,
        "s": TIME * 10**9,
        ".": TIME * 10**9,
    }


def test_a_directory_keeps_its_time_when_a_later_layer_adds_to_it(stand: Stand) -> None:
    stand.unpack(layer(directory("d")), layer(file("d/f")))
    assert (stand.target / "d").stat().st_mtime == TIME


def test_the_root_has_an_entry(stand: Stand) -> None:
    stand.unpack(layer(directory("./", mode=0o700, owner=OWNER), file("./f", b"1"), file("/g")))
    assert stand.names() == {"f", "g"}
    assert mode_of(stand.target) == 0o700
    assert owner_of(stand, ".") == owned(stand, OWNER)


@pytest.mark.parametrize("name", ["a//b/./c", "/a/b/c", "./a/b//c"])
def test_spellings_of_a_name(stand: Stand, name: str) -> None:
    stand.unpack(layer(file(name, b"1")))
    assert stand.read("a/b/c") == b"1"
    assert mode_of(stand.target / "a") == 0o755


@pytest.mark.parametrize("name", ["new\nline", "-rf", "ünï", "\udcff\udc80-bytes", "tab\t*'\"\\"])
def test_odd_names(stand: Stand, name: str) -> None:
    stand.unpack(layer(file(f"d/{name}", b"1"), symlink(name, name)))
    assert stand.names("d") == {name}
    assert (stand.target / name).readlink() == Path(name)


def test_a_file_that_no_chunk_holds(stand: Stand) -> None:
    data = os.urandom(3 << 20) + bytes(5 << 20) + b"end"
    unpacked = stand.unpack(layer(file("a", b"a"), file("f", data), file("z", b"z")))
    assert stand.read("f") == data
    assert stand.read("z") == b"z"
    assert unpacked.size == len(data) + 2
    assert stand.done[-1] == (stand.place / "layer-0").stat().st_size
    assert stand.done == sorted(stand.done)


def test_the_last_of_two_entries_counts(stand: Stand) -> None:
    unpacked = stand.unpack(
        layer(file("f", b"first"), file("f", b"2nd"), symlink("g", "f"), file("g", b"no link"))
    )
    assert stand.read("f") == b"2nd"
    assert stand.read("g") == b"no link"
    assert unpacked.size == 3 + 7


KINDS = {
    "file": [file("x", b"file")],
    "directory": [directory("x", mode=0o700), file("x/below", b"1"), directory("x/deep/er")],
    "symlink": [symlink("x", "other")],
    "hard link": [hard_link("x", "other/file")],
    "fifo": [fifo("x")],
}


@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_one_kind_replaces_another(stand: Stand, before: str, after: str) -> None:
    other = [directory("other"), file("other/file", b"other")]
    unpacked = stand.unpack(layer(*other, *KINDS[before]), layer(*KINDS[after]))
    found = stand.target / "x"
    kind = {"hard link": "file"}.get(after, after)
    tests = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "symlink": stat.S_ISLNK}
    assert tests.get(kind, stat.S_ISFIFO)(found.lstat().st_mode)
    assert stand.names("other") == {"file"}
    assert stand.read("other/file") == b"other"
    assert unpacked.size == 5 + {"file": 4, "directory": 1}.get(after, 0)


def test_a_replaced_file_is_another_one(stand: Stand) -> None:
    stand.unpack(layer(file("a", b"old"), hard_link("b", "a")), layer(file("a", b"new")))
    assert (stand.read("a"), stand.read("b")) == (b"new", b"old")


def test_devices_are_left_out(stand: Stand) -> None:
    unpacked = stand.unpack(layer(device("mem"), device("d/mem"), file("f")))
    assert stand.names() == {"f"}
    assert unpacked.files == 3


def test_a_link_to_a_link(stand: Stand) -> None:
    stand.unpack(layer(symlink("s", "nowhere"), hard_link("h", "s")))
    assert (stand.target / "h").readlink() == Path("nowhere")


def test_a_hard_link_to_itself(stand: Stand) -> None:
    stand.unpack(layer(file("f", b"1"), hard_link("./f", "/f")))
    assert stand.read("f") == b"1"


def test_whiteouts(stand: Stand) -> None:
    unpacked = stand.unpack(
        layer(file("f", b"1"), file("d/e/f", b"22"), symlink("s", "d"), file("stays", b"333")),
        layer(whiteout("f"), whiteout("d"), whiteout("s"), whiteout("never/was")),
    )
    assert stand.names() == {"stays"}
    assert unpacked.size == 3


@pytest.mark.parametrize("last", [False, True])
def test_a_whiteout_hides_only_what_is_below(stand: Stand, last: bool) -> None:
    marks = [whiteout("f"), whiteout("d")]
    new = [file("f", b"new"), file("d/new", b"1")]
    stand.unpack(
        layer(file("f", b"old"), file("d/old", b"1"), file("d/e/old", b"1")),
        layer(*new, *marks) if last else layer(*marks, *new),
    )
    assert stand.read("f") == b"new"
    assert stand.names("d") == {"new"}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("where", ["d", "link"])
def test_an_opaque_directory(stand: Stand, where: str, last: bool) -> None:
    new = [directory("d"), file(f"{where}/new", b"1"), file("d/both/new", b"1"), directory("d/x")]
    old = [file("d/old"), file("d/both/old"), file("d/gone/old"), symlink("link", "d")]
    stand.unpack(
        layer(*old, file("other/f")),
        layer(*new, opaque("link")) if last else layer(opaque(where), *new),
    )
    assert stand.names("d") == {"new", "both", "x"}
    assert stand.names("d/both") == {"new"}
    assert stand.names("other") == {"f"}


def test_an_opaque_root(stand: Stand) -> None:
    stand.unpack(
        layer(file("f"), file("d/f")), layer(file("g"), Entry(name=".wh..wh..opq"), file("d/h"))
    )
    assert stand.names() == {"d", "g"}
    assert stand.names("d") == {"h"}


def test_a_first_layer_has_nothing_to_hide(stand: Stand) -> None:
    stand.unpack(layer(file("d/f"), whiteout("d/f"), opaque("d")))
    assert stand.names("d") == {"f"}


def test_what_aufs_left_is_left_out(stand: Stand) -> None:
    made = [directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs")]
    stand.unpack(layer(*made, file("f")), layer(*made))
    assert stand.names() == {"f"}


def test_a_hard_link_to_a_lower_layer(stand: Stand) -> None:
    stand.unpack(layer(file("d/a", b"1")), layer(hard_link("b", "d/a")))
    assert (stand.target / "b").samefile(stand.target / "d/a")


def test_parents_may_be_links(stand: Stand) -> None:
    stand.unpack(
        layer(directory("usr/lib"), symlink("lib", "usr/lib"), symlink("run", "/new/place")),
        layer(file("lib/f", b"1"), file("run/deep/g", b"2"), hard_link("lib/h", "lib/f")),
        layer(whiteout("lib/h")),
    )
    assert (stand.target / "lib").readlink() == Path("usr/lib")
    assert stand.names("usr/lib") == {"f"}
    assert stand.read("new/place/deep/g") == b"2"


def test_everything_that_is_tricky(stand: Stand) -> None:
    stand.unpack(*(layer(*entries) for entries in tricky.LAYERS))
    for name, expected in tricky.EXPECTED.items():
        path = stand.target / name
        if expected.kind == "symlink":
            assert path.readlink() == Path(expected.link), name
        elif expected.kind == "file":
            assert path.read_bytes() == expected.content, name
        else:
            assert path.is_dir(), name
        if expected.kind != "symlink":
            assert oct(mode_of(path)) == oct(expected.mode), name
        assert owner_of(stand, name) == owned(stand, expected.owner), name
    assert not [name for name in tricky.ABSENT if os.path.lexists(stand.target / name)]
    assert len({(stand.target / name).stat().st_ino for name in tricky.LINKED}) == 1


def test_passwd_and_group_are_returned(stand: Stand) -> None:
    unpacked = stand.unpack(
        layer(
            Entry(name="etc/passwd", content=b"root:x:0:0:r\xff:/root:/bin/sh\n"),
            file("usr/group", "root:x:0:\n"),
            symlink("etc/group", "/usr/group"),
        )
    )
    assert unpacked.passwd == "root:x:0:0:r\ufffd:/root:/bin/sh\n"
    assert unpacked.group == "root:x:0:\n"


@pytest.mark.parametrize(
    "odd",
    [
        fifo("etc/passwd"),
        directory("etc/passwd"),
        symlink("etc/passwd", "passwd"),
        symlink("etc/passwd", "../../../../../../etc/passwd-"),
        file("etc/passwd", bytes((1 << 20) + 1)),
    ],
    ids=["fifo", "directory", "loop", "away", "large"],
)
def test_an_odd_passwd_is_none(stand: Stand, odd: Entry) -> None:
    assert stand.unpack(layer(odd)).passwd == ""


MOUNT_POINTS = ("dev", "etc", "proc", "sys", "tmp", "workspace")
MOUNTED_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def is_ready(stand: Stand) -> bool:
    """Whether every place on which something is mounted is what it seems."""
    directories = [(stand.target / name).lstat().st_mode for name in MOUNT_POINTS]
    files = [(stand.target / name).lstat().st_mode for name in MOUNTED_FILES]
    return all(map(stat.S_ISDIR, directories)) and all(map(stat.S_ISREG, files))


def test_mount_points_are_made(stand: Stand) -> None:
    stand.unpack(layer(file("f")))
    assert is_ready(stand)
    modes = {name: oct(mode_of(stand.target / name)) for name in (*MOUNT_POINTS, *MOUNTED_FILES)}
    directories = dict.fromkeys(MOUNT_POINTS, "0o755") | {"tmp": "0o1777"}
    assert modes == {**directories, **dict.fromkeys(MOUNTED_FILES, "0o644")}


def test_mount_points_of_the_image_stay(stand: Stand) -> None:
    stand.unpack(
        layer(
            directory("workspace", mode=0o700, owner=OWNER),
            directory("tmp", mode=0o755, owner=OWNER),
            file("etc/hosts", "mine"),
            file("dev/null", "a file"),
        )
    )
    assert is_ready(stand)
    assert stand.read("etc/hosts") == b"mine"
    assert stand.read("dev/null") == b"a file"
    assert mode_of(stand.target / "workspace") == 0o700
    assert owner_of(stand, "workspace") == owned(stand, OWNER)
    assert mode_of(stand.target / "tmp") == 0o1777
    assert (stand.target / "tmp").stat().st_mtime == TIME


@pytest.mark.parametrize("kind", ["link", "file", "fifo"])
def test_mount_points_that_are_something_else_are_replaced(stand: Stand, kind: str) -> None:
    away = str(stand.outside / "directory")
    make = {"link": lambda name: symlink(name, away), "file": file, "fifo": fifo}[kind]
    stand.unpack(layer(*(make(name) for name in MOUNT_POINTS)))
    assert is_ready(stand)


def test_mounted_files_that_are_something_else_are_replaced(stand: Stand) -> None:
    stand.unpack(
        layer(
            directory("etc"),
            symlink("etc/hosts", str(stand.outside / "secret")),
            directory("etc/hostname"),
            file("etc/hostname/below"),
            fifo("etc/resolv.conf"),
        )
    )
    assert is_ready(stand)
    assert stand.read("etc/hosts") == b""
