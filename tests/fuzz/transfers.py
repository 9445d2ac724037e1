"""What the attacker knows of the files of the sandboxes: some paths, and what is on its way."""

from __future__ import annotations

import base64
import copy
import hashlib
import random
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from attrs import define, field
from tars import tar

__all__ = ["Archive", "Change", "Known", "Transfers", "Upload", "digest_of", "wire_bytes"]

_MEMORY = 200
_KEYED = ("make_directory", "remove_file", "move_file")
# Of a request that was refused as it was, not of the transfer.
_HARMLESS = (b'"upload_gap"', b'"range_not_satisfiable"', b'"key_reused"', b'"too_many_requests"')


@define(eq=False)
class Upload:
    """An upload that was begun by *body*; *content* is what should be sent of a directory."""

    sandbox_id: str
    key: str
    body: Any
    content: bytes | None = None
    sent: bytes = b""
    is_committed: bool = False

    def add(self, offset: int, data: bytes) -> None:
        """Note that *data* was taken, which a repeat doubles not."""
        if not self.is_committed:
            self.sent += data[max(0, len(self.sent) - offset) :]


@define(eq=False)
class Archive:
    """An archive that was begun by *body*, and what came of it."""

    sandbox_id: str
    key: str
    body: Any
    received: bytes = b""
    is_whole: bool = False


class Known(NamedTuple):
    """A path at which something was, with the `ETag` that a file had."""

    sandbox_id: str
    path: str
    etag: str | None = None


class Change(NamedTuple):
    """A request that had an `Idempotency-Key`."""

    operation: str
    sandbox_id: str
    key: str
    query: Any
    body: Any


T = TypeVar("T", Upload, Archive)


@define(eq=False)
class _Many(Generic[T]):
    """Transfers by sandbox and key, the oldest first."""

    known: dict[tuple[str, str], T] = field(factory=dict[tuple[str, str], T])

    def add(self, transfer: T) -> None:
        self.known.setdefault((transfer.sandbox_id, transfer.key), transfer)
        while len(self.known) > _MEMORY:
            del self.known[next(iter(self.known))]

    def choose(self, choice: random.Random, living: Mapping[str, Any]) -> T | None:
        found = [transfer for transfer in self.known.values() if transfer.sandbox_id in living]
        return choice.choice(found) if found else None


