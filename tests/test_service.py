from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from lunette._compose import KEYS
from lunette.errors import LunetteError, NotSupportedError, ServiceError
from lunette.service import ComposeService, Specification, checked, read, reads_files

REMOTE = ("https://", "git://", "ssh://git@", "git@", "github.com/")


def test_what_is_asked_for_is_what_is_sent() -> None:
    service = {"image": "host", "command": ["a"], "labels": {"a": "b"}, "mem_limit": "1g"}
    assert checked(service) == service
    assert checked(MappingProxyType({"image": "a", "command": ("b",)})) == {
        "image": "a",
        "command": ["b"],
    }


def test_a_key_without_a_value_is_left_out() -> None:
    assert checked({"image": "a", "command": None}) == {"image": "a"}


@pytest.mark.parametrize("service", [None, 1, ["image"], b"compose.yaml"])
def test_what_is_no_service(service: Any) -> None:
    for function in (checked, read):
        with pytest.raises(TypeError, match=r"service must be a mapping such as .*, or the path"):
            function(service)


def test_the_type_knows_the_keys_of_compose() -> None:
    assert ComposeService.__annotations__.keys() == KEYS
    assert ComposeService.__required_keys__ == frozenset()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("img", "image"), ("environemnt", "environment"), ("workdir", "working_dir"), ("env", "env")],
)
def test_a_slip_is_told_the_nearest_key(key: str, nearest: str) -> None:
    with pytest.raises(ServiceError, match=f"no service key '{key}'; did you mean '{nearest}"):
        checked({"image": "host", key: "x"})


def test_extensions() -> None:
    assert checked({"image": "a", "x-any": 1, "x-lunette": {}}) == {
        "image": "a",
        "x-any": 1,
        "x-lunette": {},
    }
    with pytest.raises(ServiceError, match="x-lunette must be a mapping, not str"):
        checked({"image": "a", "x-lunette": "b"})


@pytest.mark.parametrize(
    "service", [{}, {"image": ""}, {"image": None}, {"build": ""}, {"build": {}}]
)
def test_an_image_is_needed(service: Any) -> None:
    with pytest.raises(ServiceError, match="names no image"):
        checked(service)


@pytest.mark.parametrize("key", sorted(KEYS - {"environment", "extends", "image"}))
def test_every_key_of_compose_is_sent(key: str) -> None:
    assert checked({"image": "a", key: "b"}) == {"image": "a", key: "b"}


def test_environment_is_filled_in_from_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "value")
    monkeypatch.delenv("UNSET", raising=False)
    as_list = ["A=1", "B=", "C=x=y", "SET", "UNSET"]
    as_mapping = {"A": "1", "B": "", "C": "x=y", "SET": None, "UNSET": None}
    expected = {"A": "1", "B": "", "C": "x=y", "SET": "value"}
    for environment in (as_list, tuple(as_list), as_mapping):
        assert checked({"image": "a", "environment": environment})["environment"] == expected


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ("A=1", "environment must be a mapping or a list, not str"),
        ([1], "environment: 1 must be a string"),
        (["=1"], "environment: '' is no name"),
        ({"A=B": "1"}, "environment: 'A=B' is no name"),
        ({"A": ["1"]}, "environment.A must be a string, not list"),
        ({"A": "\ud800"}, "service.environment.A cannot be written as UTF-8"),
        (["B=1", "A=\ud800"], r"service.environment\[1\] cannot be written as UTF-8"),
        ({"\ud800": "1"}, "service.environment cannot be written as UTF-8"),
        ({"A": float("nan")}, "service.environment.A must be a finite number, not nan"),
        ({"A": float("-inf")}, "service.environment.A must be a finite number, not -inf"),
        ({"A": "a\0b"}, "environment.A must not contain a NUL"),
    ],
)
def test_a_wrong_environment(environment: Any, names: str) -> None:
    with pytest.raises(ServiceError, match=names):
        checked({"image": "a", "environment": environment})


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ({"image": "a", 1: "b"}, "service: 1 must be a string, not int"),
        ({"image": Path("a")}, "service.image must be a string, number, list or mapping, not"),
        (
            {"image": "a", "ports": [80, b"81"]},
            r"service.ports\[1\] must be .*, not bytes",
        ),
        ({"image": "a", "deploy": {"x": {1, 2}}}, "service.deploy.x must be a string, .*, not set"),
    ],
)
def test_what_is_no_json_is_named(service: Any, names: str) -> None:
    with pytest.raises(TypeError, match=names):
        checked(service)


def test_a_value_of_the_caller_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", os.fsdecode(b"\xff"))
    with pytest.raises(ServiceError, match=r"environment\.A cannot be written as UTF-8"):
        checked({"image": "a", "environment": ["A"]})


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"a": "\ud800"}, "service.labels.a cannot be written as UTF-8"),
        (["\ud800"], r"service.labels\[0\] cannot be written as UTF-8"),
        ({"a": float("inf")}, "service.labels.a must be a finite number, not inf"),
    ],
)
def test_wrong_labels(labels: Any, names: str) -> None:
    with pytest.raises(ServiceError, match=names):
        checked({"image": "a", "labels": labels})


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_values_that_are_no_trees() -> None:
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle
    items: list[Any] = []
    items.append(items)
    for hostile in (cycle, items, nested(100_000)):
        with pytest.raises(
            ServiceError, match=r"service.x-a.* nested more than 64 deep, or in itse"
        ):
            checked({"image": "a", "x-a": hostile})
    bomb: Any = ["x"]
    for _ in range(40):
        bomb = [bomb] * 10
    with pytest.raises(ServiceError, match="the service is larger than 16 MiB"):
        checked({"image": "a", "x-a": bomb})


