from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lunette import PIPE, LunetteClient, Sandbox

from .command_line import GUARD, LUNETTE, embedded_server, lunette, started
from .command_line import unconfigured as unconfigured
from .faults.server import Server, serving
from .published.server import PublishedServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no engine runs elsewhere yet")


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Generator[LunetteClient]:
    """A client of the server that the command line is told to use."""
    monkeypatch.setenv("LUNETTE_BASE_URL", server.url)
    with LunetteClient() as client:
        yield client
        assert not client.list_sandboxes()


@pytest.fixture
def sandbox(client: LunetteClient) -> Generator[Sandbox]:
    with client.create_sandbox({"image": "host"}) as sandbox:
        yield sandbox


def test_run_passes_streams_and_exit_code_through() -> None:
    script = "cat; echo err >&2; exit 7"
    done = lunette("run", "-i", "--", "sh", "-c", script, input=b"in\xff\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in\xff\n", b"err\n")


def test_run_does_not_wait_for_an_input_that_was_not_asked_for() -> None:
    reading, writing = os.pipe()  # which nobody closes
    try:
        done = lunette("run", "--", "sh", "-c", "cat; echo end", input=None, stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"end\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("flags", ["", "-i"])
def test_run_with_closed_streams(closed: str, flags: str) -> None:
    line = shlex.join(LUNETTE) + f" run {flags} -- sh -c 'cat; echo out; echo err >&2; exit 3'"
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"], input=b"", capture_output=True, timeout=GUARD
    )
    parts = closed.split()
    expected = (b"" if ">&-" in parts else b"out\n", b"" if "2>&-" in parts else b"err\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, *expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--", ""], b"command must name a program"),
        (["--", "echo", os.fsdecode(b"\xff")], b"command[1] cannot be written as UTF-8"),
        (["-e", "=1", "--", "true"], b"environment: '' is no name"),
        (["-e", b"A=\xff", "--", "true"], b"service.environment.A cannot be written as UTF-8"),
        (["--image", b"\xff", "--", "true"], b"service.image cannot be written as UTF-8"),
    ],
)
def test_run_with_arguments_that_cannot_be_sent(arguments: list[str | bytes], says: bytes) -> None:
    done = lunette("run", *arguments)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"lunette: " + says) and b"Traceback" not in done.stderr


def test_run_needs_no_dashes() -> None:
    done = lunette("run", "sh", "-c", "echo $0 --env $1", "--image", "-e")
    assert done.stdout == b"--image --env -e\n"


def test_run_gives_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.setenv("SECRET", "s3cret")
    done = lunette(
        *("run", "-e", "A=1=2", "--env", "FROM_HERE", "-e", "NOT_SET"),
        *("--", "sh", "-c", 'echo "$A $FROM_HERE ${NOT_SET-unset} ${SECRET-unset}"'),
    )
    assert done.stdout == b"1=2 here unset unset\n"


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("kill -TERM $$", 143), ("exec nonexistent", 127)]
)
def test_run_exits_as_the_command(command: str, code: int) -> None:
    assert lunette("run", "--", "sh", "-c", command).returncode == code


