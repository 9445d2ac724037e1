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
import errno
import fcntl
import logging
import os
import sqlite3
import uuid
from enum import StrEnum
from pathlib import Path
from time import time
from typing import Any

from attrs import evolve, field, frozen

from lunette.server._log import LOG_LIMIT
from lunette.server.output import Outcome

logger = logging.getLogger(__name__)

__all__ = ["KEY_SECONDS", "CommandState", "KnownCommand", "Store", "StoreError"]

# Promised in openapi.yaml.
KEY_SECONDS = 24 * 3600.0
_INLINE = 64 * 1024
_FORGET_AT_ONCE = 64
_WRITTEN_AT_ONCE = 64
_FORMAT = 2
_LOGS = 4

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sandboxes (id TEXT PRIMARY KEY, code TEXT, until REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sandboxes_until ON sandboxes (until);
CREATE TABLE IF NOT EXISTS commands (
    sandbox TEXT, key TEXT, state TEXT NOT NULL, body BLOB, until REAL NOT NULL,
    stdout BLOB, stderr BLOB, file TEXT, stdout_size INTEGER,  -- of a file that has both
    exit_code INTEGER, signal INTEGER, timed_out INTEGER, truncated INTEGER, duration REAL,
    out_of_memory INTEGER,
    PRIMARY KEY (sandbox, key)
) WITHOUT ROWID;
"""
_FROM_1 = """
BEGIN;
ALTER TABLE commands ADD COLUMN out_of_memory INTEGER;
PRAGMA user_version = 2;
COMMIT;
"""
_COLUMNS = (
    "state, body, until, stdout, stderr, file, stdout_size,"
    " exit_code, signal, timed_out, truncated, duration, out_of_memory"
)
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
    until: float
    _outcome: Outcome | None = field(default=None, repr=False)
    file: Path | None = None
    _stdout_size: int = 0

    async def outcome(self) -> Outcome | None:
        """Return how the command ended, if that is still known."""
        if self._outcome is None or self.file is None:
            return self._outcome
        try:
            content = await asyncio.to_thread(self.file.read_bytes)
        except FileNotFoundError:  # dropped meanwhile
            return None
        size = self._stdout_size
        return evolve(self._outcome, stdout=content[:size], stderr=content[size:])

    @classmethod
    def of_row(cls, row: tuple[Any, ...], spool: Path) -> KnownCommand:
        """Read a row of the database."""
        state, body, until, stdout, stderr, name, stdout_size, *end = row
        outcome = None
        if state == CommandState.ENDED:
            code, signal, timed_out, truncated, duration, out_of_memory = end
            outcome = Outcome(
                stdout=stdout,
                stderr=stderr,
                exit_code=code,
                signal=signal,
                timed_out=bool(timed_out),
                out_of_memory=bool(out_of_memory),
                truncated=truncated,
                duration=duration,
            )
        file = spool / name if name else None
        return cls(CommandState(state), body, until, outcome, file, stdout_size)

    def row(self) -> tuple[object, ...]:
        """Return the row of the database."""
        name = self.file.name if self.file else None
        start = (self.state, self.body, self.until)
        found = self._outcome
        if found is None:
            return (*start, *(None,) * 10)
        end = (found.exit_code, found.signal, found.timed_out, found.truncated, found.duration)
        more = (found.out_of_memory,)
        return (*start, found.stdout, found.stderr, name, self._stdout_size, *end, *more)


class Store:
    """The memory of one server, in *directory*: for as long as it runs, or *durable*."""

    def __init__(
        self, directory: Path, *, durable: bool = False, log_limit: int = LOG_LIMIT
    ) -> None:
        self.logs = directory / "logs"
        self.log_limit = log_limit
        self._spool = directory / "outcomes"
        self._path = directory / "state.db" if durable else None
        self._fresh: dict[tuple[str, str], KnownCommand] = {}
        self._buried: dict[str, tuple[str | None, float]] = {}
        self._is_full = False
        with contextlib.ExitStack() as opened:
            if durable:
                opened.callback(os.close, _make_and_lock(directory))
            self._spool.mkdir(mode=0o700, exist_ok=True)
            _make_empty(self.logs)
            if self._path is not None:  # what SQLite puts beside it gets the same mode
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                # The empty name is a temporary database that no other process can open.
                self._db = opened.enter_context(contextlib.closing(_connect(self._path or "")))
                _prepare(self._db, "WAL" if durable else "MEMORY")
                self._recover()
            except sqlite3.OperationalError as error:  # a full disk, or somebody else's lock
                why = f"cannot keep the server's state in {directory}: {error}"
                raise StoreError(f"{why}; give another --state") from error
            except sqlite3.DatabaseError as error:
                raise StoreError(
                    f"{self._path} is broken or no database of this version; move it away"
                    " or give another --state"
                ) from error
            self._opened = opened.pop_all()

    @property
    def logs_limit(self) -> int:
        """The bytes of all logs of a sandbox's processes together."""
        return _LOGS * self.log_limit

    def close(self) -> None:
        """Close the database; what is durable stays."""
        self._opened.close()

    def checkpoint(self) -> None:
        """Move what was written into the main file; blocking, and for a thread."""
        if self._path is None:
            return
        try:
            with contextlib.closing(_connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as error:  # the next time may find room
            logger.error("cannot write to the server's state: %s", error)

    def restart_log(self) -> None:
        """Move the little that was written since `checkpoint`, so that the log begins anew.

        It does so only when nothing in it is left to move, which under load is never so after a
        checkpoint in a thread; and without that it grows for ever.
        """
        if self._path is None:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as error:
            logger.error("cannot write to the server's state: %s", error)

    # Sandboxes

    def sandbox_made(self, sandbox_id: str) -> None:
        """Remember that *sandbox_id* is there."""
        self._bury(sandbox_id, _ALIVE)

    def sandbox_gone(self, sandbox_id: str, code: str) -> None:
        """Remember that *sandbox_id* cannot be used any more; *code* is one of openapi.yaml."""
        self._bury(sandbox_id, code)

    def gone_code(self, sandbox_id: str) -> str | None:
        """Return the code with which *sandbox_id* is gone, if it is."""
        if sandbox_id in self._buried:
            return self._buried[sandbox_id][0]
        row = self._one("SELECT code FROM sandboxes WHERE id = ? AND until > ?", sandbox_id, time())
        return None if row is None else row[0]

    def _bury(self, sandbox_id: str, code: str | None) -> None:
        self._buried[sandbox_id] = (code, time() + KEY_SECONDS)
        self._flush()

    # Commands

    def claim(self, sandbox_id: str, key: str, body: bytes) -> None:
        """Remember that a command is about to be started; raise OSError where that cannot be."""
        if self._path is None:  # there is no later server that could ask
            return
        self._mark(sandbox_id, key, body, CommandState.RUNNING)
        if (sandbox_id, key) in self._fresh:  # it could not be written
            del self._fresh[sandbox_id, key]
            number = errno.ENOSPC if self._is_full else errno.EAGAIN
            raise OSError(number, os.strerror(number))

    def give_up(self, sandbox_id: str, key: str) -> None:
        """Remember that the command of *key*, which has not arrived, must not be started."""
        self._mark(sandbox_id, key, None, CommandState.GIVEN_UP)

    def drop(self, sandbox_id: str, key: str, body: bytes | None = None) -> None:
        """Remember that a command was started, and not how it ended."""
        self._remove_file(sandbox_id, key)
        self._mark(sandbox_id, key, body, CommandState.DROPPED)

    def release(self, sandbox_id: str, key: str) -> None:
        """Forget a key."""
        self._remove_file(sandbox_id, key)
        self._fresh.pop((sandbox_id, key), None)
        self._delete("sandbox = ? AND key = ?", sandbox_id, key)

    async def keep(self, sandbox_id: str, key: str, body: bytes, outcome: Outcome) -> None:
        """Remember how a command ended; raise OSError where a large outcome finds no room."""
        file = None
        stdout_size = len(outcome.stdout)
        if outcome.size > _INLINE:
            file = self._spool / uuid.uuid4().hex
            await asyncio.to_thread(_write, file, outcome.stdout, outcome.stderr)
            outcome = evolve(outcome, stdout=b"", stderr=b"")
        until = time() + KEY_SECONDS
        known = KnownCommand(CommandState.ENDED, body, until, outcome, file, stdout_size)
        self._put(sandbox_id, key, known)

    def command(self, sandbox_id: str, key: str) -> KnownCommand | None:
        """Return what is known of *key*."""
        known = self._known(sandbox_id, key)
        return None if known is None or known.until <= time() else known

    def forget_commands(self, sandbox_id: str) -> None:
        """Forget the keys of a sandbox that is gone."""
        self._flush()
        rows = self._db.execute(
            "SELECT file FROM commands WHERE sandbox = ? AND file IS NOT NULL", (sandbox_id,)
        )
        for (name,) in rows.fetchall():
            (self._spool / name).unlink(missing_ok=True)
        self._delete("sandbox = ?", sandbox_id)

    def _mark(self, sandbox_id: str, key: str, body: bytes | None, state: CommandState) -> None:
        self._put(sandbox_id, key, KnownCommand(state, body, time() + KEY_SECONDS))

    def _put(self, sandbox_id: str, key: str, known: KnownCommand) -> None:
        self._fresh[sandbox_id, key] = known
        # What must outlive this server is written before anybody is told of it.
        if self._path is not None or len(self._fresh) >= _WRITTEN_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Write what is not written yet; what cannot be stays in memory until the next time."""
        commands = [(*key, *known.row()) for key, known in self._fresh.items()]
        sandboxes = [(name, *found) for name, found in self._buried.items()]
        oldest = "SELECT id FROM sandboxes WHERE until <= ? AND code IS NOT NULL LIMIT ?"
        try:
            self._db.execute("BEGIN")
            self._db.executemany(
                f"INSERT OR REPLACE INTO commands (sandbox, key, {_COLUMNS})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                commands,
            )
            if sandboxes:
                forget = f"DELETE FROM sandboxes WHERE id IN ({oldest})"
                self._db.execute(forget, (time(), _FORGET_AT_ONCE))
            self._db.executemany("INSERT OR REPLACE INTO sandboxes VALUES (?, ?, ?)", sandboxes)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:  # a full disk, or somebody else's lock
            logger.error("cannot write to the server's state: %s", error)
            self._is_full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return
        self._fresh.clear()
        self._buried.clear()

    def _delete(self, condition: str, *values: object) -> None:
        try:
            self._db.execute(f"DELETE FROM commands WHERE {condition}", values)
        except sqlite3.OperationalError as error:
            logger.error("cannot write to the server's state: %s", error)

    def _known(self, sandbox_id: str, key: str) -> KnownCommand | None:
        if (fresh := self._fresh.get((sandbox_id, key))) is not None:
            return fresh
        row = self._one(
            f"SELECT {_COLUMNS} FROM commands WHERE sandbox = ? AND key = ?", sandbox_id, key
        )
        return None if row is None else KnownCommand.of_row(row, self._spool)

    def _remove_file(self, sandbox_id: str, key: str) -> None:
        known = self._known(sandbox_id, key)
        if known is not None and known.file is not None:
            known.file.unlink(missing_ok=True)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
        return row

    def _recover(self) -> None:
        """Note what ended with an earlier server, and remove what is too old or half done."""
        self._db.execute("DELETE FROM commands WHERE until <= ?", (time(),))
        lost = "UPDATE sandboxes SET code = 'sandbox_lost', until = ? WHERE code IS NULL"
        self._db.execute(lost, (time() + KEY_SECONDS,))
        dropped = "UPDATE commands SET state = ? WHERE state = ?"
        self._db.execute(dropped, (CommandState.DROPPED, CommandState.RUNNING))
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
    if found not in (0, 1, _FORMAT):
        raise sqlite3.DatabaseError(f"format {found}")
    # A server that died while it made a table of format 1 has left it under 0.
    columns = [row[1] for row in db.execute("PRAGMA table_info(commands)")]
    if found < _FORMAT and columns and "out_of_memory" not in columns:
        db.executescript(_FROM_1)
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {_FORMAT}")


def _connect(path: Path | str) -> sqlite3.Connection:
    # No timeout: who waited for another's lock would hold up the loop.
    return sqlite3.connect(path, isolation_level=None, timeout=0)


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


def _make_empty(directory: Path) -> None:
    """Remove the logs of an earlier server, whose processes are no more."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for path in directory.iterdir():
        path.unlink()


def _write(path: Path, *parts: bytes) -> None:
    try:
        with path.open("xb") as file:
            for part in parts:
                file.write(part)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
