from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve

from lunette.server import store as store_module
from lunette.server.output import Outcome
from lunette.server.store import KEY_SECONDS, CommandState, Store, StoreError

SMALL = Outcome(stdout=b"out\xff", stderr=b"", exit_code=3, signal=9, duration=0.25)
LARGE = Outcome(stdout=b"o" * 100_000, stderr=b"e" * 50_000, exit_code=0, truncated=7)


@pytest.fixture(params=[False, True], ids=["embedded", "durable"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path, durable=request.param)) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(store_module, "time", lambda: now[0])
    yield now


def keep(store: Store, key: str, outcome: Outcome) -> None:
    asyncio.run(store.keep("s", key, b"body", outcome))


def outcome_of(store: Store, key: str) -> Outcome | None:
    known = store.command("s", key)
    assert known is not None
    return asyncio.run(known.outcome())


def spooled(directory: Path) -> list[Path]:
    return list((directory / "outcomes").iterdir())


@pytest.mark.parametrize("outcome", [SMALL, LARGE], ids=["small", "large"])
def test_an_outcome_comes_back_as_it_was(store: Store, outcome: Outcome, tmp_path: Path) -> None:
    store.claim("s", "k", b"body")
    keep(store, "k", outcome)
    assert outcome_of(store, "k") == outcome
    assert len(spooled(tmp_path)) == (outcome is LARGE)
    store.forget_commands("s")
    assert store.command("s", "k") is None
    assert spooled(tmp_path) == []


def test_keys_belong_to_their_sandbox(store: Store) -> None:
    keep(store, "k", SMALL)
    assert store.command("other", "k") is None
    assert store.command("s", "K") is None


def test_what_was_dropped_is_known_to_have_run(store: Store, tmp_path: Path) -> None:
    keep(store, "k", LARGE)
    store.drop("s", "k", b"body")
    known = store.command("s", "k")
    assert known is not None and (known.state, known.body) == (CommandState.DROPPED, b"body")
    assert outcome_of(store, "k") is None
    assert spooled(tmp_path) == []


def test_an_outcome_that_is_dropped_while_it_is_read(store: Store) -> None:
    keep(store, "k", LARGE)
    known = store.command("s", "k")
    assert known is not None
    store.release("s", "k")
    assert asyncio.run(known.outcome()) is None


def test_keys_live_for_a_day(store: Store, clock: list[float]) -> None:
    keep(store, "ran", SMALL)
    store.give_up("s", "given up")
    store.sandbox_gone("gone", "sandbox_destroyed")
    store.sandbox_made("there")
    clock[0] += KEY_SECONDS - 1
    assert store.command("s", "ran") and store.command("s", "given up")
    assert store.gone_code("gone") == "sandbox_destroyed"
    clock[0] += 1
    assert store.command("s", "ran") is None
    assert store.command("s", "given up") is None
    store.sandbox_gone("another", "sandbox_lost")
    assert store.gone_code("gone") is None
    assert store.gone_code("there") is None  # since it is no sandbox that is gone


def test_a_full_disk_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(OSError, match="No space"):
        keep(store, "k", LARGE)
    assert spooled(tmp_path) == []


def test_a_restart_knows_what_was(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        store.sandbox_made("there")
        store.sandbox_made("ended")
        store.sandbox_gone("ended", "sandbox_destroyed")
        store.claim("s", "running", b"body")
        keep(store, "small", SMALL)
        keep(store, "large", LARGE)
        store.give_up("s", "given up")
        (tmp_path / "outcomes" / "half").write_bytes(b"of a server that was killed")
    with closing(Store(tmp_path, durable=True)) as store:
        assert store.gone_code("there") == "sandbox_lost"
        assert store.gone_code("ended") == "sandbox_destroyed"
        assert outcome_of(store, "small") == SMALL
        assert outcome_of(store, "large") == LARGE
        assert outcome_of(store, "running") is None
        states = [store.command("s", key) for key in ("running", "given up")]
        assert [known and known.state for known in states] == [
            CommandState.DROPPED,
            CommandState.GIVEN_UP,
        ]
        assert len(spooled(tmp_path)) == 1


def test_a_restart_forgets_what_is_too_old(tmp_path: Path, clock: list[float]) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        keep(store, "k", LARGE)
    clock[0] += KEY_SECONDS
    with closing(Store(tmp_path, durable=True)) as store:
        assert spooled(tmp_path) == []
        assert store._one("SELECT count(*) FROM commands") == (0,)


def test_what_is_written_survives_a_kill_and_a_checkpoint_moves_it(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        for number in range(500):
            keep(store, f"k{number}", SMALL)
        before = (tmp_path / "state.db").stat().st_size
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("state.db", "state.db-wal"):  # as a killed server would leave them
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        store.checkpoint()
        assert (tmp_path / "state.db").stat().st_size > before
    with closing(Store(copy, durable=True)) as store:
        assert outcome_of(store, "k499") == SMALL


def test_one_server_a_directory(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "state", durable=True)):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        with pytest.raises(StoreError, match=r"another server .* give this one another --state"):
            Store(tmp_path / "state", durable=True)
    Store(tmp_path / "state", durable=True).close()


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="give another --state"):
        Store(tmp_path / "file" / "state", durable=True)