def test_run_says_what_is_our_fault() -> None:
    done = lunette("run", "--image", "no image", "--", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"lunette: " in done.stderr and b"'no image'" in done.stderr
    assert b"Traceback" not in done.stderr


def test_run_against_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_BASE_URL", "http://user:s3cret@127.0.0.1:9")
    done = lunette("run", "--", "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"lunette: no connection to http://127.0.0.1:9: ")
    assert b"s3cret" not in done.stderr and b"Traceback" not in done.stderr


def test_run_as_a_user_in_a_directory() -> None:
    arguments = ("-u", "nobody", "-w", "/tmp", "--", "sh", "-c", "id -un; pwd; touch /workspace/a")
    done = lunette("run", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"nobody\n/tmp\n", b"")


def test_run_in_a_directory_that_there_is_not() -> None:
    done = lunette("run", "--workdir", "/nope", "--", "true")
    assert done.returncode == 125 and b"'/nope'" in done.stderr


def test_run_with_a_timeout() -> None:
    done = lunette("run", "--timeout", "0.3", "--", "sh", "-c", "echo begun; exec sleep 1000")
    assert (done.returncode, done.stdout, done.stderr) == (124, b"begun\n", b"")
    for script, code in (("exit 3", 3), ("kill -KILL $$", 137)):
        assert lunette("run", "--timeout", "50", "--", "sh", "-c", script).returncode == code
    done = lunette("run", "--timeout", "-1", "--", "true")
    assert done.returncode == 125 and b"timeout must be a number of seconds" in done.stderr


def test_run_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNETTE_ENGINE", "nope")
    done = lunette("run", "--", "true")
    assert done.returncode == 125
    assert b"there is no engine 'nope', only: auto, bubblewrap" in done.stderr


def test_run_without_a_command() -> None:
    assert lunette("run").returncode == 2


def test_run_shows_output_as_it_comes_and_passes_input_on_as_it_comes() -> None:
    script = "echo ready; while read line; do echo got $line; done; echo end; exit 4"
    with started("run", "-i", "--", "sh", "-c", script) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == b"got " + line
        process.stdin.close()
        assert process.stdout.read() == b"end\n"
        assert process.wait(GUARD) == 4


def test_run_passes_much_input_and_much_output_whole() -> None:
    sent = os.urandom(15_000_000)
    done = lunette("run", "-i", "--", "cat", input=sent)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()


def test_run_keeps_streams_apart_and_in_order() -> None:
    script = "for i in $(seq 2000); do echo out $i; echo err $i >&2; done"
    done = lunette("run", "--", "sh", "-c", script)
    assert done.stdout == b"".join(b"out %d\n" % i for i in range(1, 2001))
    assert done.stderr == b"".join(b"err %d\n" % i for i in range(1, 2001))


def test_run_ends_with_the_command_although_there_is_input() -> None:
    with started("run", "-i", "--", "head", "-c", "3") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"three and more")
        process.stdin.flush()
        assert process.stdout.read() == b"thr"
        assert process.wait(GUARD) == 0


def test_run_goes_on_when_the_command_reads_no_more() -> None:
    script = "exec <&-; sleep 0.2; echo still"
    done = lunette("run", "-i", "--", "sh", "-c", script, input=bytes(5_000_000))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"still\n", b"")


def test_run_takes_input_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"from a file")
    with path.open("rb") as file:
        done = lunette("run", "-i", "--", "cat", input=None, stdin=file)
    assert done.stdout == b"from a file"
    done = lunette("run", "-i", "--", "cat", input=None, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, b"")


def test_run_ends_quietly_when_nobody_reads(client: LunetteClient) -> None:
    with started("run", "--", "yes") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(GUARD) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""
    assert not client.list_sandboxes()


def test_run_says_that_a_disk_is_full(client: LunetteClient) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LUNETTE, "run", "--", "yes"], stdout=full, stderr=subprocess.PIPE, timeout=GUARD
        )
    assert done.returncode == 125
    assert done.stderr == b"lunette: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("flags", [(), ("-i",)])
