"""Requests for files, aimed at paths that are there and at transfers that are under way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from population import FILES, LARGE, Population
from transfers import digest_of, wire_bytes

__all__ = ["FileAim"]

_PATHS = (*(f"/workspace/{name}" for name in FILES), "a.txt", "/workspace/l/x", "/workspace/pipe")
_ODD_PATHS = (
    "/workspace",
    "/workspace/loop",
    "/usr/x",
    "/proc/self/mem",
    "/dev/zero",
    "/etc/passwd",
)
_DIRECTORIES = (
    *("/workspace", ".", "d", "/workspace/deep", "/workspace/l", "/workspace/tree/", "tree/../d"),
    *("/tmp", "/etc", "/dev", "/proc", "/workspace/loop", "/dev/shm"),
)
_NEW = ("n1", "/workspace/n2", "d/n3", "/workspace/n4/n5", "/tmp/n6", "/dev/shm/n7", "n4/n5/n8")
_TARGETS = ("n1", "/workspace/n2", "d/n3", "/tmp/n6", "/dev/shm/n7", "/workspace/e/", "./l/n8")
_RANGES = (
    *("bytes=0-", "bytes=1-3", "bytes=0-0", "bytes=2-1", "bytes=-2", "bytes=0-1,3-4", "bytes=4-"),
    *("bytes=1048576-", f"bytes=0-{'9' * 25}", "Bytes = 1-2 ", "lines=1-2", "bytes=a-b"),
)
_IGNORED = ("*.txt", "!a.txt", "deep/", "/tree", "**/er", "a[!b]*", "\\", "[", "#", " ", "d/**/x")
_MOST_SENT = 2 << 20


class FileAim:
    """Fills requests of the tag `files`, each part of one by a method of its own."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._transfers = population.transfers
        self._choice = population.choice

    def path_of(self, case: Any, given: Any) -> Any:
        """Choose a path for a file: one that is there, or an odd one, or what was *given*."""
        known = self._known(case)
        kinds = (known or _PATHS, _PATHS, _ODD_PATHS, (given,))
        return self._one(kinds, (0.3, 0.45, 0.1, 0.15))

    def aim_transfer(self, case: Any, operation: str | None) -> None:
        """Choose the upload or the archive, and with it the sandbox."""
        name = "upload_id" if "upload_id" in case.path_parameters else "archive_id"
        many = self._transfers.uploads if name == "upload_id" else self._transfers.archives
        is_new = operation in ("begin_upload", "begin_archive")
        if is_new and self._often(0.75):
            case.path_parameters[name] = self._population.new_id()
            return
        living = self._population.specifications
        found: Any = many.choose(self._choice, living)
        if operation in ("send_upload", "commit_upload") and self._often(0.4):
            found = self._transfers.directory(self._choice, living) or found
        if self._transfers.over and self._often(0.1):
            found = self._choice.choice(self._transfers.over)
        if found is None or self._often(0.1):
            return
        case.path_parameters["sandbox_id"] = found.sandbox_id
        case.path_parameters[name] = found.key
        upload = self._transfers.upload_of(case)
        if operation == "commit_upload" and upload is not None and self._often(0.8):
            self._population.send_rest(upload)

    def aim_query(self, case: Any, operation: str | None) -> None:
        """Choose the path, the offset, and what an operation does by default."""
        if "path" in case.query:
            self._aim_path(case, operation)
        if operation == "remove_file" and self._often(0.7):
            case.query["recursive"] = self._choice.choice(("true", "false"))
        if operation == "list_files" and self._often(0.7):
            case.query["depth"] = self._choice.choice((1, 1, 2, 3, 4096))
        if operation == "make_directory" and self._often(0.7):
            case.query["parents"] = self._choice.choice(("true", "true", "false"))
            case.query["exist_ok"] = self._choice.choice(("true", "false"))
        if operation in ("send_upload", "read_archive") and self._often(0.85):
            self._aim_offset(case)

    def aim_headers(self, case: Any, operation: str | None) -> None:
        """Choose ranges, tags of before, digests and keys."""
        if operation == "download_file":
            self._aim_download(case)
        if "Repr-Digest" in case.headers and self._often(0.7):
            case.headers["Repr-Digest"] = digest_of(wire_bytes(case.body))
        if operation in ("remove_file", "move_file", "make_directory") and self._often(0.2):
            self._repeat(case, operation)

    def aim_bytes(self, case: Any, operation: str | None) -> None:
        """Choose what is sent."""
        upload = self._transfers.upload_of(case)
        if operation != "send_upload" or upload is None:
            return
        if upload.content is not None and self._often(0.9):
            rest = upload.content[len(upload.sent) :]
            size = len(rest) if self._often(0.7) else self._choice.randint(0, len(rest))
            case.body = rest[:size]
        elif self._often(0.05):
            case.body = bytes(self._choice.randint(1, _MOST_SENT))

    def aim_body(self, case: Any, operation: str | None, body: dict[str, Any]) -> None:
        """Choose what a JSON *body* asks for."""
        aims: dict[str | None, Callable[[Any, dict[str, Any]], None]] = {
            "begin_upload": self._body_begin_upload,
            "commit_upload": self._body_commit_upload,
            "begin_archive": self._body_begin_archive,
            "move_file": self._body_move_file,
        }
        if operation in aims:
            aims[operation](case, body)

    def _aim_path(self, case: Any, operation: str | None) -> None:
        given = case.query["path"]
        if operation == "list_files" and self._often(0.8):
            case.query["path"] = self._choice.choice(_DIRECTORIES)
        elif operation == "make_directory" and self._often(0.7):
            case.query["path"] = self._choice.choice((*_NEW, f"new-{self._choice.random()}"))
        elif operation == "stat_file" and self._often(0.2):
            case.query["path"] = self._choice.choice(_DIRECTORIES)
        else:
            case.query["path"] = self.path_of(case, given)

    def _aim_offset(self, case: Any) -> None:
        """Go on where a transfer is, or from the begin, or elsewhere."""
        upload, archive = self._transfers.upload_of(case), self._transfers.archive_of(case)
        size = len(upload.sent if upload else archive.received if archive else b"")
        offsets = (size, 0, self._choice.randint(0, size), size + 1)
        case.query["offset"] = self._choice.choices(offsets, (0.75, 0.1, 0.1, 0.05))[0]

    def _aim_download(self, case: Any) -> None:
        if "Range" in case.headers and self._often(0.8):
            case.headers["Range"] = self._choice.choice(_RANGES)
        sandbox_id = case.path_parameters.get("sandbox_id")
        living = [k for k in self._transfers.paths if k.etag and k.sandbox_id == sandbox_id]
        names = [name for name in ("If-Range", "If-Match") if name in case.headers]
        if names and not (living and self._often(0.8)):
            for name in names:
                if self._often(0.7):
                    del case.headers[name]
            return
        for name in names:
            known = self._choice.choice(living)
            case.query["path"], case.headers[name] = known.path, known.etag

    def _repeat(self, case: Any, operation: str | None) -> None:
        """Send a change again, or another one under its key."""
        living = self._population.specifications
        of_it = [c for c in self._transfers.changes if c.operation == operation]
        found = [change for change in of_it if change.sandbox_id in living]
        if not found:
            return
        change = self._choice.choice(found)
        case.path_parameters["sandbox_id"] = change.sandbox_id
        case.headers["Idempotency-Key"] = change.key
        if self._often(0.8):
            case.query.clear()
            case.query.update(change.query)
            case.body = copy.deepcopy(change.body)

    def _body_begin_upload(self, case: Any, body: dict[str, Any]) -> None:
        upload = self._transfers.upload_of(case)
        if upload is not None and self._often(0.7):
            body.clear()
            body.update(copy.deepcopy(upload.body))
            return
        if self._often(0.3):
            body["format"] = "tar"
        if body.get("format") == "tar":
            body["path"] = self._choice.choice((*_DIRECTORIES, *_NEW, *_NEW, body["path"]))
            if self._often(0.9):
                body.pop("mode", None)
                body.pop("if_exists", None)
        else:
            body["path"] = self.path_of(case, body["path"])

    def _body_commit_upload(self, case: Any, body: dict[str, Any]) -> None:
        upload = self._transfers.upload_of(case)
        if upload is None:
            return
        if self._often(0.9):
            body["length"] = len(upload.sent)
        if "digest" not in upload.body and self._often(0.9):
            body.pop("digest", None)
        if "digest" in body and self._often(0.9):
            body["digest"] = digest_of(upload.sent)

    def _body_begin_archive(self, case: Any, body: dict[str, Any]) -> None:
        archive = self._transfers.archive_of(case)
        if archive is not None and self._often(0.7):
            body.clear()
            body.update(copy.deepcopy(archive.body))
            return
        if self._often(0.8):
            body["path"] = self._choice.choice(_DIRECTORIES)
        if self._often(0.1):
            body["path"] = LARGE
        if "ignore" in body and self._often(0.7):
            body["ignore"] = self._choice.choices(_IGNORED, k=self._choice.randint(0, 4))

    def _body_move_file(self, case: Any, body: dict[str, Any]) -> None:
        if any(body == change.body for change in self._transfers.changes):
            return  # to be repeated to the letter
        known = self._known(case) or _PATHS
        body["source"] = self._one(
            (_PATHS, known, _DIRECTORIES, (body["source"],)), (0.4, 0.4, 0.1, 0.1)
        )
        body["target"] = self._one(
            (_TARGETS, _PATHS, known, (body["target"],)), (0.4, 0.3, 0.2, 0.1)
        )

    def _known(self, case: Any) -> list[str]:
        sandbox_id = case.path_parameters.get("sandbox_id")
        return [k.path for k in self._transfers.paths if k.sandbox_id == sandbox_id]

    def _one(self, kinds: Sequence[Sequence[Any]], weights: Sequence[float]) -> Any:
        return self._choice.choice(self._choice.choices(kinds, weights)[0])

    def _often(self, share: float) -> bool:
        return self._choice.random() < share
