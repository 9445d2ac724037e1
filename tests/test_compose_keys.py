"""Each key of a Compose service, from the client to what a command sees, on the image `host`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from lunette import APIError, LunetteClient, NotSupportedError, Sandbox, ServiceError

from .embedded import until
from .isolation import stage
from .isolation.servers import Server, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")

PIDS = 40


@pytest.fixture(scope="module", params=["root", "user"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can run a server as root")
    with serving(request.param) as running:
        yield running


@pytest.fixture
def made(server: Server) -> Iterator[Any]:
    """Return a function that makes a sandbox of some keys, destroyed after the test."""
    with ExitStack() as stack:

        def make(**keys: Any) -> Sandbox:
            service = {"image": "host", **keys}
            return stack.enter_context(server.client.create_sandbox(service))

        yield make


def _key(error: NotSupportedError) -> str:
    """Return the key that an answer names."""
    assert isinstance(error, APIError)
    found: str = error.response.json()["key"]
    return found


def _lines(sandbox: Sandbox, command: str) -> list[str]:
    return sandbox.exec(command, check=True, timeout=60).stdout.splitlines()


def test_the_embedded_server_takes_them_all() -> None:
    """Together, as people write them: none is in another's way."""
    service: dict[str, Any] = {
        "image": "host",
        "user": "1000:1000",
        "working_dir": "/srv/app",
        "environment": {"DEBUG": True, "PORT": 80},
        "hostname": "box",
        "extra_hosts": ["db=10.0.0.1"],
        "network_mode": "none",
        "init": True,
        "read_only": True,
        "tmpfs": ["/cache:size=1m,uid=1000", "/run/own"],
        "shm_size": "2m",
        "pids_limit": "50",
        "deploy": {"resources": {"limits": {"pids": 50}}},
        "ulimits": {"nofile": 256, "core": 0},
        "storage_opt": {"size": "1g"},
        "stop_signal": "SIGINT",
        "stop_grace_period": "1s",
        "pull_policy": "never",
        "labels": {"run": 7},
        "x-anything": {"is": "ignored"},
    }
    with LunetteClient() as client, client.create_sandbox(service) as sandbox:
        assert _lines(sandbox, "id -u; pwd; echo $DEBUG $PORT; uname -n; ulimit -n") == [
            *("1000", "/srv/app", "true 80", "box", "256"),
        ]
        assert _lines(sandbox, "grep -c . /etc/hosts; touch /cache/x /workspace/x") == ["3"]


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (0, "0:0:/root"),
        ("root", "0:0:/root"),
        ("nobody", "65534:65534:/nonexistent"),
        (1000, "1000:0:/"),
        ("1000:50", "1000:50:/"),
        ("nobody:root", "65534:0:/nonexistent"),
    ],
)
def test_user(made: Any, user: str | int, shown: str) -> None:
    sandbox = made(user=user)
    assert _lines(sandbox, "echo $(id -u):$(id -g):$HOME") == [shown]
    sandbox.exec("echo x > mine; mkdir d", check=True)
    sandbox.files.write_text("uploaded", "")
    ids = shown.rpartition(":")[0]
    assert _lines(sandbox, "stat -c %u:%g mine d uploaded") == [ids] * 3


