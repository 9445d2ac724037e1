"""What a developer and CI run: `nox` checks everything, `nox -l` lists the rest."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import nox

ROOT = Path(__file__).parent
SPEC = ROOT / "openapi.yaml"
GENERATED = ROOT / "generated" / "lunette_api"
FULL, *OTHERS = "3.11", "3.12", "3.13"
# What fills the machine with processes runs beside nothing else.
ALONE = "tests/isolation/test_walls.py"
# What takes as long as the rest of the tests runs beside them.
APART = (
    *("tests/faults", "tests/images", "tests/isolation"),
    *("tests/server/engines", "tests/server/images"),
    *("tests/test_compose_keys.py", "tests/test_dockerignore_docker.py"),
)
# What needs a sandbox of its own kind or takes long runs on one Python alone.
ON_ONE_PYTHON = (
    *("tests/published", "tests/server/test_form.py", "tests/terminal"),
    *("tests/test_cli.py", "tests/test_cli_files.py", "tests/test_cli_processes.py"),
    *("tests/test_directories_end_to_end.py", "tests/test_files_like_python.py"),
    *("tests/test_files_open.py", "tests/test_process_loud.py", "tests/test_transfers.py"),
    *("tests/test_embedded.py", "tests/test_embedded_ends.py", "tests/test_end_to_end_commands.py"),
    *("tests/test_leaks.py", "tests/test_many.py", "tests/test_notebooks.py"),
    *("tests/test_processes.py", "tests/test_readme.py", "tests/test_server_dies.py"),
    "tests/test_terminal.py",
    *("tests/test_typing.py", "tests/transports", "tests/typing"),
)
# The middle one of three is like its neighbours, and the server of the last runs under the rest.
NOT_ON_THE_LAST = ("tests/server",)
NOT_IN_THE_MIDDLE = ("tests/archive", "tests/operations", *NOT_ON_THE_LAST)
# Tests bend what they test; tests/typing is wrong on purpose, and checked by pytest.
TESTS_OF_TYPES = (
    *("--explicit-package-bases", "--implicit-reexport", "--no-warn-return-any"),
    *("--exclude", "^tests/(chaos|fuzz|isolation|typing)/"),
)

# Where pyenv's shims refuse, its Pythons are found all the same.
os.environ["PATH"] += "".join(
    f":{version / 'bin'}"
    for version in sorted(
        Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/*")
    )
    if version.name.startswith(tuple(OTHERS))
)

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_existing_virtualenvs = True
# CI runs two side by side: the longest begin early.
nox.options.sessions = [
    *("contract", "lint", f"tests-{FULL}", "engines", "types"),
    *(*(f"tests-{version}" for version in OTHERS), "fuzz", "walls", "chaos"),
]
nox.options.download_python = "never"
# Debian has one Python: the sessions of the others say that they were skipped.
nox.options.error_on_missing_interpreters = False


@nox.session(python=[FULL, *OTHERS])
def tests(session: nox.Session) -> None:
    """Run the tests against the installed package: all on 3.11, those of units on the others."""
    arguments = session.posargs or ["tests", *_ignored(*APART)]
    if session.python == FULL:
        _install(session, ".[all]", "test", "types")
        _test(session, *arguments)
        return
    _install(session, ".[all]", "test")
    more = NOT_IN_THE_MIDDLE if session.python == OTHERS[0] else NOT_ON_THE_LAST
    _test(session, *arguments, *_ignored(*APART, *ON_ONE_PYTHON, *more))
    _say_hello(session)


@nox.session(python=FULL)
def engines(session: nox.Session) -> None:
    """Run the tests of engines, of images, of isolation and of faults, which `tests` leaves out."""
    _install(session, ".[all]", "test")
    _test(session, *session.posargs or [*APART, *_ignored(ALONE)])


@nox.session(python=FULL, allow_parallel=False)
def walls(session: nox.Session) -> None:
    """Run the tests of the walls around sandboxes, which `engines` leaves out."""
    _install(session, ".[all]", "test")
    _test(session, *session.posargs or [ALONE])


@nox.session(python=FULL)
def faults(session: nox.Session) -> None:
    """Cut connections, at first 100,000 times (`-- N`), and see that everything ran once."""
    _install(session, ".[all]", "test")
    cuts = session.posargs[0] if session.posargs else "100000"
    session.run(
        *("pytest", "-s", "--timeout=0", "tests/faults"),
        env={"LUNETTE_FAULT_CUTS": cuts, "LUNETTE_FAULT_SECONDS": "1e9"},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Find mistakes and unusual formatting."""
    session.install("-q", *_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, of its tests and of its tools with mypy and pyright."""
    _install(session, ".[all]", "test", "types", "bench", "fuzz")
    session.run("mypy")
    session.run("mypy", "noxfile.py", "benchmarks")
    session.run("mypy", "tests/fuzz")
    session.run("mypy", "tests/chaos")
    session.run("mypy", *TESTS_OF_TYPES, "tests")
    session.run("pyright", "lunette", "noxfile.py", "benchmarks")


@nox.session
def contract(session: nox.Session) -> None:
    """Check openapi.yaml, and that generated/ is what the generator makes of it."""
    session.install("-q", *_group("contract"))
    session.run("openapi-spec-validator", str(SPEC))
    with _generated(session) as fresh:
        difference = _difference(GENERATED, fresh)
    if difference:
        print("".join(difference))
        session.error("generated/ is not what openapi.yaml gives: run `nox -s generate`")
    session.run("python", "-P", "-W", "error", "-c", _IMPORT_ALL, env={"PYTHONPATH": "generated"})


@nox.session
def generate(session: nox.Session) -> None:
    """Write generated/lunette_api anew."""
    session.install("-q", *_group("contract"))
    with _generated(session) as fresh:
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send generated requests to a server, 3,000 or `-- --requests 1000000 --seconds 50000`."""
    _install(session, ".[all]", "fuzz")
    # A directory, as for `bench`.
    session.run("python", "tests/fuzz", *session.posargs)


@nox.session(python=FULL)
def coverage(session: nox.Session) -> None:
    """Run the tests and print the branches of `lunette/` that they leave out; twice as slow."""
    _install(session, ".[all]", "test", "types", "coverage")
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o1777)
        counted = {"COVERAGE_FILE": str(Path(directory, "coverage")), "TMPDIR": directory}
        run = ("coverage", "run", "-m", "pytest", "--timeout=0", *session.posargs)
        session.run(*run, env=counted, success_codes=[0, 1])
        session.run("coverage", "combine", "-q", env=counted)
        session.run("coverage", "report", env=counted)


