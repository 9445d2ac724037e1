"""Sandboxes over real images, on servers of root and of an ordinary user."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from lunette import ImageError, ImageNotFoundError, LunetteClient, NotSupportedError, Sandbox

from ..isolation import stage
from ..isolation.servers import Server, serving
from .catalogue import PYTHON, Images
from .faults import MANIFESTS
from .proxy import RegistryProxy
from .tricky import ABSENT, EXPECTED, LINKED


@pytest.fixture(scope="module", params=["root", "user"])
def server(request: pytest.FixtureRequest, images: Images) -> Generator[Server]:
    if request.param == "root" and not stage.is_root():
        pytest.skip("only root can run a server as root")
    with serving(request.param, env={"LUNETTE_REGISTRY_MIRRORS": images.mirror}) as running:
        yield running


@pytest.fixture
def client(server: Server) -> LunetteClient:
    return server.client


def _lines(sandbox: Sandbox, command: str) -> list[str]:
    return sandbox.exec(command, check=True).stdout.splitlines()


BLOCKING = """
    from lunette import LunetteClient

    with LunetteClient() as client:
        with client.create_sandbox({"image": "python:3.11-slim"}) as sandbox:
            print(sandbox.exec("echo 'hello'").stdout)
            sandbox.upload("./script.py", "/workspace/script.py")
            sandbox.exec("python /workspace/script.py > /workspace/out.txt")
            sandbox.download("/workspace/out.txt", "out.txt")
"""
AWAITED = """
    import asyncio

    from lunette import LunetteClient

    async def main():
        async with LunetteClient() as client:
            sandbox = await client.create_sandbox({"image": "python:3.11-slim"})
            result = await sandbox.aexec("echo 'hello'")
            print(result.stdout)
            await sandbox.aupload("./script.py", "/workspace/script.py")
            result = await sandbox.aexec("python /workspace/script.py")
            await sandbox.destroy()
            print(result.stdout)

    asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["root", "user"])
@pytest.mark.parametrize("example", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
def test_the_documented_example(mode: str, example: str, images: Images, tmp_path: Path) -> None:
    if mode == "root" and not stage.is_root():
        pytest.skip("only root can run a server as root")
    command = [sys.executable, "-c", textwrap.dedent(example)]
    if mode == "user" and stage.is_root():
        command = stage.as_user(command)
    # Below a directory that the other user can reach.
    with stage.directory(mode) as here:
        (here / "script.py").write_text("import sys; print('from', sys.version_info[:2])\n")
        environment = {
            "HOME": str(here),
            "TMPDIR": str(here),
            "PATH": "/usr/bin:/bin",
            "LUNETTE_REGISTRY_MIRRORS": images.mirror,
        }
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout if example is AWAITED else (here / "out.txt").read_text()
        assert done.stdout.startswith("hello\n")
        assert "from (3, 11)" in shown


def test_the_python_of_the_image_and_not_of_the_machine(client: LunetteClient) -> None:
    with client.create_sandbox({"image": PYTHON}) as sandbox:
        assert _lines(sandbox, "command -v python") == ["/usr/local/bin/python"]
        assert _lines(sandbox, "python -c 'import ssl, sqlite3; print(6 * 7)'") == ["42"]
        assert _lines(sandbox, "echo $PYTHON_VERSION; pwd; echo $HOME") == [
            *("3.11", "/workspace", "/root"),
        ]
        assert sandbox.exec("ls /home/app /opt/lunette").exit_code != 0


def test_what_is_written_is_the_sandboxs_own(client: LunetteClient) -> None:
    with client.create_sandbox({"image": PYTHON}) as one:
        one.exec("echo mine > /etc/motd; rm /usr/bin/env; echo x >> /etc/passwd", check=True)
        assert _lines(one, "cat /etc/motd; tail -1 /etc/passwd") == ["mine", "x"]
        with client.create_sandbox({"image": PYTHON}) as other:
            assert other.exec("test -e /etc/motd").exit_code == 1
            assert other.exec("test -x /usr/bin/env && ! grep -q ^x$ /etc/passwd").success


def test_a_tree_that_is_hard_to_unpack(client: LunetteClient, server: Server) -> None:
    with client.create_sandbox({"image": "tricky", "user": "0"}) as sandbox:
        found = _seen(sandbox, list(EXPECTED))
        for path, expected in EXPECTED.items():
            kind, mode, uid, gid, content, link = found[path]
            assert kind == expected.kind, path
            if expected.kind != "symlink":
                assert oct(mode) == oct(expected.mode), path
            if server.mode == "root":  # else there is but one id
                assert (uid, gid) == expected.owner, path
            assert (content or "").encode() == expected.content, path
            assert (link or "") == expected.link, path
        for path in ABSENT:
            assert sandbox.exec(["test", "-e", f"/{path}"]).exit_code == 1, path
        numbers = {sandbox.exec(["stat", "-c", "%i", f"/{path}"]).stdout for path in LINKED}
        assert len(numbers) == 1


_LOOK = """
import json, os, stat, sys
found = {}
for path in json.load(sys.stdin):
    st = os.lstat("/" + path)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    kind = kind[stat.S_IFMT(st.st_mode)]
    content = open("/" + path).read() if kind == "file" else None
    link = os.readlink("/" + path) if kind == "symlink" else None
    found[path] = [kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, content, link]
print(json.dumps(found))
"""


def _seen(sandbox: Sandbox, paths: list[str]) -> dict[str, Any]:
    result = sandbox.exec(["python", "-c", _LOOK], input=json.dumps(paths), check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_the_image_says_of_commands(client: LunetteClient, server: Server) -> None:
    with client.create_sandbox({"image": "tricky"}) as sandbox:
        assert _lines(sandbox, "id -u; id -g; pwd; echo $GREETING; echo $HOME; tricky") == [
            *("1234", "1234", "/tricky/work", "hello world $HOME", "/home/app", "tricky"),
        ]
        sandbox.files.write_text("note", "mine")  # in the working directory, as its user
        assert _lines(sandbox, "stat -c %u /tricky/work/note; cat note") == ["1234", "mine"]
        assert sandbox.exec('echo $EQUATION; test -z "$EMPTY"').stdout == "a=b=c\n"
        # Where there is but one id, everything in the image is of its user.
        assert sandbox.exec("touch /etc/new").success is (server.mode == "user")


def test_a_user_by_name_and_a_directory_that_is_made(client: LunetteClient) -> None:
    with client.create_sandbox({"image": "named-user"}) as sandbox:
        assert _lines(sandbox, "id -un; pwd; cat ~/greeting") == [
            *("app", "/home/app/not-there-yet", "hello"),
        ]


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("nobody", "65534:65534"),
        ("app:root", "1234:0"),
        (77, "77:0"),
        ("0:1234", "0:1234"),
    ],
)
def test_another_user(client: LunetteClient, user: str | int, shown: str) -> None:
    with client.create_sandbox({"image": PYTHON, "user": user}) as sandbox:
        assert (
            _lines(sandbox, "echo $(id -u):$(id -g); touch mine; stat -c %u:%g mine") == [shown] * 2
        )


