"""Slips that every type checker must find; each line marked so is rejected, and no other."""

from __future__ import annotations

from lunette import AsyncSandbox, ComposeService, LunetteClient, RetryPolicy, Sandbox


async def asynchronous() -> None:
    async with LunetteClient() as client:
        client.create_sandbox({"image": "host"}).exec("true")  # slip: no await
        client.create_sandbox({"image": "host"})  # slip: no await
        client.stop_sandboxes(["id"])  # slip: no await
        async with client.create_sandbox({"image": "host"}):  # slip: no await
            pass
        with client.create_sandbox({"image": "host"}):  # slip: no await
            pass
        sandbox = await client.create_sandbox({"image": "host"})
        sandbox.destroy()  # slip: no await
        sandbox.aexec("true")  # slip: no await
        sandbox.files.aread_text("/a")  # slip: no await
        async with sandbox.files.aopen("/a"):  # slip: no await
            pass
        file = await sandbox.files.aopen("/a")
        await file.write(b"bytes")  # slip: text
        for _ in file:  # slip: an asynchronous iteration
            pass
        print((await sandbox.aexec("true")).output)  # slip: no such result
        await sandbox.exec("true")  # slip: a blocking verb
        await sandbox.upload("a", "/a")  # slip: a blocking verb
        sandbox.astart("true")  # slip: no await
        await sandbox.start("true")  # slip: a blocking verb
        process = await sandbox.astart("true")
        process.akill()  # slip: no await
        await process.kill()  # slip: a blocking verb
        await process.detach()  # slip: nothing to await
        async for _ in process.lines():  # slip: a blocking iteration
            pass
        async for _ in await process.alines():  # slip: nothing to await
            pass
        async with sandbox.astart("true"):  # slip: no await
            pass
        client.close()  # slip: no await


async def plain_client_awaited() -> None:
    await LunetteClient().create_sandbox({"image": "host"})  # slip: a plain client
    await LunetteClient().stop_sandboxes([])  # slip: a plain client


def blocking(client: LunetteClient, sandbox: Sandbox) -> None:
    client.create_sandbox(b"compose.yaml")  # slip: bytes
    client.create_sandbox(["a"])  # slip: a list
    client.create_sandbox()  # slip: no service
    client.create_sandbox(spec={"image": "host"})  # slip: by name
    client.create_sandbox("compose.yaml", "web")  # slip: by position
    client.create_sandbox("compose.yaml", service=1)  # slip: a number
    wrong_key: ComposeService = {"img": "host"}  # slip: no such key
    wrong_type: ComposeService = {"image": 1}  # slip: a number
    wrong_form: ComposeService = {"command": {"a": "b"}}  # slip: no mapping
    wrong_build: ComposeService = {"build": {"contxt": "."}}  # slip: no such key
    wrong_file: ComposeService = {"env_file": [{"required": True}]}  # slip: no path
    LunetteClient("key", "https://x", 1.0, True)  # slip: four arguments
    LunetteClient(url="https://x")  # slip: no such argument
    LunetteClient(retry=3)  # slip: no policy
    LunetteClient(transport="httpx")  # slip: no such transport
    RetryPolicy(3)  # slip: by position
    sandbox.exec("true", output_limit="1k")  # slip: a string
    sandbox.exec(b"true")  # slip: bytes
    sandbox.exec(["true", 1])  # slip: a number
    sandbox.exec("true", "/w")  # slip: by position
    sandbox.exec("true", env={"A": 1})  # slip: a number
    sandbox.exec("true", timeout="1")  # slip: a string
    sandbox.exec("true").exit_code = 0  # slip: a result is frozen
    sandbox.exec("true").stdout.decode()  # slip: text
    sandbox.upload(1, "/a")  # slip: a number
    sandbox.upload("a", b"/a")  # slip: bytes
    sandbox.download("/a")  # slip: no target
    sandbox.files.write_bytes("/a", "text")  # slip: text
    sandbox.files.write_text("/a", b"bytes")  # slip: bytes
    sandbox.files.open("/a", "w").write(b"bytes")  # slip: text
    sandbox.files.open("/a", "wb").write("text")  # slip: bytes
    sandbox.files.open(b"/a")  # slip: bytes
    sandbox.files.open("/a", "r", "utf-8")  # slip: by position
    sandbox.files.list(depth="all")  # slip: a string
    sandbox.files.list()[0].size = 1  # slip: a frozen answer
    sandbox.files.mkdir("/a", True)  # slip: by position
    sandbox.files.remove("/a", recursive="no")  # slip: a string
    sandbox.files.move("/a")  # slip: no target
    sandbox.run("true")  # slip: no such verb
    sandbox.start("true", "/w")  # slip: by position
    sandbox.start("true", input=-1)  # slip: no pipe of this library
    sandbox.start("true", tty=(24,))  # slip: one number
    sandbox.start("true", tty="24x80")  # slip: a string
    sandbox.start("true").write(1)  # slip: a number
    sandbox.start("true").signal(1.5)  # slip: no signal
    sandbox.start("true").result(1)  # slip: by position
    sandbox.start("true").lines("out")  # slip: no such stream
    sandbox.start("true").wait()  # slip: no such verb
    sandbox.start("true").offset = 0  # slip: a property
    sandbox.exec("true", on_stdout=b"")  # slip: no function
    sandbox.exec("true", on_stdout=lambda: None)  # slip: a function of nothing
    for _ in sandbox.start("true").alines():  # slip: an asynchronous iteration
        pass
    name: bytes = sandbox.files.read_text("/a")  # slip: text
    only_async: AsyncSandbox = sandbox  # slip: a plain sandbox
    print(name, only_async, wrong_key, wrong_type, wrong_form, wrong_build, wrong_file)
