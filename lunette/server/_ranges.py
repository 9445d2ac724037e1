"""Which bytes of a file a request asks for (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lunette.server._problems import Problem

__all__ = ["asked_range", "check_match"]

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{1,30})-([0-9]{0,30})[ \t]*", re.IGNORECASE)
_TAG = re.compile(r'(W/)?"[^"]*"')


def check_match(headers: Mapping[str, str], etag: str, path: str) -> None:
    """Raise the 412 of a file that is another than `If-Match` says."""
    given = headers.get("if-match")
    if given is None or given.strip() == "*":
        return
    if etag in (tag[0] for tag in _TAG.finditer(given)):
        return
    detail = f"'{path}' changed: it is {etag} now, not {given}"
    raise Problem(412, "precondition_failed", detail, path=path, headers={"ETag": etag})


def asked_range(headers: Mapping[str, str], etag: str, size: int) -> tuple[int, int] | None:
    """Return the first byte that is asked for and the one after the last, None for the whole file;
    raise the 416 of a range behind its end.
    """
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", etag).strip() != etag:
        return None
    first, last = int(found[1]), int(found[2]) if found[2] else None
    if last is not None and last < first:
        return None
    if first >= size:
        detail = f"the file has {size} bytes, and the range begins at {first}"
        headers = {"Content-Range": f"bytes */{size}", "ETag": etag}
        raise Problem(416, "range_not_satisfiable", detail, headers=headers)
    return first, size if last is None else min(last + 1, size)
