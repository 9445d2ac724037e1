from __future__ import annotations

import json

import pytest

from lunette.server.images import errors
from lunette.server.images.image import Image, Progress

IMAGE = Image(
    image_id="sha256:1",
    digest="sha256:2",
    size=3,
    unpacked=4,
    created="2026-01-01T00:00:00Z",
    environment={"A": "b=c", "D": ""},
    working_dir="/w",
    user="app:app",
    passwd="root:x:0:0::/root:/bin/sh\n",
    group="root:x:0:\n",
)


def test_an_image_goes_through_json() -> None:
    assert Image.from_json(json.loads(json.dumps(IMAGE.to_json()))) == IMAGE


def test_what_a_later_version_adds_is_ignored() -> None:
    assert Image.from_json(IMAGE.to_json() | {"later": 1}) == IMAGE


def test_what_is_missing_is_an_error() -> None:
    with pytest.raises(TypeError):
        Image.from_json({"image_id": "sha256:1"})


def test_progress_goes_through_json() -> None:
    progress = Progress("unpacking", 1, 2)
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n.endswith("Error")])
def test_an_error_comes_back_by_its_kind(name: str) -> None:
    kind = getattr(errors, name)
    found = errors.error_of_kind(kind.kind, "why")
    assert type(found) is kind
    assert str(found) == "why"


def test_an_unknown_kind_is_an_image_error() -> None:
    assert type(errors.error_of_kind("later", "why")) is errors.ImageError