@nox.session(python=FULL)
def chaos(session: nox.Session) -> None:
    """Kill and stop all that runs at random points, `-- --rounds 5000 --seconds 3600`."""
    _install(session, ".[all]")
    session.run("python", "tests/chaos", *session.posargs)


@nox.session(python=FULL, allow_parallel=False)
def soak(session: nox.Session) -> None:
    """Work for 20 minutes, or `-- --seconds N`, and see that the server does not grow."""
    _install(session, ".[all]")
    session.run("python", "tests/chaos/soak.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what the architecture sets goals for, as ratios in one run."""
    _install(session, ".[all]", "bench")
    # A directory, not `-m`, which would put the checkout before what is installed.
    session.run("python", "benchmarks", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Do the main job of the README."""
    _install(session, ".[all]")
    _say_hello(session)


_IMPORT_ALL = """
import importlib, pkgutil, lunette_api
modules = pkgutil.walk_packages(lunette_api.__path__, "lunette_api.")
print("imported", sum(bool(importlib.import_module(module.name)) for module in modules), "modules")
"""


def _install(session: nox.Session, package: str, *groups: str) -> None:
    # uv would take what it built of an earlier state of the checkout, and compiles when asked.
    uv = ("--reinstall-package=lunette-sandbox", "--compile-bytecode")
    options = uv if session.venv_backend == "uv" else ()
    session.install("-q", *options, package, *(r for group in groups for r in _group(group)))


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name)


def _test(session: nox.Session, *arguments: str) -> None:
    # What another session has in its own directory meanwhile is no leak of this one.
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o1777)
        # The program, not `python -m pytest`, which would put the checkout before the installed.
        session.run("pytest", "--durations=20", *arguments, env={"TMPDIR": directory})


def _ignored(*paths: str) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def _say_hello(session: nox.Session) -> None:
    with tempfile.TemporaryDirectory() as directory, session.chdir(directory):
        session.run(
            *("lunette", "run", "--", "python", "-c", "print('hello from a sandbox')"),
            env={"LUNETTE_BASE_URL": "embedded"},
        )


@contextmanager
def _generated(session: nox.Session) -> Generator[Path]:
    """Yield the client that the generator makes of the contract, in a directory that then goes."""
    with tempfile.TemporaryDirectory() as directory:
        config, output = Path(directory, "config.json"), Path(directory, "lunette_api")
        config.write_text(
            json.dumps(
                {
                    "project_name_override": "lunette-api",
                    "package_name_override": "lunette_api",
                    # The default hooks end with `ruff check --fix-only`, which breaks the types.
                    "post_hooks": ["ruff format --isolated --no-cache ."],
                }
            )
        )
        session.run(
            *("openapi-python-client", "generate", "--meta", "none", "--path", str(SPEC)),
            *("--config", str(config), "--output-path", str(output)),
        )
        yield output


def _difference(committed: Path, fresh: Path) -> list[str]:
    """Compare two trees of text files, as a unified diff."""
    names = sorted({*_files(committed), *_files(fresh)})
    return [
        line if line.endswith("\n") else f"{line}\n"
        for name in names
        for line in difflib.unified_diff(
            _lines(committed / name),
            _lines(fresh / name),
            f"committed/{name}",
            f"generated from openapi.yaml/{name}",
        )
    ]


def _files(tree: Path) -> set[str]:
    """The files that git would see."""
    caches = {"__pycache__", ".mypy_cache", ".ruff_cache"}
    return {
        os.path.relpath(path, tree)
        for path in tree.rglob("*")
        if path.is_file() and not caches & set(path.parts)
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True) if path.exists() else []
