from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "tests" / "typing" / "examples.py"
SLIPS = ROOT / "tests" / "typing" / "slips.py"

Findings = dict[tuple[str, int], str]

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed"
)
needs_pyright = pytest.mark.skipif(
    importlib.util.find_spec("pyright") is None, reason="pyright is not installed"
)
# The first run of a machine compiles, or downloads, a type checker.
pytestmark = pytest.mark.timeout(600)


def output_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    cache = tmp_path_factory.mktemp("mypy")
    output = output_of("mypy", "--cache-dir", str(cache), str(EXAMPLES), str(SLIPS))
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", output, re.MULTILINE)
    return {(Path(file).name, int(line)): message for file, line, message in found}


@pytest.fixture(scope="module")
def pyright(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    # A project of its own, since the checkout's includes the library alone.
    project = tmp_path_factory.mktemp("pyright")
    shutil.copytree(EXAMPLES.parent, project / "checked")
    settings: dict[str, Any] = {
        "extraPaths": [str(ROOT), str(ROOT / "generated")],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    report = json.loads(output_of("pyright", "--outputjson", "--project", str(project)))
    return {
        (Path(found["file"]).name, found["range"]["start"]["line"] + 1): found["message"]
        for found in report["generalDiagnostics"]
    }


def slips() -> set[int]:
    lines = SLIPS.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# slip:" in line}


def in_file(findings: Findings, file: Path) -> dict[int, str]:
    return {line: message for (name, line), message in findings.items() if name == file.name}


@needs_mypy
def test_mypy_infers_the_examples_exactly(mypy: Findings) -> None:
    assert in_file(mypy, EXAMPLES) == {}


@needs_mypy
def test_mypy_finds_every_slip_and_nothing_else(mypy: Findings) -> None:
    assert set(in_file(mypy, SLIPS)) == slips()


@needs_pyright
def test_pyright_infers_the_examples_exactly(pyright: Findings) -> None:
    assert in_file(pyright, EXAMPLES) == {}


@needs_pyright
def test_pyright_finds_every_slip_and_nothing_else(pyright: Findings) -> None:
    assert set(in_file(pyright, SLIPS)) == slips()
