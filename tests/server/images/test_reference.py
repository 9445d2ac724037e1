from __future__ import annotations

import pytest

from lunette.server.images.errors import InvalidReferenceError
from lunette.server.images.reference import Reference

HEX = "0123456789abcdef" * 4
LONGEST = "a" * 255


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("python", "docker.io/library/python:latest", "python:latest"),
        ("python:3.11-slim", "docker.io/library/python:3.11-slim", "python:3.11-slim"),
        ("ann/app", "docker.io/ann/app:latest", "ann/app:latest"),
        ("docker.io/python", "docker.io/library/python:latest", "python:latest"),
        ("index.docker.io/python", "docker.io/library/python:latest", "python:latest"),
        ("library/python", "docker.io/library/python:latest", "python:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("UPPER/a", "UPPER/a:latest", "UPPER/a:latest"),
        ("a__b/c-----d/e.f", "docker.io/a__b/c-----d/e.f:latest", "a__b/c-----d/e.f:latest"),
        ("a:_", "docker.io/library/a:_", "a:_"),
        (f"a:{'T' * 128}", f"docker.io/library/a:{'T' * 128}", f"a:{'T' * 128}"),
        (f"a@sha256:{HEX}", f"docker.io/library/a@sha256:{HEX}", f"a@sha256:{HEX}"),
        (f"a:b@sha256:{HEX}", f"docker.io/library/a:b@sha256:{HEX}", f"a:b@sha256:{HEX}"),
        (f"h.io/{LONGEST}", f"h.io/{LONGEST}:latest", f"h.io/{LONGEST}:latest"),
        (HEX[1:], f"docker.io/library/{HEX[1:]}:latest", f"{HEX[1:]}:latest"),
    ],
)
def test_as_docker_reads_them(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert Reference.parse(canonical) == Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("Python", "lower case"),
        ("docker.io/library/Python", "lower case"),
        ("a b", "spaces"),
        (" a", "spaces"),
        ("a\0", "control characters"),
        ("a\n", "control characters"),
        ("caf\u00e9", "beyond ASCII"),
        ("http://localhost:5000/a", "no scheme"),
        ("docker://a", "no scheme"),
        ("a:", "a tag has"),
        ("a:-b", "a tag has"),
        ("a:b:c", "a tag has"),
        (f"a:{'T' * 129}", "a tag has"),
        ("a@", "sha256"),
        ("a@sha256:12", "sha256"),
        (f"a@sha512:{HEX * 2}", "sha256"),
        (f"a@sha256:{HEX.upper()}", "sha256"),
        (f"a@sha256:{HEX}@sha256:{HEX}", "sha256"),
        (HEX, "the id of an image"),
        ("a//b", "a name has"),
        ("/a", "a name has"),
        ("a/", "a name has"),
        ("a..b", "a name has"),
        ("a___b", "a name has"),
        ("-a", "a name has"),
        ("a-", "a name has"),
        ("../a", "no HOST"),
        ("-h.io/a", "no HOST"),
        ("u:p@h.io/a", "sha256"),
        ("[::g]:1/a", "no HOST"),
        ("h.io:/a", "no HOST"),
        ("h.io:0/a", "port"),
        ("h.io:65536/a", "port"),
        ("h.io:" + "9" * 900 + "/a", "port"),
        (f"h.io/{LONGEST}a", "over 255"),
        ("a" * 10**6, "over 1024"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(InvalidReferenceError, match=why) as raised:
        Reference.parse(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


def test_a_password_in_what_is_none_is_not_shown() -> None:
    with pytest.raises(InvalidReferenceError) as raised:
        Reference.parse("https://ann:secret@h.io/a")
    assert "secret" not in str(raised.value)
    assert "h.io/a" in str(raised.value)


def test_parts() -> None:
    reference = Reference.parse(f"h.io:1/a/b:c@sha256:{HEX}")
    assert reference == Reference("h.io:1", "a/b", "c", f"sha256:{HEX}")
    assert reference.wanted == f"sha256:{HEX}"
    assert reference.name == "h.io:1/a/b"
    assert Reference.parse("a:b").wanted == "b"
