"""What sandboxes may use of the machine, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from lunette.server.engines.bubblewrap import _limits_groups as groups
from lunette.server.engines.bubblewrap import _limits_watched
from lunette.server.engines.bubblewrap._capabilities import capabilities
from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._limits import Deaths, Group
from lunette.server.engines.bubblewrap._limits_cgroup1 import Cgroup1Limits
from lunette.server.engines.bubblewrap._limits_cgroup2 import allowed_memory, subtree
from lunette.server.engines.bubblewrap._limits_watched import WatchedLimits
from lunette.server.settings import Settings

from ....isolation.engines import Engine

MEGABYTE = 1 << 20
HOLD = """
import subprocess
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
assert child.wait() == -9
"""
HOG = "x = []\nwhile True: x.append(bytearray(1 << 20))"


def test_who_has_no_memory_left_is_named(engine: Engine) -> None:
    with engine.sandbox(mem_limit=64 * MEGABYTE) as box, engine.sandbox() as other:
        ran = box.run(["python3", "-c", HOG])
        assert (ran.code, ran.signal, ran.out_of_memory) == (137, 9, True), ran
        ran = box.run(f"python3 -c '{HOG}'; exit $?")  # the shell lives and tells
        assert (ran.code, ran.signal, ran.out_of_memory) == (137, None, True), ran
        ran = box.run("kill -9 $$")
        assert (ran.code, ran.signal, ran.out_of_memory) == (137, 9, False)
        ran = box.run("echo up; exec sleep 600", {"until": "up"}, {"kill": True})
        assert (ran.signal, ran.out_of_memory) == (9, False)
        stats = box.stats()
        assert stats["memory_limit"] == 64 * MEGABYTE
        assert 0 < stats["memory"] < stats["memory_peak"]
        assert stats["processes"] >= 2
        assert other.stats()["memory_limit"] > 64 * MEGABYTE
        assert other.run("true").code == 0


@pytest.mark.parametrize("directory", ["/dev/shm", "/workspace/a b/memory"])
def test_a_sandbox_whose_files_take_all_memory_ends_by_it(engine: Engine, directory: str) -> None:
    moved = directory.replace("a b", "moved")
    fill = f"head -c 8m /dev/zero > {moved}/$$"
    more = [{"path": "/workspace/a b/memory", "size": 1 << 30}]
    with engine.sandbox(mem_limit=32 * MEGABYTE, tmpfs=more) as box:
        box.run("mv '/workspace/a b' /workspace/moved; ln -s / '/workspace/a b'")
        with pytest.raises(AssertionError, match="used all of its memory"):
            for _ in range(200):
                box.run(fill)
        assert engine.ask({"op": "look", "id": box.id})["state"] == "failed"


def test_no_command_can_be_spared_where_the_server_is_not(engine: Engine) -> None:
    with engine.sandbox() as box:
        found = box.python(
            """
            score = open("/proc/self/oom_score_adj", "r+")
            before = int(score.read())
            for wanted in (100, 99, 0, -1000):
                try:
                    score.seek(0); score.write(str(wanted)); score.flush()
                except OSError:
                    pass
            print(before, int(open("/proc/self/oom_score_adj").read()))
            """
        )
        before, after = map(int, found.split())
        # With CAP_SYS_RESOURCE a server can forbid less than the 100 of the worker, too.
        assert before == 600
        assert after >= int(Path("/proc/self/oom_score_adj").read_text())


def test_what_nothing_enforces_can_be_allowed() -> None:
    hunting = Hunting()
    try:
        limits = WatchedLimits(hunting)
        refused = capabilities(Settings(), limits, ranged=False)
        allowed = capabilities(Settings(allow_unenforced_limits=True), limits, ranged=False)
    finally:
        hunting.close()
    assert allowed.service_keys - refused.service_keys == {"cpus"}
    assert "mem_limit" in refused.service_keys
    assert refused.enforces == allowed.enforces == ("disk", "memory", "pids")
    assert refused.limits_by == "rlimits"


class Dying:
    """A group of whom *dead* were killed."""

    dead = 0

    def kills(self) -> int:
        return self.dead


def test_an_old_death_explains_no_later_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    group = Dying()
    deaths = Deaths(cast(Group, group))
    assert not deaths.just_now
    group.dead = 3  # which no command is told of
    assert (deaths.count(), deaths.just_now) == (3, True)
    now += 60
    assert not deaths.just_now
    group.dead += 1
    assert deaths.just_now


def test_who_takes_its_time_to_die_is_counted_once() -> None:
    hunting = Hunting()
    try:
        with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline()
            group = WatchedLimits(hunting).group(None)
            group.began(worker.pid, 1 << 30)
            group.limit(memory=1, cpus=None)
            group.look()
            for _ in range(2):
                group.kill_largest()
            assert group.kills() == 1
            assert worker.wait() == 0
    finally:
        hunting.close()


def test_who_cannot_be_measured_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits_watched, "_LOOK_SECONDS", 0.0)
    hunting = Hunting()
    try:
        with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            child = int(worker.stdout.readline())
            group = WatchedLimits(hunting).group(None)
            group.began(worker.pid, child)
            for _ in range(_limits_watched._MOST_INCOMPLETE):
                assert group.kills() == 0
                group.look()
            assert (group.kills(), worker.wait()) == (1, 0)
    finally:
        hunting.close()


@pytest.fixture
def limits() -> Cgroup1Limits:
    found = Cgroup1Limits.found() if os.geteuid() == 0 else None
    if found is None:
        pytest.skip("no control groups of version 1")
    return found


def test_processors(limits: Cgroup1Limits) -> None:
    limits.open()
    try:
        group = limits.group(None)
        group.limit(memory=None, cpus=0.25)
        (path,) = (Path(entry).parent for entry in group.entries if "/cpu/" in entry)
        (pids,) = (Path(entry).parent for entry in group.entries if "/pids/" in entry)
        assert groups.value(pids / "pids.max") == limits.processes
        assert limits.processes * 16 <= groups.value(pids.parent / "pids.max")
        assert groups.value(path / "cpu.cfs_quota_us") == 25_000
        # The server comes first, with more shares than all its sandboxes.
        assert groups.value(path.parent / "cpu.shares") < 1024
        group.close()
        assert not path.exists()
    finally:
        limits.close()


def test_all_together_have_a_limit_too(limits: Cgroup1Limits) -> None:
    limits.total = 64 * MEGABYTE
    limits.open()
    try:
        group = limits.group(None)
        package = "lunette.server.engines.bubblewrap.inside"
        joined = f"from {package} import limits; limits.join({group.entries})\n{HOG}"
        ended = subprocess.run([sys.executable, "-c", joined])
        assert (ended.returncode, group.kills()) == (-signal.SIGKILL, 1)
        found = group.usage()
        assert found.memory_limit == limits.memory > limits.total
        assert found.memory < (found.memory_peak or 0) <= 64 * MEGABYTE
        assert found.cpu_seconds > 0
        assert found.processes == 0
        group.close()
    finally:
        limits.close()


def test_what_a_dead_server_left_is_swept(tmp_path: Path) -> None:
    parents = [tmp_path / "memory", tmp_path / "cpu"]
    for parent in parents:
        parent.mkdir()
    code = f"""
