"""What the README tells its readers to type works as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .images.catalogue import Images

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def steps(command: str) -> list[list[str]]:
    return [shlex.split(step) for step in command.split(" && ")]


MAIN_JOB, TESTS, SERVE = blocks("sh")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all blocks, so that what one has pulled is there for the next."""
    return tmp_path_factory.mktemp("readme-home")


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run_as_they_stand(
    block: str, tmp_path: Path, home: Path, images: Images
) -> None:
    (tmp_path / "script.py").write_text("print('made by script.py')\n")
    places = {"LUNETTE_HOME": str(home), "LUNETTE_REGISTRY_MIRRORS": images.mirror}
    for _ in range(2):  # who tries it, tries it again
        done = run(sys.executable, "-W", "error", "-c", block, cwd=tmp_path, **places)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
    if "out.txt" in block:
        assert (tmp_path / "out.txt").read_text() == "made by script.py\n"


def test_both_examples_are_there() -> None:
    assert sum("./script.py" in block for block in blocks("python")) == 2


def test_the_main_job(tmp_path: Path) -> None:
    venv, install, job = steps(MAIN_JOB.strip())
    assert venv == ["python3", "-m", "venv", ".venv"]
    assert install == [".venv/bin/pip", "install", "-q", ".[all]"]
    program = Path(job[0])
    assert program.parent == Path(".venv/bin")
    done = run(str(PROGRAMS / program.name), *job[1:], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello from a sandbox\n", "")


def test_the_command_that_tests() -> None:
    assert steps(TESTS.strip()) == [
        ["python3", "-m", "venv", ".venv"],
        [".venv/bin/pip", "install", "-q", "nox"],
        [".venv/bin/nox"],
    ]


def test_serve_has_the_options(tmp_path: Path) -> None:
    shown = run(str(PROGRAMS / "lunette"), "serve", "--help", cwd=tmp_path).stdout
    for line in SERVE.splitlines():
        program, verb, *options = shlex.split(line)
        assert (program, verb) == ("lunette", "serve")
        assert {o for o in options if o.startswith("--")} <= set(re.findall(r"--[a-z-]+", shown))


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"} | environment,
    )
