"""Whose commands a sandbox runs: names are looked up in the image's own passwd and group."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from lunette.server.engines.protocol import NotSupportedError

__all__ = ["Owner", "User", "find_user"]

_END = 65_536
_MOST_GROUPS = 65_536  # NGROUPS_MAX of Linux


@frozen
class User:
    """Ids as the sandbox has them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@frozen(kw_only=True)
class Owner:
    """Whose a sandbox is: *user*, and in a range of ids the *base*."""

    user: User
    base: int | None

    def host_id(self, user: User | None) -> int | None:
        """Return the host's id of *user*, None the sandbox's own; None where there is but one."""
        return None if self.base is None else self.base + (user or self.user).uid

    def as_another(self, user: User) -> User | None:
        """Return *user* for a command that has to become it, None where nothing has to change.
        Raise NotSupportedError where nobody can become another.
        """
        own = self.user
        same = (user.uid, user.gid) == (own.uid, own.gid)
        if self.base is not None and own.uid == 0:
            return None if same and user.groups == own.groups else user
        if same:
            return None
        why = "the server is not root" if self.base is None else "this sandbox has no root"
        raise NotSupportedError(
            "user", f"a command here is always the user {own.uid}:{own.gid}, since {why}"
        )


def find_user(wanted: str | None, passwd: str, group: str) -> User:
    """Return the user that *wanted*, `user[:group]` with names or numbers, means; None is root.
    Raise NotSupportedError for one that the image does not know, or whose ids are none.

    As Docker does: a number that passwd does not know is a user of group 0 without a home, and a
    group that is named is the only one.
    """
    name, colon, group_name = (wanted or "0").partition(":")
    entry = _entry(name or "0", passwd, 7, ids=2)
    gid, home = (_number(entry[3]), entry[5] or "/") if entry else (0, "/")
    more: tuple[int, ...] = ()
    if colon and group_name:
        found = _entry(group_name, group, 4, ids=1)
        gid = _number(found[2]) if found else _id(group_name, "group", wanted)
    elif entry:
        groups = _lines(group, 4, ids=1, naming=entry[0])
        named = dict.fromkeys(_number(g[2]) for g in groups if entry[0] in g[3].split(","))
        more = tuple(named)[:_MOST_GROUPS]
    uid = _number(entry[2]) if entry else _id(name, "user", wanted)
    return User(uid, gid, more, home)


def _lines(text: str, fields: int, *, ids: int, naming: str) -> Iterator[list[str]]:
    """Split the lines that have *naming* in them and so many fields, of which *ids* are numbers
    from the third on.
    """
    # An image can have a mebibyte of them, and a create has no time for that.
    for line in text.split("\n"):
        if naming not in line or "\0" in line:
            continue
        found = line.strip().split(":")
        if len(found) >= fields and all(number.isdecimal() for number in found[2 : 2 + ids]):
            yield found


def _entry(wanted: str, text: str, fields: int, *, ids: int) -> list[str] | None:
    """The line of a name or of a number, the first that fits."""
    lines = _lines(text, fields, ids=ids, naming=wanted)
    return next((line for line in lines if wanted in (line[0], line[2])), None)


def _id(text: str, what: str, wanted: str | None) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise NotSupportedError("user", f"user {wanted!r}: the image knows no {what} {text!r}")
    return _number(text)


def _number(text: str) -> int:
    if len(text) > 10 or int(text) >= _END:
        raise NotSupportedError("user", f"the id {text[:20]} is not below {_END}")
    return int(text)
