"""Manifests, indexes and configs: honest ones, and what strangers may write."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from lunette.server.images import _platforms
from lunette.server.images._configuration import read_configuration
from lunette.server.images._manifests import Index, Manifest, read_manifest
from lunette.server.images._platforms import choose
from lunette.server.images.errors import (
    ImageError,
    InvalidImageError,
    PlatformError,
    RegistryError,
)

from ...images.oci_image import ELSEWHERE, HERE, MEDIA_TYPES, Form, Platform
from ...images.oci_image import Index as IndexOf
from .pulls import image_of

IMAGE = image_of(100, 200)
HEX = "sha256:" + "a" * 64

Change = Callable[[Any], object]


def read(content: Any, media_type: str | None = None) -> Index | Manifest:
    return read_manifest(json.dumps(content).encode(), media_type, name="app:latest")


def manifest() -> Any:
    return json.loads(IMAGE.manifest)


@pytest.mark.parametrize("form", ["oci", "docker"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_what_it_is_may_be_said_anywhere(form: Form, header: bool, own: bool) -> None:
    image = evolve(IMAGE, form=form)
    content = json.loads(image.manifest)
    if not own:
        del content["mediaType"]
    found = read(content, f"{image.media_type}; charset=utf-8" if header else None)
    assert isinstance(found, Manifest)
    assert found.config.digest == image.image_id
    assert [layer.digest for layer in found.layers] == [layer.digest for layer in image.layers]
    assert found.size == sum(len(layer.blob) for layer in image.layers)


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_indexes(form: Form) -> None:
    index = IndexOf(images=(evolve(IMAGE, platform=ELSEWHERE), IMAGE), form=form)
    found = read_manifest(index.manifest, None, name="app")
    assert isinstance(found, Index)
    assert choose(found, name="app").digest == IMAGE.digest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.update(schemaVersion=1), "schema 1"),
        (lambda m: m.update(fsLayers=[]), "schema 1"),
        (lambda m: m.pop("schemaVersion"), "schemaVersion"),
        (lambda m: m.update(schemaVersion="2"), "schemaVersion"),
        (lambda m: m.update(manifests=[]), "an index too"),
        (lambda m: m.update(mediaType=["x"]), "no string"),
        (lambda m: m.update(mediaType="text/html"), "unknown type 'text/html'"),
        (lambda m: m.update(mediaType="x" * 10**6), r"unknown type 'x{100}\.\.\.'"),
        (lambda m: m.pop("config"), "without a config"),
        (lambda m: m.update(config=[]), "without a config"),
        (lambda m: m.pop("layers"), "layers are no list"),
        (lambda m: m.update(layers={}), "layers are no list"),
        (lambda m: m.update(layers=[1]), "layers are no list"),
        (lambda m: m.update(layers=m["layers"] * 64), "128 layers"),
        (lambda m: m["config"].update(size=2**23 + 1), "config of over"),
        (lambda m: m["config"].update(mediaType="application/vnd.cncf.helm"), "no image of a con"),
        (lambda m: m["layers"][0].pop("mediaType"), "without a mediaType"),
        (lambda m: m["layers"][0].update(mediaType="application/x-tar"), "unknown type"),
        (lambda m: m["layers"][0].pop("digest"), "no sha256 digest"),
        (lambda m: m["layers"][0].update(digest="sha256:../../etc"), "no sha256 digest"),
        (lambda m: m["layers"][0].update(digest=HEX.upper()), "no sha256 digest"),
        (lambda m: m["layers"][0].update(digest=f"{HEX}\n"), "no sha256 digest"),
        (lambda m: m["layers"][0].update(digest="sha512:" + "a" * 128), "no sha256 digest"),
        (lambda m: m["layers"][0].pop("size"), "no possible size"),
        (lambda m: m["layers"][0].update(size=-1), "no possible size"),
        (lambda m: m["layers"][0].update(size=True), "no possible size"),
        (lambda m: m["layers"][0].update(size=1.5), "no possible size"),
        (lambda m: m["layers"][0].update(size=2**63), "no possible size"),
    ],
)
def test_what_is_no_image(change: Change, why: str) -> None:
    content = manifest()
    change(content)
    with pytest.raises(InvalidImageError, match=why) as raised:
        read(content)
    assert "app:latest" in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_that_are_not_handed_out(media_type: str) -> None:
    content = manifest()
    content["layers"][1]["mediaType"] = media_type
    with pytest.raises(InvalidImageError, match="does not hand out"):
        read(content)


@pytest.mark.parametrize("form", ["oci", "docker"])
@pytest.mark.parametrize("kind", ["gzip", "zstd", "none"])
def test_layers(form: Form, kind: str) -> None:
    content = manifest()
    content["layers"][0]["mediaType"] = MEDIA_TYPES[form][kind]
    assert isinstance(read(content), Manifest)


def test_127_layers_are_allowed() -> None:
    content = manifest()
    content["layers"] = content["layers"][:1] * 127
    assert isinstance(read(content), Manifest)


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b'"\\ud800"', b'{"a": "\\ud800"}'])
def test_garbage(content: bytes) -> None:
    with pytest.raises(RegistryError, match="is this a registry"):
        read_manifest(content, None, name="app")


def test_schema_1_by_its_header() -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with pytest.raises(InvalidImageError, match="schema 1"):
        read({"schemaVersion": 1, "fsLayers": []}, kind)


# Platforms


def entry(what: object, *, digest: str = HEX, **more: Any) -> dict[str, Any]:
    media_type = MEDIA_TYPES["oci"]["manifest"]
    found = {"mediaType": media_type, "digest": digest, "size": 1, "platform": what, **more}
    return {key: value for key, value in found.items() if value is not None}


def index(*entries: dict[str, Any]) -> Index:
    found = read({"schemaVersion": 2, "manifests": list(entries)})
    assert isinstance(found, Index)
    return found


def linux(variant: str | None = None) -> dict[str, str]:
    return Platform(HERE.architecture, variant=variant).to_json()


def test_an_attestation_is_no_image() -> None:
    notes = {"vnd.docker.reference.type": "attestation-manifest"}
    other = "sha256:" + "b" * 64
    found = index(entry(linux(), annotations=notes), entry(linux(), digest=other))
    assert choose(found, name="app").digest == other


def test_what_is_no_manifest_is_no_image() -> None:
    other = "sha256:" + "b" * 64
    found = index(entry(linux(), mediaType="application/x"), entry(linux(), digest=other))
    assert choose(found, name="app").digest == other


def test_the_only_one_without_a_platform_is_taken() -> None:
    assert choose(index(entry(None)), name="app").digest == HEX
    with pytest.raises(PlatformError, match="an unknown platform"):
        choose(index(entry(None), entry(None)), name="app")


@pytest.mark.parametrize(
    "what",
    [
        {"os": "windows", "architecture": HERE.architecture},
        {"os": "linux", "architecture": "s390x"},
        {"os": "linux", "architecture": HERE.architecture, "variant": "v99"},
        {"os": 1, "architecture": [2]},
        {},
    ],
)
def test_what_is_not_for_here(what: dict[str, Any]) -> None:
    with pytest.raises(PlatformError, match=f"no image for linux/{HERE.architecture}"):
        choose(index(entry(what)), name="app")


def test_nothing_at_all() -> None:
    with pytest.raises(PlatformError, match="but for nothing"):
        choose(index(), name="app")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def be(name: str, flags: str) -> None:
        monkeypatch.setattr(platform, "machine", lambda: name)
        monkeypatch.setattr(_platforms, "_flags", lambda: set(flags.split()))
        _platforms._variants.cache_clear()  # pyright: ignore[reportPrivateUsage]

    return be


V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"


@pytest.mark.parametrize(
    ("name", "flags", "offered", "chosen"),
    [
        ("x86_64", "", ["amd64/v2", "amd64"], "amd64"),
        ("x86_64", "", ["amd64/v2", "amd64/v1"], "amd64/v1"),
        ("x86_64", V2, ["amd64/v3", "amd64/v2"], "amd64/v2"),
        ("x86_64", V3, ["amd64/v3", "amd64/v4"], "amd64/v3"),
        ("aarch64", "", ["arm/v7", "arm64/v8", "amd64"], "arm64/v8"),
        ("aarch64", "", ["arm64/v8", "arm64"], "arm64"),
        ("riscv64", "", ["amd64", "riscv64"], "riscv64"),
    ],
)
def test_variants(
    machine: Callable[[str, str], None], name: str, flags: str, offered: list[str], chosen: str
) -> None:
    machine(name, flags)
    digests = {f"sha256:{n:064x}": text for n, text in enumerate(offered)}
    entries: list[dict[str, Any]] = []
    for digest, text in digests.items():
        architecture, _, variant = text.partition("/")
        words = {"os": "linux", "architecture": architecture, "variant": variant}
        entries.append(entry(words, digest=digest))
    assert digests[choose(index(*entries), name="app").digest] == chosen


def test_this_machine_knows_its_flags() -> None:
    flags = _platforms._flags()  # pyright: ignore[reportPrivateUsage]
    assert platform.machine() != "x86_64" or "sse2" in flags


# Configs


def configured(change: Change = lambda _: None) -> Any:
    content = json.loads(image_of(100, 200, User="1:2", WorkingDir="/w").config_blob)
    content["config"]["Env"] = ["A=b=c", "EMPTY=", "NOTHING", "=x"]
    change(content)
    return read_configuration(json.dumps(content).encode(), layers=2, name="app")


def test_a_config() -> None:
    found = configured()
    assert found.environment == {"A": "b=c", "EMPTY": ""}
    assert (found.user, found.working_dir) == ("1:2", "/w")
    assert found.created == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(config=None, created=None),
        lambda c: c.update(config={"Env": None, "User": "", "WorkingDir": None}, created=""),
    ],
)
def test_a_config_without_anything(change: Change) -> None:
    found = configured(change)
    assert (found.environment, found.user, found.working_dir, found.created) == (
        {},
        None,
        None,
        None,
    )


def test_what_an_old_builder_left_out_is_taken_for_ours() -> None:
    configured(lambda c: [c.pop(key) for key in ("os", "architecture")])


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        (lambda c: c.update(architecture="s390x"), PlatformError, "linux/s390x"),
        (lambda c: c.update(os="windows"), PlatformError, "windows"),
        (lambda c: c.update(os=["linux"]), PlatformError, "linux"),
        (lambda c: c["rootfs"]["diff_ids"].pop(), InvalidImageError, "knows 1 layers"),
        (lambda c: c.pop("rootfs"), InvalidImageError, "knows 0 layers"),
        (lambda c: c.update(rootfs=[]), InvalidImageError, "knows 0 layers"),
        (lambda c: c.update(config=["x"]), InvalidImageError, "no object"),
        (lambda c: c["config"].update(Env={"A": 1}), InvalidImageError, "no list"),
        (lambda c: c["config"].update(Env=[1]), InvalidImageError, "no K=V"),
        (lambda c: c["config"].update(Env=["A=\0"]), InvalidImageError, "no K=V"),
        (lambda c: c["config"].update(User=7), InvalidImageError, "User"),
        (lambda c: c["config"].update(WorkingDir="/\0"), InvalidImageError, "WorkingDir"),
        (lambda c: c.update(created=7), InvalidImageError, "created"),
    ],
)
def test_a_config_that_is_none(change: Change, error: type[ImageError], why: str) -> None:
    with pytest.raises(error, match=why):
        configured(change)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 10**6])
def test_a_config_that_is_no_json(content: bytes) -> None:
    with pytest.raises(InvalidImageError, match="the config of app"):
        read_configuration(content, layers=0, name="app")
