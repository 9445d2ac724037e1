"""What a server promises to remember: ids and keys that were used, and how their commands ended.

SQLite on the event loop: a statement here takes some 20 µs and never waits for the disk. A server
of one's own keeps a file in WAL mode whose checkpoints, the part that waits, are a thread's; the
embedded server keeps a temporary database, which SQLite holds in memory and spills when it grows,
and writes many rows at once, since nobody asks for them after its end. Outcomes of more than 64 KiB
are files of their own, written by a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sqlite3
import uuid
from enum import StrEnum
from pathlib import Path
from time import time
from typing import Any

from attrs import field, fields, frozen

from lunette.server.output import Outcome

__all__ = ["KEY_SECONDS", "CommandState", "KnownCommand", "Store", "StoreError"]

# Promised in openapi.yaml.
KEY_SECONDS = 24 * 3600.0
_INLINE = 64 * 1024
_FORGET_AT_ONCE = 64
_WRITTEN_AT_ONCE = 64
_FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sandboxes (id TEXT PRIMARY KEY, code TEXT, until REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sandboxes_until ON sandboxes (until);
CREATE TABLE IF NOT EXISTS commands (
    number INTEGER PRIMARY KEY,  -- in the order of until
    sandbox TEXT NOT NULL, key TEXT NOT NULL, body BLOB, state TEXT NOT NULL, until REAL NOT NULL,
    end TEXT, stdout BLOB, stderr BLOB, file TEXT,
    UNIQUE (sandbox, key)
);
"""
_COLUMNS = "sandbox, key, body, state, until, end, stdout, stderr, file"
_END = [f.name for f in fields(Outcome) if f.name not in ("stdout", "stderr")]
_ALIVE = None  # the code of a sandbox that is there


class StoreError(Exception):
    """The directory cannot be used; the message says why and the mend."""


class CommandState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"
    GIVEN_UP = "given up"
    DROPPED = "dropped"  # it was started, and its outcome is not known any more


@frozen
class KnownCommand:
    """What is remembered of a key; *body* is the digest of its request."""

    state: CommandState
    body: bytes | None
    _outcome: tuple[str, bytes, bytes] | None = field(repr=False)
    _file: Path | None = None

    async def outcome(self) -> Outcome | None:
        """Return how the command ended, if that is still known."""
        if self._outcome is None:
            return None
        end, stdout, stderr = self._outcome
        if self._file is not None:
            try:
                content = await asyncio.to_thread(self._file.read_bytes)
            except FileNotFoundError:  # dropped meanwhile
                return None
            length = json.loads(stdout)
            stdout, stderr = content[:length], content[length:]
        return Outcome(stdout=stdout, stderr=stderr, **json.loads(end))