@pytest.mark.parametrize("user", ["ghost", "0:ghosts", "70000", "-1", "root:0:0"])
def test_users_that_are_none(made: Any, user: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        made(user=user)
    assert _key(caught.value) == "user"


def test_a_user_who_is_not_root_gets_no_privilege(made: Any) -> None:
    status = made(user="1000:1000").exec("cat /proc/self/status").stdout
    for line in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status


def test_read_only(made: Any) -> None:
    sandbox = made(read_only=True, tmpfs="/cache")
    for path in ("/root/x", "/run/x", "/etc/x", "/usr/x", "/x"):
        assert "Read-only" in sandbox.exec(["touch", path]).stderr, path
    for path in ("/workspace/x", "/tmp/x", "/dev/shm/x", "/cache/x"):
        sandbox.exec(["touch", path], check=True)
    sandbox.files.write_text("/workspace/y", "y")
    made(read_only=False).exec("touch /root/x /run/x", check=True)


def test_tmpfs(made: Any, server: Server) -> None:
    sandbox = made(tmpfs=["/cache:size=1m,mode=750", "/deep/er:exec", "/workspace/in:ro", "/plain"])
    options = {
        path: set(words.split(","))
        for _, path, kind, words, *_ in map(str.split, _lines(sandbox, "cat /proc/self/mounts"))
        if kind == "tmpfs"
    }
    assert {"size=1024k", "mode=750", "noexec", "nosuid", "nodev", "rw"} <= options["/cache"]
    assert "noexec" not in options["/deep/er"]
    assert {"nosuid", "nodev"} <= options["/deep/er"]
    assert "ro" in options["/workspace/in"]
    assert "size=1048576k" in options["/plain"]
    assert "No space" in sandbox.exec("head -c 2m /dev/zero > /cache/x").stderr
    assert _lines(sandbox, "stat -c %a /cache /plain") == ["750", "1777"]
    run = "cp /bin/true {0}/true && {0}/true"
    assert sandbox.exec(run.format("/deep/er")).exit_code == 0
    assert sandbox.exec(run.format("/plain")).exit_code == 126
    assert "Read-only" in sandbox.exec("touch /workspace/in/x").stderr


def test_the_owner_of_a_tmpfs(made: Any, server: Server) -> None:
    if server.mode == "root":
        sandbox = made(tmpfs="/cache:mode=700,uid=5,gid=6")
        assert _lines(sandbox, "stat -c %u:%g:%a /cache") == ["5:6:700"]
        return
    with pytest.raises(NotSupportedError, match="uid=5") as caught:
        made(tmpfs="/cache:uid=5")
    assert _key(caught.value) == "tmpfs"
    sandbox = made(user="5:6", tmpfs="/cache:uid=5,gid=6")
    assert _lines(sandbox, "stat -c %u:%g /cache; touch /cache/x") == ["5:6"]


@pytest.mark.parametrize(
    "path", ["/proc", "/proc/sys", "/dev", "/proc/self", "/usr/new", "/etc/new", "/a/../b", "/a//b",
             "/newroot", "/etc/passwd", "/" + "a/" * 100 + "b"],
)  # fmt: skip
def test_where_no_tmpfs_can_be(made: Any, path: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        made(tmpfs=path)
    assert _key(caught.value) == "tmpfs"


def test_a_tmpfs_over_what_is_one_already(made: Any) -> None:
    sandbox = made(tmpfs=["/tmp:size=1m", "/dev/shm:size=1m", "/workspace:size=1m"], shm_size="9m")
    for path in ("/tmp", "/dev/shm", "/workspace"):
        assert "No space" in sandbox.exec(f"head -c 2m /dev/zero > {path}/x").stderr
    sandbox.exec("cd /workspace && rm x", check=True)
    sandbox.files.write_text("here", "in memory")
    assert _lines(sandbox, "cat /workspace/here") == ["in memory"]


@pytest.mark.parametrize(("size", "kibibytes"), [("1m", "1024"), (2 << 20, "2048"), ("1", "4")])
def test_shm_size(made: Any, size: str | int, kibibytes: str) -> None:
    sandbox = made(shm_size=size)
    assert _lines(sandbox, "df -k --output=size /dev/shm")[1].strip() == kibibytes
    assert "No space" in sandbox.exec("head -c 3m /dev/zero > /dev/shm/x").stderr


_BOMB = f"""
import os, threading, time
born, refused = [], 0
for _ in range({PIDS * 2}):
    try:
        pid = os.fork()
    except BlockingIOError:
        refused += 1
        continue
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    born.append(pid)
try:
    threading.Thread(target=lambda: None).start()
    threads = "threads"
except RuntimeError:
    threads = "no threads"
print(len(born), refused, threads)
for pid in born:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
os.waitpid(os.fork() or os._exit(0), 0)
print("room again")
"""


@pytest.mark.parametrize(
    "keys", [{"pids_limit": PIDS}, {"deploy": {"resources": {"limits": {"pids": str(PIDS)}}}}]
)
def test_a_fork_bomb_stays_within_its_limit(made: Any, keys: dict[str, Any]) -> None:
    sandbox = made(**keys)
    bomb = sandbox.exec(["python", "-c", _BOMB], timeout=60)
    born, refused, threads, *rest = bomb.stdout.split()
    assert int(born) + int(refused) == PIDS * 2
    # The sandbox's own four, and the bomb itself, are part of it.
    assert PIDS - 6 <= int(born) <= PIDS - 3
    assert " ".join((threads, *rest)) == "no threads room again", bomb.stderr
    assert sandbox.exec("true").exit_code == 0


def test_the_fewest_processes(made: Any) -> None:
    for _ in range(3):
        assert made(pids_limit=5).exec(["echo", "one"]).stdout == "one\n"
    with pytest.raises(NotSupportedError, match="5 at least") as caught:
        made(pids_limit=4)
    assert _key(caught.value) == "pids_limit"


def _limits_of(sandbox: Sandbox) -> dict[str, str]:
    """Return the soft and hard limits that a grandchild of a command has."""
    lines = _lines(sandbox, "sh -c 'cat /proc/self/limits; true'")[1:]
    return {line[:26].strip(): " ".join(line[26:].split()[:2]) for line in lines}


def test_ulimits(made: Any, server: Server) -> None:
    wanted = {
        "nofile": {"soft": 100, "hard": 200},
        "fsize": 10_240,
        "core": -1,
        "stack": {"soft": 1 << 20, "hard": -1},
        "nproc": {"soft": 30, "hard": 65_535},
        "cpu": 50,
    }
    sandbox = made(ulimits=wanted)
    found = _limits_of(sandbox)
    assert found["Max open files"] == "100 200"
    assert found["Max file size"] == "10240 10240"
    assert found["Max core file size"] == "unlimited unlimited"
    assert found["Max stack size"] == "1048576 unlimited"
    assert found["Max processes"] == "30 4096"
    assert found["Max cpu time"] == "50 50"
    result = sandbox.exec("head -c 20k /dev/zero > x; echo $?; stat -c %s x; ulimit -n 150")
    assert result.stdout == "153\n10240\n"  # 128 and SIGXFSZ
    # The worker goes on without: a transfer may be larger than what a command may write.
    sandbox.files.write_bytes("large", bytes(1 << 20))
    assert len(sandbox.files.read_bytes("large")) == 1 << 20
    assert found == _limits_of(sandbox)


def test_without_ulimits(made: Any) -> None:
    found = _limits_of(made())
    assert found["Max core file size"] in ("0 0", "1 1")
    assert found["Max processes"] == "4096 4096"


def test_few_files_are_the_commands_and_not_the_workers(made: Any) -> None:
    sandbox = made(ulimits={"nofile": 8})
    opened = "import os; print(len([os.dup(0) for _ in range(99)]))"
    assert "Too many open files" in sandbox.exec(["python", "-c", opened]).stderr
    for number in range(20):
        sandbox.files.write_text(f"{number}", "x")
    assert len(_lines(sandbox, "ls")) == 20


def test_a_command_that_its_limits_end_at_once(made: Any) -> None:
    assert made(ulimits={"nofile": 0}).exec("true").exit_code != 0
    assert made(ulimits={"as": 4096}).exec("true").exit_code != 0
    assert made(ulimits={"fsize": 0}).exec(["no-such-program"]).exit_code == 127
    assert made(ulimits={"cpu": 1}).exec("while :; do :; done", timeout=60).signal == signal.SIGKILL


@pytest.mark.parametrize("name", ["msgqueue", "nofile"])
def test_a_limit_over_the_servers_own(made: Any, name: str) -> None:
    with pytest.raises(NotSupportedError, match=f"'{name}' is over the server's own") as caught:
        made(ulimits={name: 10**15})
    assert _key(caught.value) == f"ulimits.{name}"


def test_hosts_and_the_name_of_the_machine(made: Any) -> None:
    sandbox = made(hostname="box.example", extra_hosts={"db": ["10.0.0.1", "::2"], "x": "::3"})
    assert _lines(sandbox, "cat /etc/hosts; uname -n") == [
        *("127.0.0.1 localhost box.example", "::1 localhost"),
        *("10.0.0.1 db", "::2 db", "::3 x", "box.example"),
    ]
    assert _lines(sandbox, "getent hosts db")[0].split() == ["::2", "db"]
    assert _lines(made(), "head -1 /etc/hosts; uname -n") == [
        *("127.0.0.1 localhost sandbox", "sandbox"),
    ]


@pytest.mark.parametrize("init", [True, False])
def test_init_reaps_either_way(made: Any, init: bool) -> None:
    """A command leaves a child behind, which ends and is no zombie then."""
    sandbox = made(init=init)
    sandbox.exec("sleep 0 & exit", check=True)
    seen = "while grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done"
    sandbox.exec(seen, timeout=30, check=True)


_ASKED = """
trap 'echo asked > told; until test -e go; do sleep 0.01; done; exit' {signal}
touch up
while :; do sleep 0.01; done
"""


@pytest.mark.parametrize(("number", "name"), [("SIGUSR1", "USR1"), (15, "TERM")])
def test_stop_signal(server: Server, number: str | int, name: str) -> None:
    """It is asked, and is given the time that it takes; we look from outside."""
    service = {
        "image": "host",
        "command": ["sh", "-c", _ASKED.format(signal=name)],
        "stop_signal": number,
        "stop_grace_period": "60s",
    }
    sandbox = server.client.create_sandbox(service)
    sandbox.exec("until test -e up; do sleep 0.01; done", timeout=30, check=True)
    (up,) = server.directory.glob("lunette-*/sandboxes/*/workspace/up")
    with ThreadPoolExecutor(1) as threads:
        destroyed = threads.submit(sandbox.destroy)
        until(lambda: up.with_name("told").exists())
        assert not destroyed.done()
        up.with_name("go").touch()
        destroyed.result()
    assert not up.parent.exists()


def test_a_service_that_does_not_listen_is_killed_in_the_end(server: Server) -> None:
    service = {
        "image": "host",
        "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.02; done"],
        "stop_signal": "SIGTERM",
        "stop_grace_period": "100ms",
    }
    server.client.create_sandbox(service).destroy()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mem_limit": "900t"}, "mem_limit"),
    ({"cpus": 100_000}, "cpus"),
    ({"network_mode": "host"}, "network_mode"),
    ({"privileged": True}, "privileged"),
    ({"pids_limit": 5000}, "pids_limit"),
    ({"storage_opt": {"size": "1t"}}, "storage_opt.size"),
    ({"stop_grace_period": "10m"}, "stop_grace_period"),
    ({"pull_policy": "daily"}, "pull_policy"),
]
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"shm_size": 0}, "shm_size"),
    ({"shm_size": "64 bananas"}, "shm_size"),
    ({"tmpfs": "/a:foo"}, "tmpfs"),
    ({"tmpfs": "/"}, "tmpfs"),
    ({"extra_hosts": ["db=host-gateway"]}, "extra_hosts"),
    ({"ulimits": {"nofiles": 1}}, "ulimits"),
    ({"stop_signal": "SIGNOTHING"}, "stop_signal"),
    ({"read_only": "yes"}, "read_only"),
]


@pytest.mark.parametrize(("keys", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_what_is_refused_is_named(made: Any, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        made(**keys)
    assert _key(caught.value) == named


@pytest.mark.parametrize(("keys", "named"), INVALID, ids=[named for _, named in INVALID])
def test_what_is_wrong_is_named(made: Any, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ServiceError) as caught:
        made(**keys)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("slip", "meant"), [("shmsize", "shm_size"), ("temfs", "tmpfs"), ("pid_limit", "pids_limit")]
)
def test_a_slip_is_told_what_was_meant(made: Any, slip: str, meant: str) -> None:
    with pytest.raises(ServiceError, match=f"did you mean '{meant}'"):
        made(**{slip: 1})