def test_a_user_who_is_not_root_has_no_privilege(client: LunetteClient) -> None:
    with client.create_sandbox({"image": PYTHON, "user": "app"}) as sandbox:
        status = sandbox.exec("cat /proc/self/status").stdout
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status


def test_an_unknown_user_is_named(client: LunetteClient) -> None:
    with pytest.raises(NotSupportedError, match="the image knows no user 'ghost'"):
        client.create_sandbox({"image": PYTHON, "user": "ghost"})


def test_an_image_with_nothing_but_a_program(client: LunetteClient) -> None:
    with client.create_sandbox({"image": "no-shell"}) as sandbox:
        assert sandbox.exec("true").exit_code == 127
        listed = sandbox.files.read_bytes("/etc/hosts")
        assert b"localhost" in listed


def test_zstd(client: LunetteClient) -> None:
    with client.create_sandbox({"image": "zstd"}) as sandbox:
        assert _lines(sandbox, "pwd; cat layer; echo; python -c 'print(1)'") == [
            *("/plain", "not compressed", "1"),
        ]


def test_an_image_for_another_machine(client: LunetteClient) -> None:
    with pytest.raises(NotSupportedError, match=r"has no image for linux/.*riscv64"):
        client.create_sandbox({"image": "other-platform"})


def test_an_image_that_is_not_there(client: LunetteClient) -> None:
    with pytest.raises(ImageNotFoundError, match="nothing-here"):
        client.create_sandbox({"image": "nothing-here"})
    with pytest.raises(ImageNotFoundError, match="policy"):
        client.create_sandbox({"image": "python:nope", "pull_policy": "never"})


