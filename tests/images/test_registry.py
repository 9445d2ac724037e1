"""The registry of the tests, and that its images are what they are said to be."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from . import registry, tricky
from .catalogue import BIG_BYTES, PYTHON, Images, Published
from .fixtures import SECRET
from .oci_image import HERE, MEDIA_TYPES, Image, Index, Layer, digest, layer, layer_of, push
from .registry import PASSWORD, USER, Registry
from .static_binary import EXIT_CODE, MESSAGE
from .tar_layers import (
    Entry,
    directory,
    file,
    hard_link,
    opaque,
    symlink,
    tar,
    trust,
    whiteout,
)

_ACCEPT = {"Accept": ", ".join(form[kind] for form in MEDIA_TYPES.values() for kind in form)}


_ROOT = Path(__file__).parent.parent.parent
_SERVE = """
import time
from tests.images.registry import serving
with serving() as running:
    print(running.pid, flush=True)
    time.sleep(600)
"""


def _get(url: str, **settings: Any) -> httpx.Response:
    with httpx.Client(trust_env=False, verify=False, headers=_ACCEPT) as client:
        return client.get(url, **settings)


def _manifest(published: Published, name: str) -> httpx.Response:
    repository = published.name.partition(":")[0]
    url = f"http://{published.host}/v2/library/{repository}/manifests/{name}"
    return _get(url).raise_for_status()


@pytest.mark.parametrize(
    "name",
    [PYTHON, "tricky", "named-user", "zstd", "no-shell", "big", "other-platform"],
)
def test_every_image_is_there_with_its_digests(images: Images, name: str) -> None:
    found = images[name]
    answer = _manifest(found, found.name.partition(":")[2] or "latest")
    assert digest(answer.content) == answer.headers["Docker-Content-Digest"] == found.digest
    assert answer.headers["Content-Type"] == found.what.media_type
    for image in found.what.images if isinstance(found.what, Index) else (found.what,):
        assert digest(_manifest(found, image.digest).content) == image.digest
        for blob in image.blobs():
            repository = name.partition(":")[0]
            url = f"http://{found.host}/v2/library/{repository}/blobs/{blob}"
            assert digest(_get(url).raise_for_status().content) == blob


def test_an_image_has_two_names(images: Images, local_registry: Registry) -> None:
    assert images.mirror == local_registry.mirror == f"docker.io={local_registry.host}"
    assert images[PYTHON].reference == f"{local_registry.host}/library/python:3.11-slim"


def test_the_index_of_python_is_for_this_machine_among_others(images: Images) -> None:
    entries = _manifest(images[PYTHON], "3.11-slim").json()["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == [
        *("s390x", HERE.architecture, "unknown"),
    ]
    assert entries[1]["digest"] == images[PYTHON].image.digest
    with pytest.raises(LookupError, match="not for this machine"):
        _ = images["other-platform"].image


def test_the_forms_and_compressions_differ(images: Images) -> None:
    assert images["tricky"].what.media_type == MEDIA_TYPES["docker"]["manifest"]
    layers = _manifest(images["zstd"], "latest").json()["layers"]
    assert [each["mediaType"].rpartition("tar")[2] for each in layers] == ["+zstd", ""]
    magic = images["zstd"].image.layers[0].blob[:4]
    assert magic == b"\x28\xb5\x2f\xfd"
    assert images["big"].size > sum(BIG_BYTES)


def test_the_configuration_has_what_tests_look_for(images: Images) -> None:
    image = images["tricky"].image
    url = f"http://{images['tricky'].host}/v2/library/tricky/blobs/{image.image_id}"
    config = _get(url).json()
    assert config["config"] == tricky.CONFIG
    assert config["architecture"] == HERE.architecture
    assert config["rootfs"]["diff_ids"] == [each.diff_id for each in image.layers]
    assert images["named-user"].image.config["User"] == "app"


def test_what_tricky_promises_is_in_its_layers() -> None:
    names = {name for each in tricky.LAYERS for entry in each for name in (entry.name,)}
    real = {name.removeprefix("./") for name in names}
    through_links = {path for path in tricky.EXPECTED if path.startswith("tricky/real/")}
    assert set(tricky.EXPECTED) - real - through_links == {"tricky/implied"}
    assert not set(tricky.ABSENT) & set(tricky.EXPECTED)
    assert set(tricky.LINKED) <= set(tricky.EXPECTED)


def test_the_static_program_runs(tmp_path: Path, images: Images) -> None:
    with tarfile.open(fileobj=io.BytesIO(images["no-shell"].image.layers[0].blob)) as archive:
        trust(archive)
        archive.extract("bin/hello", tmp_path)
    ended = subprocess.run([tmp_path / "bin/hello"], stdout=subprocess.PIPE, check=False)
    assert (ended.stdout, ended.returncode) == (MESSAGE, EXIT_CODE)


def test_entries_are_written_as_they_are_and_always_alike() -> None:
    entries = (
        directory("d", mode=0o1777, owner=(1, 2)),
        file("/d/../../a", "text", mode=0o4750),
        symlink("s", "/etc/../x"),
        hard_link("h", "../a"),
        whiteout("d/w"),
        opaque("d"),
        Entry(name="n", kind="character device", device=(1, 3), mode=0o666),
        Entry(name="x", pax={"SCHILY.xattr.user.note": "hello"}),
    )
    archive = tar(entries)
    assert archive == tar(entries)
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        members = found.getmembers()
    assert [member.name for member in members] == [
        *("d", "/d/../../a", "s", "h", "d/.wh.w", "d/.wh..wh..opq", "n", "x"),
    ]
    assert (members[0].mode, members[0].uid, members[0].gid) == (0o1777, 1, 2)
    assert [member.linkname for member in members[2:4]] == ["/etc/../x", "../a"]
    assert members[6].ischr()
    assert (members[6].devmajor, members[6].devminor) == (1, 3)
    assert members[7].pax_headers["SCHILY.xattr.user.note"] == "hello"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_layer_is_named_by_what_is_in_it(compression: Any) -> None:
    made = layer([file("a")], compression=compression)
    assert made.diff_id == digest(tar([file("a")]))
    assert made.digest == digest(made.blob)
    assert (made.digest == made.diff_id) == (compression == "none")


def test_any_bytes_can_be_pushed_as_a_layer(local_registry: Registry) -> None:
    strange = Layer(blob=b"no archive", diff_id="sha256:0", media_type="text/strange")
    image = Image(layers=(strange, layer_of(b"nor this")))
    assert push(local_registry.url, "hostile/strange", "latest", image) == image.digest
    found = _get(f"{local_registry.url}/v2/hostile/strange/manifests/latest").json()
    assert found["layers"][0]["mediaType"] == "text/strange"


def test_a_registry_with_a_password_asks_for_it(locked_registry: Registry) -> None:
    url = f"{locked_registry.url}/v2/{SECRET}/manifests/latest"
    refused = _get(url)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="tests"'
    assert _get(url, auth=(USER, "wrong")).status_code == 401
    assert _get(url, auth=(USER, PASSWORD)).status_code == 200


def test_nothing_of_a_registry_stays(local_registry: Registry, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path))
        with registry.serving() as running:
            assert _get(f"{running.url}/v2/").status_code == 200
            assert Path(f"/proc/{running.pid}").exists()
            assert list(tmp_path.iterdir())
    assert not Path(f"/proc/{running.pid}").exists()
    assert not list(tmp_path.iterdir())


def test_a_registry_that_cannot_start_says_why(
    local_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_HASH", "")
    monkeypatch.setattr(registry, "PROGRAM", "false")
    with pytest.raises(RuntimeError, match="did not start"), registry.serving():
        pass


def test_a_registry_dies_with_a_run_that_is_killed(
    local_registry: Registry, tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        left = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
    try:
        assert select.select([left], [], [], 30)[0] == [left]
    finally:
        os.close(left)