def test_run_cleans_up_when_it_is_ended(
    number: signal.Signals, flags: tuple[str, ...], client: LunetteClient
) -> None:
    with started("run", *flags, "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(GUARD) == 128 + number
        assert process.stderr.read() == b""
    assert not client.list_sandboxes()


def test_run_cleans_up_although_it_is_told_twice_to_end(client: LunetteClient) -> None:
    with started("run", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        assert process.wait(GUARD) in {128 + signal.SIGHUP, 128 + signal.SIGTERM}
    assert not client.list_sandboxes()


def test_run_where_nothing_is_shown_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with PublishedServer() as server:
        monkeypatch.setenv("LUNETTE_BASE_URL", server.url)
        monkeypatch.setenv("LUNETTE_API_KEY", server.key)
        done = lunette("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        done = lunette("run", "-w", "/tmp", "--", "pwd")
        assert (done.returncode, done.stdout) == (0, b"/tmp\n")
        done = lunette("run", "--timeout", "9", "--", "true")
        assert done.returncode == 125 and b"exec with timeout" in done.stderr
        done = lunette("run", "-i", "--", "cat")
        assert done.returncode == 125 and done.stderr.startswith(b"lunette: ")


def test_run_is_not_ended_by_a_signal_that_its_caller_ignores(client: LunetteClient) -> None:
    command = "trap '' HUP; exec " + shlex.join([*LUNETTE, "run", "-i", "--", "cat"])
    with subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGHUP)
        process.stdin.close()
        assert process.wait(GUARD) == 0


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (("run", "-it", "--", "sh"), b"; leave out -t"),
        (("run", "-t", "sh"), b"; leave out -t"),
        (("shell",), b""),
        (("shell", "some-id"), b""),
    ],
)
def test_a_terminal_needs_one_here(arguments: tuple[str, ...], mend: bytes) -> None:
    done = lunette(*arguments)
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"lunette: the input device is not a TTY" + mend + b"\n"


