"""Users as Docker finds them in an image, which may say anything."""

from __future__ import annotations

import pytest

from lunette.server.engines.bubblewrap._host_image import HostImage
from lunette.server.engines.bubblewrap._users import Owner, User, find_user
from lunette.server.engines.protocol import NotSupportedError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:An App:/home/app:/bin/sh
twin:x:1000:7:the same id:/home/twin:/bin/sh
homeless:x:5:5:::
7:x:70:71:a name that is a number:/seven:
short:x:9
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """\
root:x:0:
staff:x:50:app,root
more:x:51:other,app
60:x:61:
odd:x:abc:app
short:x
nogroup:x:65534:
"""
ROOT = User(0, 0, (50,), "/root")
APP = User(1000, 1001, (50, 51), "/home/app")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ROOT),
        ("", ROOT),
        ("0", ROOT),
        ("root", ROOT),
        (":", ROOT),
        ("root:", ROOT),
        ("app", APP),
        ("1000", APP),  # the first line of that id
        ("app:", APP),
        ("app:staff", User(1000, 50, (), "/home/app")),
        ("app:50", User(1000, 50, (), "/home/app")),
        ("app:4242", User(1000, 4242, (), "/home/app")),
        ("app:0", User(1000, 0, (), "/home/app")),
        (":staff", User(0, 50, (), "/root")),
        ("4242", User(4242, 0, (), "/")),
        ("4242:staff", User(4242, 50, (), "/")),
        ("4242:4243", User(4242, 4243, (), "/")),
        ("0004242", User(4242, 0, (), "/")),
        ("65535:65535", User(65_535, 65_535, (), "/")),
        ("homeless", User(5, 5, (), "/")),
        ("7", User(70, 71, (), "/seven")),
        ("app:60", User(1000, 61, (), "/home/app")),
        ("nobody", User(65_534, 65_534, (), "/nonexistent")),
    ],
)
def test_find_user(wanted: str | None, expected: User) -> None:
    assert find_user(wanted, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("ghost", "knows no user 'ghost'"),
        ("APP", "knows no user 'APP'"),
        (" app", "knows no user ' app'"),
        ("-1", "knows no user '-1'"),
        ("1.0", "knows no user '1.0'"),
        ("²", "knows no user '²'"),
        ("short", "knows no user 'short'"),
        ("app:ghosts", "knows no group 'ghosts'"),
        ("app:-1", "knows no group '-1'"),
        ("app:staff:more", "knows no group 'staff:more'"),
        ("app:odd", "knows no group 'odd'"),
        ("65536", "65536 is not below 65536"),
        ("app:65536", "65536 is not below 65536"),
        ("4294967295", "is not below"),
        ("9" * 256, "is not below"),
    ],
)
def test_users_that_cannot_be(wanted: str, why: str) -> None:
    with pytest.raises(NotSupportedError, match=why) as caught:
        find_user(wanted, PASSWD, GROUP)
    assert caught.value.key == "user"


@pytest.mark.parametrize("wanted", [None, "0", "0:0", "5"])
def test_an_image_without_any_file(wanted: str | None) -> None:
    found = find_user(wanted, "", "")
    assert (found.uid, found.gid, found.groups, found.home) == (int((wanted or "0")[0]), 0, (), "/")
    with pytest.raises(NotSupportedError, match="knows no user 'root'"):
        find_user("root", "", "")


@pytest.mark.parametrize(
    "line",
    [
        "app:x:x:1:::",
        "app:x:1:x:::",
        "app:x::1:::",
        "app:x:1::::",
        "app:x:-1:1:::",
        "app:x:1",
        "app",
        "app:x:1:1::/\0:",
        "ap\0p:x:1:1::/:",
        "app:x:²:1:::",
        "app:x:0x1:1:::",
    ],
)
def test_a_line_that_is_none_is_passed_over(line: str) -> None:
    with pytest.raises(NotSupportedError, match="knows no user 'app'"):
        find_user("app", f"{line}\n", "")
    assert find_user("app", f"{line}\napp:x:2:3::/home:\n", "").uid == 2


@pytest.mark.parametrize(
    ("passwd", "group"),
    [
        ("app:x:65536:1:::", ""),
        ("app:x:1:65536:::", ""),
        ("app:x:1:" + "9" * 5000 + ":::", ""),
        ("app:x:1:1:::", "g:x:70000:app"),
        ("app:x:1:1:::", "g:x:" + "9" * 5000 + ":app"),
    ],
)
def test_ids_of_an_image_that_no_sandbox_has(passwd: str, group: str) -> None:
    with pytest.raises(NotSupportedError, match="is not below 65536") as caught:
        find_user("app", passwd, group)
    assert len(str(caught.value)) < 200


def test_files_of_a_megabyte() -> None:
    lines = "".join(f"u{n}:x:{n % 65_000}:1::/home/u{n}:\n" for n in range(30_000))
    members = ",".join(f"u{n}" for n in range(100_000))
    found = find_user("u29999", lines, f"all:x:3:{members}\n")
    assert found == User(29_999, 1, (3,), "/home/u29999")


def test_line_ends_of_elsewhere_do_not_hide_a_line() -> None:
    """Only a newline ends a line; other separators of Unicode are part of a name."""
    passwd = "a\x0bb:x:1:1::/:\napp:x:2:2:a\u2028comment:/home:\r\n"
    assert find_user("app", passwd, "").uid == 2
    assert find_user("a\x0bb", passwd, "").uid == 1


def test_the_users_of_the_host_image() -> None:
    assert find_user(None, HostImage.passwd, HostImage.group) == User(0, 0, (), "/root")
    assert find_user("nobody", HostImage.passwd, HostImage.group).uid == 65_534


# Who becomes whom

OTHER = User(5, 6, (7,), "/other")


def test_the_root_of_a_range_becomes_anybody() -> None:
    owner = Owner(user=ROOT, base=1000)
    assert owner.as_another(ROOT) is None
    assert owner.as_another(APP) == APP
    assert owner.as_another(User(0, 0, (), "/root")) == User(0, 0, (), "/root")  # fewer groups
    assert (owner.host_id(None), owner.host_id(APP)) == (1000, 2000)


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        (Owner(user=APP, base=1000), "this sandbox has no root"),
        (Owner(user=APP, base=None), "the server is not root"),
        (Owner(user=ROOT, base=None), "the server is not root"),
    ],
)
def test_nobody_else_becomes_another(owner: Owner, why: str) -> None:
    assert owner.as_another(owner.user) is None
    assert owner.as_another(User(owner.user.uid, owner.user.gid, (), "/elsewhere")) is None
    for user in (OTHER, User(owner.user.uid, 6, (), "/"), User(5, owner.user.gid, (), "/")):
        with pytest.raises(NotSupportedError, match=why) as caught:
            owner.as_another(user)
        assert caught.value.key == "user"


def test_one_id_is_not_chosen() -> None:
    assert Owner(user=ROOT, base=None).host_id(None) is None