@pytest.mark.parametrize(
    "content", [b"no database, and long enough to be seen as none" * 100, None]
)
def test_a_database_that_is_none_of_ours(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        with closing(sqlite3.connect(tmp_path / "state.db")) as db:
            db.execute("PRAGMA user_version = 99")
    else:
        (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.db is broken or no database of this version"):
        Store(tmp_path, durable=True)
    if content is not None:
        assert (tmp_path / "state.db").read_bytes() == content
    (tmp_path / "state.db").unlink()
    Store(tmp_path, durable=True).close()  # the lock was given back


def test_a_database_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        keep(store, "old", SMALL)
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("ALTER TABLE commands DROP COLUMN out_of_memory")
        db.execute("PRAGMA user_version = 1")
    killed = evolve(SMALL, exit_code=137, signal=9, out_of_memory=True)
    with closing(Store(tmp_path, durable=True)) as store:
        assert outcome_of(store, "old") == SMALL
        keep(store, "new", killed)
    with closing(Store(tmp_path, durable=True)) as store:
        assert outcome_of(store, "new") == killed


def test_a_table_that_a_dying_server_made_is_brought_up_to_date(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        keep(store, "old", SMALL)
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("ALTER TABLE commands DROP COLUMN out_of_memory")
        db.execute("PRAGMA user_version = 0")  # it died before it could write the 1
    with closing(Store(tmp_path, durable=True)) as store:
        keep(store, "new", SMALL)
        assert outcome_of(store, "old") == outcome_of(store, "new") == SMALL


def test_what_is_in_the_way_at_the_start_is_told(tmp_path: Path) -> None:
    Store(tmp_path, durable=True).close()
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"database is locked; give another --state"):
            Store(tmp_path, durable=True)
    Store(tmp_path, durable=True).close()


def test_a_lock_of_somebody_elses_loses_nothing(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True)) as store:
        with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OSError, match="temporarily unavailable"):
                store.claim("s", "new", b"body")
            keep(store, "k", SMALL)
            store.sandbox_gone("gone", "sandbox_destroyed")
            assert outcome_of(store, "k") == SMALL
            assert store.gone_code("gone") == "sandbox_destroyed"
            store.checkpoint()  # which another tries again
        store.claim("s", "later", b"body")
    with closing(Store(tmp_path, durable=True)) as store:
        assert outcome_of(store, "k") == SMALL
        assert store.gone_code("gone") == "sandbox_destroyed"
        assert store.command("s", "new") is None


def test_what_is_kept_is_for_its_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # as an administrator may have made it
    with closing(Store(tmp_path, durable=True)) as store:
        keep(store, "k", LARGE)
        for path in tmp_path.iterdir():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_log_begins_anew_while_writing_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "state.db-wal"
    with closing(Store(tmp_path, durable=True)) as store:
        sizes: list[int] = []
        for round_ in range(6):
            for number in range(200):
                keep(store, f"{round_}.{number}", SMALL)
            with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as other:
                # As if what is written next were written during the checkpoint.
                other.execute("BEGIN")
                other.execute("SELECT count(*) FROM commands").fetchone()
                keep(store, f"{round_} meanwhile", SMALL)
                store.checkpoint()
            store.restart_log()
            sizes.append(log.stat().st_size)
    assert max(sizes) <= 2 * sizes[0]


def test_the_logs_of_an_earlier_server_are_removed(tmp_path: Path) -> None:
    with closing(Store(tmp_path, durable=True, log_limit=1 << 20)) as store:
        (store.logs / "of-a-process.1").write_bytes(b"x")
        assert (store.log_limit, store.logs_limit) == (1 << 20, 4 << 20)
    with closing(Store(tmp_path, durable=True)) as store:
        assert not list(store.logs.iterdir())
