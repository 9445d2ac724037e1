"""What images cost: a pull against `tar -xzf`, and a sandbox on one against the image `host`."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from measuring import Baseline, Row, in_turns, timed

from lunette import LunetteClient

__all__ = ["images"]

_FILES = 8_000
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def images(rounds: int) -> Iterator[Row]:
    """Pull and unpack a layer of 8,000 files, and make sandboxes on it, embedded server warm."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["LUNETTE_HOME"] = directory
        layer = _layer(Path(directory))
        with _registry(layer.read_bytes()) as host, LunetteClient(base_url="embedded") as client:
            reference = f"{host}/bench:latest"
            target = Path(directory, "untarred")
            spec = {"image": reference, "pull_policy": "never"}

            def pull() -> None:
                client.images.pull(reference)

            def untar() -> None:
                target.mkdir()
                subprocess.run(["tar", "-xzf", layer, "-C", target], check=True)

            def fresh_pull() -> float:
                if client.images.list():
                    client.images.remove(reference)
                return timed(pull)()

            def fresh_untar() -> float:
                shutil.rmtree(target, ignore_errors=True)
                return timed(untar)()

            pulls = {"pull": fresh_pull, "tar": fresh_untar}
            times = in_turns(pulls, rounds=max(4, rounds // 10), warm_up=1)
            lives = {
                "image": timed(lambda: _life(client, spec)),
                "host": timed(lambda: _life(client, {"image": "host"})),
            }
            times |= in_turns(lives, rounds=rounds, warm_up=3)
    tar = Baseline("`tar -xzf` of the same layer", times["tar"])
    yield Row(f"pull and unpack {_FILES:,} files", times["pull"], tar)
    host_image = Baseline("the same on `host`", times["host"])
    yield Row("create and destroy on a pulled image", times["image"], host_image)


def _life(client: LunetteClient, spec: dict[str, str]) -> None:
    # No command: the files of the layer are no root file system.
    client.create_sandbox(spec).destroy()


def _layer(directory: Path) -> Path:
    """Pack files of this Python's own library, which every machine has and no two alike."""
    found = itertools.islice(_library(), _FILES)
    names = "\0".join(found)
    layer = directory / "layer.tar.gz"
    subprocess.run(
        ["tar", "-czf", layer, "--null", "--no-recursion", "--owner=0", "--group=0", "-T", "-"],
        input=names.encode(),
        cwd=sysconfig.get_path("stdlib"),
        check=True,
    )
    return layer


def _library() -> Iterator[str]:
    root = sysconfig.get_path("stdlib")
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield os.path.relpath(path, root)


@contextmanager
def _registry(layer: bytes) -> Generator[str]:
    """Serve one image, as `HOST/bench:latest`, the way a registry does."""
    architecture = _ARCHITECTURES[platform.machine()]
    rootfs = {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer))]}
    known = {"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}
    config = json.dumps(known).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(config, _CONFIG),
            "layers": [_descriptor(layer, _LAYER)],
        }
    ).encode()
    answers = {_digest(content): content for content in (config, layer)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            content = answers.get(name, manifest)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", _MANIFEST)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