class Store:
    """The memory of one server, in *directory*: for as long as it runs, or *durable*."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self._spool = directory / "outcomes"
        self._path = directory / "state.db" if durable else None
        self._fresh: dict[tuple[str, str], tuple[Any, ...]] = {}
        with contextlib.ExitStack() as opened:
            if durable:
                opened.callback(os.close, _make_and_lock(directory))
            self._spool.mkdir(mode=0o700, exist_ok=True)
            try:
                # The empty name is a temporary database that no other process can open.
                self._db = opened.enter_context(contextlib.closing(_connect(self._path or "")))
                _prepare(self._db, "WAL" if durable else "MEMORY")
                self._recover()
            except sqlite3.DatabaseError as error:
                raise StoreError(
                    f"{self._path} is broken or no database of this version; move it away"
                    " or give another --state"
                ) from error
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the database; what is durable stays."""
        self._opened.close()

    def checkpoint(self) -> None:
        """Move what was written into the main file; blocking, and for a thread."""
        if self._path is None:
            return
        with contextlib.closing(_connect(self._path)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    # Sandboxes

    def sandbox_made(self, sandbox_id: str) -> None:
        """Remember that *sandbox_id* is there."""
        self._bury(sandbox_id, _ALIVE)

    def sandbox_gone(self, sandbox_id: str, code: str) -> None:
        """Remember that *sandbox_id* cannot be used any more; *code* is one of openapi.yaml."""
        self._bury(sandbox_id, code)

    def gone_code(self, sandbox_id: str) -> str | None:
        """Return the code with which *sandbox_id* is gone, if it is."""
        row = self._one("SELECT code FROM sandboxes WHERE id = ?", sandbox_id)
        return None if row is None else row[0]

    def _bury(self, sandbox_id: str, code: str | None) -> None:
        now = time()
        oldest = "SELECT id FROM sandboxes WHERE until <= ? AND code IS NOT NULL LIMIT ?"
        forget = f"DELETE FROM sandboxes WHERE id IN ({oldest})"
        self._db.execute(forget, (now, _FORGET_AT_ONCE))
        row = (sandbox_id, code, now + KEY_SECONDS)
        self._db.execute("INSERT OR REPLACE INTO sandboxes VALUES (?, ?, ?)", row)

    # Commands

    def claim(self, sandbox_id: str, key: str, body: bytes) -> None:
        """Remember that a command is about to be started."""
        if self._path is not None:  # else there is no later server that could ask
            self._put(sandbox_id, key, body, CommandState.RUNNING)

    def give_up(self, sandbox_id: str, key: str) -> None:
        """Remember that the command of *key*, which has not arrived, must not be started."""
        self._put(sandbox_id, key, None, CommandState.GIVEN_UP)

    def drop(self, sandbox_id: str, key: str, body: bytes | None = None) -> None:
        """Remember that a command was started, and not how it ended."""
        self._remove_file(sandbox_id, key)
        self._put(sandbox_id, key, body, CommandState.DROPPED)

    def release(self, sandbox_id: str, key: str) -> None:
        """Forget a key."""
        self._remove_file(sandbox_id, key)
        self._fresh.pop((sandbox_id, key), None)
        self._db.execute("DELETE FROM commands WHERE sandbox = ? AND key = ?", (sandbox_id, key))

    async def keep(self, sandbox_id: str, key: str, body: bytes, outcome: Outcome) -> None:
        """Remember how a command ended; raise OSError where a large outcome finds no room."""
        end = {name: getattr(outcome, name) for name in _END}
        stdout, stderr = outcome.stdout, outcome.stderr
        name = None
        if len(stdout) + len(stderr) > _INLINE:
            name = uuid.uuid4().hex
            await asyncio.to_thread(_write, self._spool / name, stdout, stderr)
            stdout, stderr = json.dumps(len(stdout)).encode(), b""
        found = (json.dumps(end), stdout, stderr, name)
        self._put(sandbox_id, key, body, CommandState.ENDED, found)

    def command(self, sandbox_id: str, key: str) -> KnownCommand | None:
        """Return what is known of *key*."""
        row = self._row(sandbox_id, key)
        if row is None:
            return None
        _, _, body, state, until, end, stdout, stderr, name = row
        if until <= time():
            return None
        outcome = None if end is None else (end, stdout, stderr)
        file = self._spool / name if name else None
        return KnownCommand(CommandState(state), body, outcome, file)

    def forget_commands(self, sandbox_id: str) -> None:
        """Forget the keys of a sandbox that is gone."""
        self._flush()
        rows = self._db.execute(
            "SELECT file FROM commands WHERE sandbox = ? AND file IS NOT NULL", (sandbox_id,)
        ).fetchall()
        for (name,) in rows:
            (self._spool / name).unlink(missing_ok=True)
        self._db.execute("DELETE FROM commands WHERE sandbox = ?", (sandbox_id,))

    def _put(
        self,
        sandbox_id: str,
        key: str,
        body: bytes | None,
        state: CommandState,
        found: tuple[str | None, bytes | None, bytes | None, str | None] = (None, None, None, None),
    ) -> None:
        self._fresh[sandbox_id, key] = (
            *(sandbox_id, key, body, state, time() + KEY_SECONDS),
            *found,
        )
        # What must outlive this server is written before anybody is told of it.
        if self._path is not None or len(self._fresh) >= _WRITTEN_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Write what is not written yet."""
        if not self._fresh:
            return
        rows, self._fresh = list(self._fresh.values()), {}
        self._db.execute("BEGIN")
        # A row that is replaced gets a new number, so that numbers stay in the order of until.
        self._db.executemany(
            f"INSERT OR REPLACE INTO commands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
        )
        self._db.execute("COMMIT")
        self._forget_the_old()

    def _forget_the_old(self) -> None:
        oldest = "SELECT sandbox, key, until FROM commands ORDER BY number LIMIT 1"
        for _ in range(2 * _WRITTEN_AT_ONCE):
            row = self._one(oldest)
            if row is None or row[2] > time():
                return
            self.release(row[0], row[1])

    def _remove_file(self, sandbox_id: str, key: str) -> None:
        row = self._row(sandbox_id, key)
        if row is not None and row[-1] is not None:
            (self._spool / row[-1]).unlink(missing_ok=True)

    def _row(self, sandbox_id: str, key: str) -> tuple[Any, ...] | None:
        return self._fresh.get((sandbox_id, key)) or self._one(
            f"SELECT {_COLUMNS} FROM commands WHERE sandbox = ? AND key = ?", sandbox_id, key
        )

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        return row

    def _recover(self) -> None:
        """Note what ended with an earlier server, and remove files that nothing names."""
        until = time() + KEY_SECONDS
        self._db.execute(
            "UPDATE sandboxes SET code = 'sandbox_lost', until = ? WHERE code IS NULL", (until,)
        )
        self._db.execute(
            "UPDATE commands SET state = ? WHERE state = ?",
            (CommandState.DROPPED, CommandState.RUNNING),
        )
        rows = self._db.execute("SELECT file FROM commands WHERE file IS NOT NULL")
        named = {name for (name,) in rows}
        for path in self._spool.iterdir():
            if path.name not in named:
                path.unlink()


def _prepare(db: sqlite3.Connection, journal: str) -> None:
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, _FORMAT):
        raise sqlite3.DatabaseError(f"format {found}")
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {_FORMAT}")


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _make_and_lock(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot keep the server's state: {error}; give another --state"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StoreError(
            f"another server keeps its state in {directory}; give this one another --state"
        ) from None
    return fd


def _write(path: Path, *parts: bytes) -> None:
    try:
        with path.open("xb") as file:
            for part in parts:
                file.write(part)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
