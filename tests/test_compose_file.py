"""Compose files: which one, which service of it, and what its YAML means."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from lunette._compose_yaml import parse_yaml
from lunette.errors import NotSupportedError, ServiceError
from lunette.service import read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "project"


def write(folder: Path, text: str, name: str = "compose.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


ONE = "services: {web: {image: a}}"
SEVERAL = """
name: several
version: "3"
networks: {n: }
volumes: {v: {}}
configs: {}
secrets: {}
x-mine: &mine
  environment: {A: "1"}
services:
  web: {<<: *mine, image: a}
  db: {image: b}
  cache: {image: c}
"""


@pytest.mark.parametrize(
    "name", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"]
)
def test_a_folder_or_a_file(folder: Path, name: str) -> None:
    path = write(folder, ONE, name)
    for spec in (folder, str(folder), path, str(path)):
        assert read(spec).service == {"image": "a"}
        assert read(spec, "web").service == {"image": "a"}


def test_which_of_several_files(folder: Path) -> None:
    write(folder, "services: {a: {image: old}}", "docker-compose.yml")
    write(folder, "services: {a: {image: new}}", "compose.yml")
    (folder / "Dockerfile").touch()
    assert read(folder).service == {"image": "new"}
    assert read(write(folder, ONE, "other.yml")).service == {"image": "a"}


def test_a_folder_with_a_dockerfile(folder: Path) -> None:
    folder.mkdir()
    (folder / "Dockerfile").touch()
    wanted = read(folder)
    assert wanted.service == {}
    assert wanted.build is not None
    assert (wanted.build.context.folder, wanted.build.context.dockerfile) == (folder, "Dockerfile")
    with pytest.raises(ServiceError, match="there is no service="):
        read(folder, "web")


def test_one_of_several_services(folder: Path) -> None:
    path = write(folder, SEVERAL)
    assert read(path, "web").service == {"image": "a", "environment": {"A": "1"}}
    assert read(path, "db").service == {"image": "b"}
    several = f"{path} has 3 services: cache, db, web; choose one, such as service='cache'"
    with pytest.raises(ServiceError, match=several):
        read(path)
    with pytest.raises(ServiceError, match="has no service 'wbe', only: cache, db, web"):
        read(path, "wbe")


def test_what_is_no_compose_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    with pytest.raises(ServiceError, match=r"neither a Compose file .* nor a Dockerfile"):
        read(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match=r'an image is {"image": "python:3.11-slim"}'):
        read("python:3.11-slim")
    with pytest.raises(ServiceError, match=r"is no Compose file .*give the folder"):
        read(write(folder, "FROM a", "Dockerfile"))
    os.mkfifo("fifo.yaml")
    with pytest.raises(ServiceError, match="is no regular file"):
        read("fifo.yaml")
    for wrong in ("", "a\0b", "\ud800.yaml", "x" * 5000):
        with pytest.raises(ServiceError):
            read(wrong)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no Compose file: it has no `services`"),
        ("a", "is no Compose file"),
        ("- services", "is no Compose file"),
        ("web: {image: a}", "is no Compose file"),
        ("kind: Pod\nservices: {a: {image: b}}", "top-level key 'kind'; did you mean"),
        ("service: a\nservices: {}", "top-level key 'service'; did you mean 'services'"),
        ("services:", "`services` must be a mapping of at least one"),
        ("services: {}", "`services` must be a mapping of at least one"),
        ("services: [a]", "`services` must be a mapping"),
        ("services: {a: }", "services.a must be a mapping"),
        ("services: {a: b}", "services.a must be a mapping"),
        ("services: {a: {hostname: h}}", "the service names no image"),
        ("services: {a: {image: b, imag: c}}", "no service key 'imag'; did you mean 'image'"),
        ("services: {a: {image: b, image: c}}", "line 1: the key 'image' is there twice"),
        ("services:\n  a: {image: a}\n  a: {image: b}", "line 3: the key 'a' is there twice"),
        ("services: {a: {image: b, labels: {1: c}}}", "the key '1' must be a string"),
        ("services: {a: {image: '${UNSET?why}'}}", r"services\.a\.image: the variable UNSET .*why"),
        ("services: {a: {image: b, ports: ['${']}}", r"services\.a\.ports\[0\]: .* no closing"),
        ("services: {a: {image: b, cpus: .inf}}", "cpus must be a finite number"),
        ('services: {a: {image: "\\ud800"}}', "cannot be written as UTF-8"),
        ("services: {a: {image: !!binary aGk=}}", "cannot be read as 'tag:yaml.org,2002:binary'"),
        ("services: {a: !!set {image: b}}", "the tag 'tag:yaml.org,2002:set' is not supported"),
        ("a: [", "line 1: no YAML"),
        ("a: b: c", "line 1: no YAML: mapping values are not allowed here"),
        ("a: *b", "no YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "no YAML"),
        ("a: \x07", "no YAML"),
    ],
)
def test_errors_name_the_file_and_the_place(folder: Path, text: str, says: str) -> None:
    path = write(folder, text)
    with pytest.raises(ServiceError, match=f"^{path}.*{says}"):
        read(path)


def test_what_is_not_supported_says_so(folder: Path) -> None:
    with pytest.raises(NotSupportedError, match=r"compose.yaml: include is not supported"):
        read(write(folder, f"include: [a.yaml]\n{ONE}"))
    with pytest.raises(NotSupportedError, match=r"compose.yaml: extends is not supported"):
        read(write(folder, "services: {a: {image: b, extends: {service: c}}}"))
    with pytest.raises(NotSupportedError, match="extends is not supported"):
        read({"image": "a", "extends": "b"})


def test_variables_are_those_of_the_caller_then_of_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINE", "caller")
    monkeypatch.delenv("TAG", raising=False)
    path = write(folder, "services: {a: {image: 'i:$TAG', hostname: $MINE, user: $UNSET}}")
    (folder / ".env").write_text("TAG=1.${MINE}\nMINE=file\n")
    with caplog.at_level(logging.WARNING, "lunette"):
        assert read(path).service == {"image": "i:1.caller", "hostname": "caller", "user": ""}
    [warning] = caplog.records
    said = f"{path}: services.a.user: the variable UNSET is not set; it is left empty"
    assert warning.getMessage() == said


def test_only_the_service_that_is_wanted_needs_its_variables(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(folder, "services: {a: {image: b}, c: {image: '${UNSET?why}', user: $UNSET}}")
    assert read(path, "a").service == {"image": "b"}
    assert not caplog.records


def test_keys_are_not_interpolated_and_mappings_are_not(folder: Path) -> None:
    path = write(folder, "services: {a: {image: b, labels: {$A: '$$A'}}}")
    assert read(path).service["labels"] == {"$A": "$A"}
    assert read({"image": "$A ${"}).service == {"image": "$A ${"}


def test_a_variable_without_a_value_has_that_of_dotenv(folder: Path) -> None:
    path = write(folder, "services: {a: {image: b, environment: [A, UNSET]}}")
    (folder / ".env").write_text("A=1")
    assert read(path).service["environment"] == {"A": "1"}


def test_flags_may_be_variables(folder: Path) -> None:
    path = write(folder, "services: {a: {image: b, init: '${A:-true}', read_only: '${B:-False}'}}")
    assert read(path).service == {"image": "b", "init": True, "read_only": False}
    path = write(folder, "services: {a: {image: b, init: '${A:-perhaps}', tty: 'true'}}")
    assert read(path).service == {"image": "b", "init": "perhaps", "tty": True}


def test_ulimits_may_be_variables(folder: Path) -> None:
    ulimits = "{nofile: '${N:-1024}', core: {soft: '${S:--1}', hard: 0}, as: x}"
    path = write(folder, f"services: {{a: {{image: b, ulimits: {ulimits}}}}}")
    expected = {"nofile": 1024, "core": {"soft": -1, "hard": 0}, "as": "x"}
    assert read(path).service["ulimits"] == expected


def test_paths_start_at_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder, "services: {a: {build: {context: sub}, env_file: [sub/e]}}")
    (folder / "sub").mkdir()
    (folder / "sub" / "Dockerfile").touch()
    (folder / "sub" / "e").write_text("A=1\n")
    monkeypatch.chdir("/")
    wanted = read(path)
    assert wanted.service == {"environment": {"A": "1"}}
    assert wanted.build is not None
    assert wanted.build.context.folder == folder / "sub"


def test_a_file_that_its_file_names_and_is_missing(folder: Path) -> None:
    path = write(folder, "services: {a: {image: b, env_file: gone.env}}")
    with pytest.raises(FileNotFoundError) as caught:
        read(path)
    assert caught.value.filename == str(folder / "gone.env")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "tRue")),
        *((word, word) for word in ("22:22", "1:30:15", "2001-01-01", "2001-01-01T00:00:00Z")),
        *((word, word) for word in ("1_000", "0b1", "1.2.3", "+", "-+", ".", "1e", "0x", "=")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *(("1", 1), ("-1", -1), ("+1", 1), ("0", 0), ("0o17", 15), ("0x1F", 31), ("007", 7)),
        *(("0755", 0o755), ("08", 8), ("-010", -8)),
        *(
            ("1.5", 1.5),
            ("3.10", 3.1),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e3", 1000.0),
            ("-1.5E-1", -0.15),
        ),
        *((".inf", float("inf")), ("-.INF", float("-inf"))),
        *(("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("!!int '7'", 7), ("'~'", "~")),
        *(("<<", "<<"), ("[1, a]", [1, "a"]), ("{a: {b: c}}", {"a": {"b": "c"}})),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse_yaml(f"key: {text}", "f")["key"]
    assert (type(found), found) == (type(value), value)


def test_aliases_and_merges() -> None:
    text = """
    a: &a {x: 1, y: [1]}
    b: &b {y: 2, z: 2}
    c: {<<: *a, y: 3}
    d: {<<: [*a, *b]}
    e: {y: 0, <<: *b, <<: *a}
    f: [*a, *a]
    g: {"<<": 1}
    """
    found = parse_yaml(text, "f")
    assert found["c"] == {"x": 1, "y": 3}
    assert found["d"] == {"x": 1, "y": [1], "z": 2}
    assert found["e"] == {"x": 1, "y": 0, "z": 2}
    assert found["f"] == [found["a"], found["a"]]
    assert found["g"] == {"<<": 1}


def bomb(first: str, more: str) -> str:
    lines = [f"a0: &a0 {first}"]
    for level in range(1, 40):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {more.format(aliases)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb("[x]", "[{}]"), "larger than 16 MiB, with all aliases written out"),
        (bomb("{x: 1}", "{{<<: [{}]}}"), "larger than 16 MiB, with all aliases written out"),
        ("a: &a [*a]", "nested more than 64 deep, or in itself"),
        ("a: &a {b: *a}", "nested more than 64 deep, or in itself"),
        ("a: &a {<<: *a}", "nested more than 64 deep, or in itself"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 20_000, "nested too deeply"),
        ("{a: " * 20_000, "nested too deeply"),
        ("a: " + "9" * 10_000, "cannot be read as 'tag:yaml.org,2002:int'"),
        ("<<: 1", "<< takes a mapping"),
        ("<<: [{a: 1}, 2]", "<< takes a mapping"),
        ("a: !!int b", "line 1: 'b' is no 'tag:yaml.org,2002:int'"),
        ("a: !!python/object:os.system b", "cannot be read as"),
        ("a: !reset null", "cannot be read as '!reset'"),
        ("[a]: b", "the key must be a string"),
        ("~: b", "the key '~' must be a string"),
    ],
)
def test_hostile_yaml(text: str, says: str) -> None:
    with pytest.raises(ServiceError, match=f"^f.*{says}"):
        parse_yaml(text, "f")


def test_a_large_file_is_refused(folder: Path) -> None:
    path = write(folder, f"{ONE}\n" + "#" * 1024 * 1024)
    with pytest.raises(ServiceError, match="is larger than 1 MiB"):
        read(path)