@pytest.mark.parametrize("text", ["x" * 1024 * 1024, "\0", "ä\n\r\t\x7f", "${A} $B"])
def test_texts_of_any_kind_are_the_servers_to_refuse(text: str) -> None:
    assert checked({"image": text, "labels": {"a": text}})["image"] == text


def test_long_slips_are_told_in_short() -> None:
    with pytest.raises(ServiceError) as caught:
        checked({"image": "a", "x" * 1024 * 1024: 1})
    assert len(str(caught.value)) < 200
    with pytest.raises(ServiceError) as caught:
        checked({"image": "a", "environment": ["=" + "x" * 1024 * 1024]})
    assert len(str(caught.value)) < 200


def test_what_waits_for_the_disk() -> None:
    assert not reads_files({"image": "a", "environment": {"A": "1"}})
    for spec in ("a.yaml", Path("a"), {"env_file": "a"}, {"build": "."}):
        assert reads_files(spec)


@pytest.mark.parametrize("service", [1, ["web"], b"web"])
def test_the_name_of_a_service_is_a_string(service: Any) -> None:
    with pytest.raises(TypeError, match="service must be the name of a service, not"):
        read("compose.yaml", service)


def test_a_mapping_is_one_service() -> None:
    with pytest.raises(ServiceError, match="service= chooses from a Compose file, and a mapping"):
        read({"image": "a"}, "web")


def test_env_file_is_merged_under_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", "mine")
    Path("e").write_text("A=file\nB=file\nMINE\nC=$MINE\n")
    expected = {"A": "given", "B": "file", "MINE": "mine", "C": "mine"}
    for environment in ({"A": "given"}, ["A=given"], ["A=given", "MINE", "UNSET"]):
        service = {"image": "a", "env_file": "e", "environment": environment}
        assert read(service) == Specification({"image": "a", "environment": expected})
    assert read({"image": "a", "env_file": ["e"]}).service["environment"]["A"] == "file"
    assert read({"image": "a", "env_file": None}).service == {"image": "a"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('A="\\0"', "environment.A must not contain a NUL"),
        ("A=\ud800".encode("utf-8", "surrogatepass"), "line 1: not UTF-8"),
    ],
)
def test_an_env_file_with_what_no_variable_can_be(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    (tmp_path / "e").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ServiceError, match=says):
        read({"image": "a", "env_file": str(tmp_path / "e")})


def test_build_in_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "mine")
    (tmp_path / "Dockerfile").touch()
    wanted = read({"build": str(tmp_path), "hostname": "h"})
    assert wanted.service == {"hostname": "h"}
    assert wanted.build is not None
    assert (wanted.build.context.folder, wanted.build.options) == (tmp_path, {})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Containerfile").touch()
    build = {
        "context": str(tmp_path),
        "dockerfile": "sub/Containerfile",
        "target": "t",
        "args": ["A=1", "MINE", "UNSET"],
        "labels": {"l": None},
        "x-any": 1,
    }
    wanted = read({"build": build, "image": "name"})
    assert wanted.service == {"image": "name"}
    assert wanted.build is not None
    assert wanted.build.context.dockerfile == "sub/Containerfile"
    assert wanted.build.options == {
        "target": "t",
        "args": {"A": "1", "MINE": "mine"},
        "labels": {"l": None},
        "x-any": 1,
    }
    monkeypatch.chdir(tmp_path)
    assert read({"build": {"dockerfile": str(tmp_path / "Dockerfile")}}).build is not None


@pytest.mark.parametrize(
    ("build", "kind", "says"),
    [
        (1, ServiceError, "build must be a path or a mapping, not int"),
        ({"context": 1}, ServiceError, "build.context must be a string, not int"),
        ({"dockerfile": ["a"]}, ServiceError, "build.dockerfile must be a string, not list"),
        ({"contxt": "a"}, ServiceError, "no key 'contxt' of build; did you mean 'context'"),
        ({"cache_from": ["a"]}, NotSupportedError, "build.cache_from is not supported"),
        ({"dockerfile_inline": "FROM a"}, NotSupportedError, "build.dockerfile_inline is not"),
        ({"args": "A=1"}, ServiceError, "build.args must be a mapping or a list, not str"),
        ({"args": ["=1"]}, ServiceError, "build.args: '' is no name"),
        ("a\0b", ServiceError, "build.context: .* is no path"),
        ({"dockerfile": "a\0b"}, ServiceError, "build.dockerfile: .* is no path"),
        ("none", FileNotFoundError, "build.context: No such file"),
        ("Dockerfile", ServiceError, "Dockerfile is no folder"),
        ({"dockerfile": "none"}, FileNotFoundError, "build.dockerfile: No such file"),
        ({"dockerfile": "folder"}, ServiceError, "folder is no regular file"),
        ({"dockerfile": "../outside"}, ServiceError, "is outside of the context"),
        ({"dockerfile": "/etc/passwd"}, ServiceError, "is outside of the context"),
        ({"dockerfile": "link"}, ServiceError, "is outside of the context"),
        ("x" * 5000, ServiceError, "File name too long"),
        ({"dockerfile": "loop"}, ServiceError, "loop"),
        *((f"{remote}x/y", NotSupportedError, "is no folder of this machine") for remote in REMOTE),
    ],
)
def test_builds_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Any, kind: type[Exception], says: str
) -> None:
    (tmp_path / "outside").touch()
    context = tmp_path / "context"
    (context / "folder").mkdir(parents=True)
    (context / "Dockerfile").touch()
    (context / "link").symlink_to(tmp_path / "outside")
    (context / "loop").symlink_to("loop")
    monkeypatch.chdir(context)
    with pytest.raises(kind, match=says) as caught:
        read({"build": build})
    assert isinstance(caught.value, LunetteError)
