"""Unpacks what the lines of standard input ask for: a process without threads, which pytest is not.

A line is {"layers": [[PATH, MEDIA TYPE]], "target", "ids": [BASE, COUNT] | null, "limits": [BYTES,
FILES, FREE]}; the answer is lines of {"done"} and one of {"unpacked"} or {"error"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from attrs import asdict

from lunette.server.images.errors import ImageError
from lunette.server.images.unpacking import IdMap, Layer, Limits, unpack


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    layers = [
        Layer(Path(path), media_type, Path(path).stat().st_size)
        for path, media_type in asked["layers"]
    ]
    try:
        unpacked = unpack(
            layers,
            Path(asked["target"]),
            ids=IdMap(*asked["ids"]) if asked["ids"] else None,
            limits=Limits(*asked["limits"]),
            report=lambda done: say({"done": done}),
        )
    except ImageError as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    return {"unpacked": asdict(unpacked)}


for line in sys.stdin:
    say(answer(json.loads(line)))
