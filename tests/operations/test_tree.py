from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import httpx
import pytest

from lunette import FileInfo, NotSupportedError
from lunette._io import Profile, run
from lunette._operations import tree

ENTRY = {"path": "a", "type": "file", "size": 2, "mode": 0o644, "mtime": 1.5, "uid": 0, "gid": 7}
INFO = FileInfo(path="/w/a", type="file", size=2, mode=0o644, mtime=1.5, uid=0, gid=7)


def problem(status: int, code: str, **more: str) -> httpx.Response:
    said = {"code": code, "detail": "why", "path": "/w/a", **more}
    return httpx.Response(status, json=said)


def listing(*entries: dict[str, Any], directory: str = "/w") -> httpx.Response:
    return httpx.Response(200, json={"directory": directory, "entries": entries})


def test_a_list_has_absolute_paths(scripted: Any) -> None:
    link = ENTRY | {"path": "a/l", "type": "symlink", "target": "../b"}
    io = scripted(listing(ENTRY, link), listing(ENTRY, directory="/"))
    found = run(tree.list_directory(io, "s1", pathlib.PurePosixPath("w"), depth=2))
    assert found[0] == INFO
    assert (found[1].path, found[1].name, found[1].target) == ("/w/a/l", "l", "../b")
    assert [found[1].is_file(), found[1].is_dir(), found[1].is_symlink()] == [False, False, True]
    assert io.requests[0]["params"] == {"path": "w", "depth": 2}
    assert [info.path for info in run(tree.list_directory(io, "s1", "/", depth=None))] == ["/a"]
    assert io.requests[1]["params"] == {"path": "/", "depth": 0}


def test_a_name_that_is_no_text_is_in_a_list_and_nowhere_else(scripted: Any) -> None:
    name = b"caf\xe9"
    entry = ENTRY | {"path": "caf\ufffd", "path_base64": base64.b64encode(name).decode()}
    [found] = run(tree.list_directory(scripted(listing(entry)), "s1", ".", depth=1))
    assert found.path.encode(errors="surrogateescape") == b"/w/" + name
    with pytest.raises(ValueError, match=r"not valid UTF-8.*in a directory"):
        run(tree.stat(scripted(), "s1", found.path, follow_symlinks=True))


def test_a_large_list_is_read_beside_the_event_loop(scripted: Any) -> None:
    called: list[Any] = []

    async def call(function: Any, *args: Any) -> Any:
        called.append(function)
        return function(*args)

    io = scripted(listing(*[ENTRY] * 2000), listing(ENTRY))
    io.call = call
    assert run(tree.list_directory(io, "s1", "/w", depth=1)) == [INFO] * 2000
    assert len(called) == 1
    run(tree.list_directory(io, "s1", "/w", depth=1))
    assert len(called) == 1


@pytest.mark.parametrize("depth", [0, -1, 5000, True])
def test_a_depth_that_is_none(scripted: Any, depth: int) -> None:
    with pytest.raises(ValueError, match="depth must be from 1 to 4096, or None"):
        run(tree.list_directory(scripted(), "s1", ".", depth=depth))


def test_stat(scripted: Any) -> None:
    io = scripted(httpx.Response(200, json=ENTRY | {"path": "/w/a"}))
    assert run(tree.stat(io, "s1", "a", follow_symlinks=False)) == INFO
    assert io.requests[0]["params"] == {"path": "a", "follow_symlinks": False}


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "file_not_found", "ENOENT"),
        (409, "not_a_directory", "ENOTDIR"),
        (422, "invalid_request", "ELOOP"),
        (422, "invalid_request", "ENAMETOOLONG"),
    ],
)
def test_what_leads_nowhere_does_not_exist(
    scripted: Any, status: int, code: str, said: str
) -> None:
    io = scripted(problem(status, code, errno=said))
    assert not run(tree.exists(io, "s1", "a"))


def test_what_cannot_be_seen_is_an_error(scripted: Any) -> None:
    assert run(tree.exists(scripted(httpx.Response(200, json=ENTRY)), "s1", "a"))
    with pytest.raises(PermissionError):
        run(tree.exists(scripted(problem(403, "permission_denied")), "s1", "a"))


def test_what_changes_something_has_a_key_of_its_own(scripted: Any) -> None:
    io = scripted(*[httpx.Response(204) for _ in range(6)])
    for _ in range(2):
        run(tree.mkdir(io, "s1", "d", mode=0o750, parents=True, exist_ok=True))
        run(tree.move(io, "s1", "d", pathlib.PurePosixPath("e")))
        run(tree.remove(io, "s1", "e", recursive=True))
    assert len({request["headers"]["Idempotency-Key"] for request in io.requests}) == 6
    mkdir, move, remove = io.requests[:3]
    assert mkdir["params"] == {"path": "d", "mode": "0750", "parents": True, "exist_ok": True}
    assert move["json"] == {"source": "d", "target": "e"}
    assert remove["params"] == {"path": "e", "recursive": True}


@pytest.mark.parametrize("mode", [-1, 0o10000])
def test_a_mode_that_is_none(scripted: Any, mode: int) -> None:
    with pytest.raises(ValueError, match="mode must be permissions such as 0o755"):
        run(tree.mkdir(scripted(), "s1", "d", mode=mode, parents=False, exist_ok=False))


def test_a_file_that_was_found_is_a_path(scripted: Any) -> None:
    io = scripted(httpx.Response(204))
    run(tree.remove(io, "s1", INFO, recursive=False))
    assert io.requests[0]["params"]["path"] == "/w/a"
    assert "mode=0o644" in repr(INFO)


@pytest.mark.parametrize("answer", [{}, {"directory": "/w", "entries": [{}]}, [], "x"])
def test_an_answer_that_is_no_list(scripted: Any, answer: Any) -> None:
    io = scripted(httpx.Response(200, content=json.dumps(answer)))
    with pytest.raises(httpx.HTTPStatusError, match="not by a Lunette server"):
        run(tree.list_directory(io, "s1", "/w", depth=1))


PUBLISHED = [
    ("list", tree.list_directory, ["a"], {"depth": 1}),
    ("stat", tree.stat, ["a"], {"follow_symlinks": True}),
    ("stat", tree.exists, ["a"], {}),
    ("mkdir", tree.mkdir, ["a"], {"mode": 0o777, "parents": False, "exist_ok": False}),
    ("remove", tree.remove, ["a"], {"recursive": False}),
    ("move", tree.move, ["a", "b"], {}),
]


@pytest.mark.parametrize(("verb", "operation", "args", "options"), PUBLISHED)
def test_the_published_wire_can_do_none_of_it(
    scripted: Any, verb: str, operation: Any, args: list[str], options: Any
) -> None:
    io = scripted()
    io.profile = Profile(published=True)
    with pytest.raises(NotSupportedError, match=rf"files\.{verb}; a command can"):
        run(operation(io, "s1", *args, **options))
    assert io.diary == []