def test_a_sandbox_that_is_there_has_its_image() -> None:
    done = lunette("shell", "--image", "host", "some-id")
    assert done.returncode == 2 and b"has one already" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("ps",), ("ps", "id"), ("logs", "id", "id"), ("kill", "id", "id")]
)
@pytest.mark.parametrize("url", ["", "embedded"])
def test_what_asks_a_server_needs_one(
    arguments: tuple[str, ...], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNETTE_BASE_URL", url)
    done = lunette(*arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    says = b"there is no server to ask, since an embedded one ends with its client: set LUNETTE_BAS"
    assert done.stderr.startswith(b"lunette: " + says)


def test_ps_lists_sandboxes(sandbox: Sandbox) -> None:
    head, row = lunette("ps").stdout.decode().splitlines()
    assert head.startswith("SANDBOX ID  ") and head.endswith("  CREATED (UTC)")
    assert row.split()[:3] == [sandbox.sandbox_id, "host", "running"]
    assert lunette("ps", "-q").stdout.decode() == f"{sandbox.sandbox_id}\n"


def test_ps_lists_processes(sandbox: Sandbox) -> None:
    running = sandbox.start(["sh", "-c", "sleep 1000"], name="a name")
    ended = sandbox.start("exit 3 # \x1b[2J\n" + 100 * "x")
    ended.result()
    head, first, second = lunette("ps", sandbox.sandbox_id).stdout.decode().splitlines()
    assert head.split() == ["PROCESS", "ID", "NAME", "STATE", "STARTED", "(UTC)", "COMMAND"]
    assert first.startswith(f"{running.id}  a name  running ")
    assert first.endswith("  sh -c 'sleep 1000'")
    assert second.startswith(f"{ended.id} ") and "  ended (3)  " in second
    assert second.endswith("  exit 3 #  [2J " + 45 * "x" + "…")
    ids = f"{running.id}\n{ended.id}\n"
    assert lunette("ps", "--quiet", sandbox.sandbox_id).stdout.decode() == ids


def test_ps_marks_what_cannot_be_followed(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(sandbox.exec, "exec sleep 1000")
        while not (found := sandbox.processes()):
            assert not call.done()
        _, row = lunette("ps", sandbox.sandbox_id).stdout.decode().splitlines()
        assert row.startswith(f"{found[0].id}  (exec)  running  ")
        assert lunette("kill", sandbox.sandbox_id, found[0].id[:6]).returncode == 0
        assert call.result(GUARD).exit_code == 137


def test_ps_that_nobody_reads(sandbox: Sandbox) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with started("ps", stdout=writing) as process:
        os.close(writing)
        assert process.wait(GUARD) == 128 + signal.SIGPIPE
        assert process.stderr is not None and process.stderr.read() == b""


def test_logs(sandbox: Sandbox) -> None:
    process = sandbox.start("echo out; echo err >&2; exec sleep 1000")
    lines = process.chunks()
    assert {next(lines), next(lines)} == {("stdout", b"out\n"), ("stderr", b"err\n")}
    done = lunette("logs", sandbox.sandbox_id, process.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


def test_logs_that_follow(sandbox: Sandbox) -> None:
    process = sandbox.start("echo first; cat; exit 9", input=PIPE)
    with started("logs", "-f", sandbox.sandbox_id, process.id) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"first\n"
        process.write("second\n")
        assert following.stdout.readline() == b"second\n"
        process.close_input()
        assert following.stdout.read() == b""
        assert following.wait(GUARD) == 0


def test_logs_that_nobody_follows_any_more(sandbox: Sandbox) -> None:
    process = sandbox.start("echo first; exec sleep 1000")
    with started("logs", "-f", sandbox.sandbox_id, process.id) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"first\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(GUARD) == 130
    assert process.poll() is None


@pytest.mark.parametrize(("flags", "code"), [((), 137), (("-s", "TERM"), 143), (("-s", "2"), 130)])
def test_kill(flags: tuple[str, ...], code: int, sandbox: Sandbox) -> None:
    process = sandbox.start("echo ready; exec sleep 1000")
    assert next(process.chunks()) == ("stdout", b"ready\n")
    done = lunette("kill", *flags, sandbox.sandbox_id, process.id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert process.result().exit_code == code


def test_kill_with_a_signal_that_there_is_not(sandbox: Sandbox) -> None:
    process = sandbox.start("exec sleep 1000")
    done = lunette("kill", "-s", "SIGNONE", sandbox.sandbox_id, process.id)
    assert done.returncode == 1
    assert b"SIGNONE" in done.stderr and b"Traceback" not in done.stderr
    assert process.poll() is None


def logged(sandbox: Sandbox, process: str) -> tuple[int, bytes]:
    done = lunette("logs", sandbox.sandbox_id, process)
    return done.returncode, done.stdout


def test_a_process_by_its_name_or_the_beginning_of_its_id(sandbox: Sandbox) -> None:
    for name in ("web", "db"):
        sandbox.start(f"echo {name}", name=name).result()
    web, db = sandbox.processes()
    assert logged(sandbox, "web") == logged(sandbox, web.id[:8]) == (0, b"web\n")
    assert logged(sandbox, "db") == logged(sandbox, db.id[:-1]) == (0, b"db\n")
    assert logged(sandbox, web.id[:3]) == (1, b"")
    # An id is meant before a name.
    sandbox.start("echo other", name=web.id).result()
    assert logged(sandbox, web.id) == (0, b"web\n")


@pytest.mark.parametrize("verb", ["logs", "kill"])
def test_a_name_of_more_than_one_process(verb: str, sandbox: Sandbox) -> None:
    ids = [sandbox.start("exec sleep 1000", name="web").id for _ in range(2)]
    done = lunette(verb, sandbox.sandbox_id, "web")
    assert (done.returncode, done.stdout) == (1, b"")
    says = f"lunette: 'web' means more than one process: {ids[0]}, {ids[1]}\n"
    assert done.stderr.decode() == says
    assert [found.state for found in sandbox.processes()] == ["running"] * 2


@pytest.mark.parametrize("verb", ["logs", "kill"])
def test_what_there_is_not(verb: str, sandbox: Sandbox) -> None:
    for known in (True, False):
        name = sandbox.sandbox_id if known else "0" * 32
        done = lunette(verb, name, "1" * 32)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"lunette: ") and b"Traceback" not in done.stderr
        assert (b"1" * 32 if known else b"0" * 32) in done.stderr


def test_the_end_of_the_embedded_server() -> None:
    with started("run", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(embedded_server(process.pid), signal.SIGKILL)
        assert process.wait(GUARD) == 125
        said = process.stderr.read()
    assert said.startswith(b"lunette: the embedded server ended") and b"Traceback" not in said