def test_ten_at_once_pull_it_once(server: Server, images: Images) -> None:
    with RegistryProxy(f"http://{images['big'].host}") as proxy:
        reference = f"{proxy.host}/library/big"
        made: list[Sandbox] = []

        def make() -> None:
            made.append(server.client.create_sandbox({"image": reference}))

        threads = [threading.Thread(target=make) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 10
        for sandbox in made:
            sandbox.destroy()
        assert len(proxy.seen(MANIFESTS, "GET")) == 1
        server.client.images.remove(reference)


def test_progress_and_the_images_of_a_server(client: LunetteClient, images: Images) -> None:
    seen: list[tuple[int, int]] = []
    reference = images["big"].reference
    info = client.images.pull(reference, progress=lambda done, total: seen.append((done, total)))
    assert (info.reference, info.image_id) == (f"{reference}:latest", images["big"].image_id)
    assert info.size == images["big"].size
    assert info.unpacked >= 20_000_000
    assert info in client.images.list()
    sandbox = client.create_sandbox({"image": reference, "pull_policy": "never"})
    with sandbox, pytest.raises(ImageError, match="in use"):
        client.images.remove(reference)
    client.images.remove(reference)
    assert reference not in {image.reference for image in client.images.list()}
    with pytest.raises(ImageNotFoundError):
        client.images.remove(reference)


def test_nothing_can_be_written_where_it_is_read_only(client: LunetteClient) -> None:
    spec = {"image": PYTHON, "read_only": True, "tmpfs": ["/var/cache/x:size=1m,mode=700"]}
    with client.create_sandbox(spec) as sandbox:
        for path in ("/etc/x", "/root/x", "/usr/bin/x", "/run/x"):
            assert "Read-only" in sandbox.exec(f"touch {path}").stderr
        for path in ("/workspace/x", "/tmp/x", "/dev/shm/x", "/var/cache/x/x"):
            assert sandbox.exec(f"touch {path}").success
        assert "No space" in sandbox.exec("head -c 2m /dev/zero > /var/cache/x/y").stderr
        assert _lines(sandbox, "stat -c %a /var/cache/x") == ["700"]


def test_a_directory_in_memory_over_a_link_of_the_image_stays_inside(
    client: LunetteClient,
) -> None:
    """`tricky/linked-absolutely` is a link to /tricky/real, which is looked up inside."""
    spec = {"image": "tricky", "user": "0", "tmpfs": "/tricky/linked-absolutely/here:size=1m"}
    with client.create_sandbox(spec) as sandbox:
        mounts = sandbox.exec("cat /proc/self/mounts").stdout
        assert " /tricky/real/here " in mounts


def test_hosts(client: LunetteClient) -> None:
    spec = {"image": PYTHON, "hostname": "box", "extra_hosts": {"db": ["10.0.0.1", "::2"]}}
    with client.create_sandbox(spec) as sandbox:
        lines = _lines(
            sandbox, "cat /etc/hosts; hostname 2>/dev/null || cat /proc/sys/kernel/hostname"
        )
        assert lines == [
            *("127.0.0.1 localhost box", "::1 localhost", "10.0.0.1 db", "::2 db", "box"),
        ]


def test_the_machine_is_not_in_an_image(client: LunetteClient, server: Server) -> None:
    """Nothing of the host's file systems is below `/`, whoever looks."""
    marker = server.directory / "marker"
    marker.write_text("here")
    with client.create_sandbox({"image": PYTHON}) as sandbox:
        command = f"find / -xdev -path {shlex.quote(str(marker))} 2>/dev/null; ls /home /srv /mnt"
        assert "marker" not in sandbox.exec(command).stdout
        assert sandbox.exec(f"cat {shlex.quote(str(marker))}").exit_code != 0
        opened = sandbox.exec("exec 3>/proc/sys/kernel/core_pattern")
        assert opened.exit_code != 0
        # The store itself is only the lower layer of an overlay.
        assert sandbox.exec("ls /proc/1/root/root/.lunette").exit_code != 0


STOPPING = """
mkfifo /workspace/fifo
trap 'echo asked > /workspace/fifo; sleep 1; exit' USR1
touch /workspace/up
while :; do sleep 0.02; done
"""


def test_a_service_with_a_command_is_asked_to_stop(client: LunetteClient) -> None:
    """Who is told of it outside is a command that reads what the service's then writes."""
    spec = {
        "image": PYTHON,
        "command": ["sh", "-c", STOPPING],
        "stop_signal": "SIGUSR1",
        "stop_grace_period": "20s",
    }
    sandbox = client.create_sandbox(spec)
    heard: list[str] = []
    reader = "until test -e /workspace/up; do sleep 0.01; done; touch /workspace/reads; cat fifo"
    watcher = threading.Thread(target=lambda: heard.append(sandbox.exec(reader).stdout))
    watcher.start()
    sandbox.exec("until test -e /workspace/reads; do sleep 0.01; done", timeout=20, check=True)
    sandbox.destroy()
    watcher.join()
    assert heard == ["asked\n"]
