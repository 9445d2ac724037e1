from __future__ import annotations

import inspect
from typing import Any

import pytest

from lunette import AsyncLunetteClient, AsyncSandbox, LunetteClient, Process, Sandbox
from lunette.files import Files
from lunette.images import Images

# Told by their names, on purpose: a new verb must be in both spellings to get in here.
VERBS = {
    LunetteClient: "close create_sandbox get_sandbox list_sandboxes stop_sandboxes",
    Sandbox: "destroy download exec extend pause process processes resume start stats upload",
    Process: "chunks close_input kill lines poll resize result signal terminate write",
    Images: "list pull remove",
    Files: (
        "exists iter_bytes list mkdir move open read_bytes read_text remove stat write_bytes"
        " write_text"
    ),
}
ITERATED = [(Process, "chunks"), (Process, "lines"), (Files, "iter_bytes")]
# They do nothing that could be awaited.
SINGLE: dict[type, set[str]] = {Process: {"detach"}, Sandbox: {"detach"}}
PAIRS = [(owner, verb) for owner, verbs in VERBS.items() for verb in verbs.split()]
OVERRIDDEN = [
    (AsyncLunetteClient, "close"),
    (AsyncLunetteClient, "create_sandbox"),
    (AsyncLunetteClient, "stop_sandboxes"),
    (AsyncSandbox, "destroy"),
]


def public(owner: type) -> set[str]:
    return {name for name, value in vars(owner).items() if name[0] != "_" and callable(value)}


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()]


@pytest.mark.parametrize("owner", VERBS)
def test_every_verb_is_known_in_both_spellings(owner: type) -> None:
    verbs = set(VERBS[owner].split())
    assert public(owner) - SINGLE.get(owner, set()) == verbs | {f"a{verb}" for verb in verbs}


@pytest.mark.parametrize(("owner", "verb"), PAIRS + OVERRIDDEN)
def test_twins_are_alike(owner: type, verb: str) -> None:
    one, other = getattr(owner, verb), getattr(owner, f"a{verb}")
    assert parameters(one) == parameters(other)
    assert one.__doc__ == other.__doc__
    assert one.__doc__ is not None
    assert inspect.iscoroutinefunction(other) == ((owner, verb) not in ITERATED)
    assert inspect.iscoroutinefunction(one) == ((owner, verb) in OVERRIDDEN)


@pytest.mark.parametrize(
    ("owner", "verb"),
    [p for p in PAIRS if p[1] not in {"close", "destroy"} and p not in ITERATED],
)
def test_twins_answer_alike(owner: type, verb: str) -> None:
    one, other = getattr(owner, verb), getattr(owner, f"a{verb}")
    assert inspect.signature(one).return_annotation == inspect.signature(other).return_annotation


@pytest.mark.parametrize(("owner", "verb"), ITERATED)
def test_twins_yield_alike(owner: type, verb: str) -> None:
    one = inspect.signature(getattr(owner, verb)).return_annotation
    other = inspect.signature(getattr(owner, f"a{verb}")).return_annotation
    assert f"Async{one}" == other


@pytest.mark.parametrize(("owner", "verb"), OVERRIDDEN)
def test_an_override_keeps_parameters_and_words(owner: type, verb: str) -> None:
    mine, inherited = getattr(owner, verb), getattr(owner.__base__, verb)
    assert parameters(mine) == parameters(inherited)
    assert mine.__doc__ == inherited.__doc__