import os, signal
from pathlib import Path
from lunette.server.engines.bubblewrap import _limits_groups as groups
claim = groups.claim([Path(p) for p in {[str(p) for p in parents]!r}])
for path in claim.paths:
    (path / "1").mkdir()
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code])
    assert ended.returncode == -signal.SIGKILL
    left = [path for parent in parents for path in (parent / "lunette").iterdir()]
    assert len(left) == 2
    ours = groups.claim(parents)
    groups.sweep(parents)
    assert [path.exists() for path in (*left, *ours.paths)] == [False, False, True, True]
    ours.release()
    assert not any(any(parent.iterdir()) for parent in parents)


def test_a_half_removed_one_is_swept_too(tmp_path: Path) -> None:
    parents = [tmp_path / "memory", tmp_path / "cpu"]
    (parents[1] / "lunette" / "abc" / "1").mkdir(parents=True)
    groups.sweep(parents)
    assert not (parents[1] / "lunette" / "abc").exists()


# Of version 2, which no machine of ours has, its parts.


def test_where_version_2_is_delegated(tmp_path: Path) -> None:
    proc, mount = tmp_path / "proc", tmp_path / "cgroup"
    (mount / "user.slice" / "app").mkdir(parents=True)
    proc.mkdir()
    line = f"30 23 0:26 / {mount} rw,nosuid - cgroup2 cgroup2 rw\n"
    (proc / "mountinfo").write_text(line)
    (proc / "cgroup").write_text("0::/user.slice/app\n")
    assert subtree(proc) is None
    for group, controllers in ((mount, "cpuset cpu io memory pids"), (mount / "user.slice", "cpu")):
        (group / "cgroup.subtree_control").write_text(controllers)
        (group / "cgroup.procs").touch()
    assert subtree(proc) == mount
    for name, none, some in (("memory", "max", "1000"), ("cpu", "max 100000", "5000 100000")):
        limit = mount / "user.slice" / f"{name}.max"
        limit.write_text(some)
        assert subtree(proc) is None  # outside of it there would be more than is allowed
        assert (allowed_memory(proc) == 1000) == (name == "memory")
        limit.write_text(none)
    assert subtree(proc) == mount
    (mount / "user.slice" / "cgroup.subtree_control").write_text("cpu memory pids")
    assert subtree(proc) == mount / "user.slice"


def test_the_files_of_groups(tmp_path: Path) -> None:
    file = tmp_path / "memory.stat"
    file.write_text("anon 5\ninactive_file 7\nactive_file 9\n")
    found = [groups.value(file, key) for key in ("inactive_file", "anon", "file", None)]
    assert found == [7, 5, 0, 0]
    file.write_text("12\n")
    assert groups.value(file) == 12
    file.write_text("max\n")
    assert groups.value(file) == groups.value(tmp_path / "none") == 0