class Transfers:
    """Learns from answers, and notes a *surprise*: an answer that contradicts an earlier one."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice
        self.uploads, self.archives = _Many[Upload](), _Many[Archive]()
        self.over: deque[Upload | Archive] = deque(maxlen=_MEMORY)
        self.paths: deque[Known] = deque(maxlen=_MEMORY)
        self.changes: deque[Change] = deque(maxlen=_MEMORY)
        self.surprise: str | None = None
        self.latest: Upload | None = None  # that a request was about

    def directory(self, choice: random.Random, living: Mapping[str, Any]) -> Upload | None:
        """Choose the upload of a directory that is not there yet."""
        directories = [u for u in self.uploads.known.values() if u.content is not None]
        found = [u for u in directories if u.sandbox_id in living and not u.is_committed]
        return choice.choice(found) if found else None

    def upload_of(self, case: Any) -> Upload | None:
        """Return the upload that a request is about."""
        return self.uploads.known.get(_key(case, "upload_id"))

    def archive_of(self, case: Any) -> Archive | None:
        """Return the archive that a request is about."""
        return self.archives.known.get(_key(case, "archive_id"))

    def learn(self, operation: str | None, case: Any, response: Any) -> None:
        """Note what a request did."""
        self.surprise, self.latest = None, self.upload_of(case)
        is_done = response.status_code < 300
        if _is_negative(case):
            if is_done:
                self._forget(case)
            return
        learn = getattr(self, f"_learn_{operation}", None)
        if is_done and learn is not None:
            learn(case, response)
        if operation in _KEYED and "Idempotency-Key" in case.headers:
            self.changes.append(_change(operation, case))
        if not is_done and not any(code in response.content for code in _HARMLESS):
            self._forget(case)

    def _forget(self, case: Any) -> None:
        """Expect nothing any more of what a request is about."""
        for many, transfer in (
            (self.uploads, self.upload_of(case)),
            (self.archives, self.archive_of(case)),
        ):
            if transfer is not None:
                del many.known[transfer.sandbox_id, transfer.key]
                self.over.append(transfer)

    def _learn_upload_file(self, case: Any, response: Any) -> None:
        self._add_path(case, case.query["path"])

    def _learn_write_file(self, case: Any, response: Any) -> None:
        self._add_path(case, case.body["path"])

    def _learn_make_directory(self, case: Any, response: Any) -> None:
        self._add_path(case, case.query["path"])

    def _learn_move_file(self, case: Any, response: Any) -> None:
        self._remove_path(case, case.body["source"])
        self._add_path(case, case.body["target"])

    def _learn_remove_file(self, case: Any, response: Any) -> None:
        self._remove_path(case, case.query["path"])

    def _learn_download_file(self, case: Any, response: Any) -> None:
        self._add_path(case, case.query["path"], response.headers["etag"][0])

    def _learn_begin_upload(self, case: Any, response: Any) -> None:
        body = copy.deepcopy(case.body)
        upload, answer = self.upload_of(case), response.json()
        if upload is not None:
            self._expect(upload, response)
        elif answer["offset"] == 0 and not answer["committed"]:  # else it was forgotten
            content = tar(self._choice) if body.get("format") == "tar" else None
            self.uploads.add(Upload(*_key(case, "upload_id"), body, content))

    def _learn_get_upload(self, case: Any, response: Any) -> None:
        if (upload := self.upload_of(case)) is not None:
            self._expect(upload, response)

    def _learn_send_upload(self, case: Any, response: Any) -> None:
        if (upload := self.upload_of(case)) is not None:
            upload.add(int(case.query["offset"]), response.request.body or b"")
            self._expect(upload, response)

    def _learn_commit_upload(self, case: Any, response: Any) -> None:
        if (upload := self.upload_of(case)) is not None:
            upload.is_committed = True
            self._add_path(case, upload.body["path"])
            if case.body["length"] != len(upload.sent):
                self.surprise = f"{len(upload.sent)} bytes were sent"

    def _learn_abort_upload(self, case: Any, response: Any) -> None:
        if (upload := self.upload_of(case)) is not None and not upload.is_committed:
            self._forget(case)

    def _learn_begin_archive(self, case: Any, response: Any) -> None:
        self.archives.add(Archive(*_key(case, "archive_id"), copy.deepcopy(case.body)))

    def _learn_read_archive(self, case: Any, response: Any) -> None:
        archive, offset = self.archive_of(case), int(case.query["offset"])
        if archive is None or offset > len(archive.received):
            return  # the server keeps the last piece, which nobody here has seen
        again = archive.received[offset : offset + len(response.content)]
        archive.received += response.content[len(archive.received) - offset :]
        if not response.content.startswith(again):
            self.surprise = "another content came before"
        if response.headers.get("archive-complete"):
            archive.is_whole = True
            found = digest_of(archive.received)
            if response.headers["repr-digest"] != [found]:
                self.surprise = f"what came has the digest {found}"

    def _learn_end_archive(self, case: Any, response: Any) -> None:
        self._forget(case)

    def _expect(self, upload: Upload, response: Any) -> None:
        answer = response.json()
        found = (answer["offset"], answer["committed"])
        if found != (len(upload.sent), upload.is_committed):
            self.surprise = f"not so: {len(upload.sent)}, committed: {upload.is_committed}"

    def _add_path(self, case: Any, path: Any, etag: str | None = None) -> None:
        self.paths.append(Known(case.path_parameters["sandbox_id"], path, etag))

    def _remove_path(self, case: Any, path: Any) -> None:
        sandbox_id = case.path_parameters["sandbox_id"]
        left = [known for known in self.paths if known[:2] != (sandbox_id, path)]
        self.paths = deque(left, maxlen=_MEMORY)


def digest_of(data: bytes) -> str:
    """Return the digest of *data* as RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def wire_bytes(body: Any) -> bytes:
    """Return what a raw *body* is on the wire."""
    if isinstance(body, bytes):
        return body
    data = getattr(body, "data", b"")  # of what schemathesis generates
    return data if isinstance(data, bytes) else b""


def _is_negative(case: Any) -> bool:
    found: bool = case.meta is not None and case.meta.generation.mode.is_negative
    return found


def _key(case: Any, name: str) -> tuple[str, str]:
    return case.path_parameters.get("sandbox_id", ""), case.path_parameters.get(name, "")


def _change(operation: str, case: Any) -> Change:
    body = copy.deepcopy(case.body)
    sandbox_id, key = case.path_parameters["sandbox_id"], case.headers["Idempotency-Key"]
    return Change(operation, sandbox_id, key, dict(case.query), body)
