"""The project's own MLflow store, one SQLite file: never replaced unnoticed, never another project's.

Beside `mlflow.db` lies `mlflow.db.registry.json`, a note of which store it is and of the newest version of each model
that was seen there. A store that is gone, empty or older than the note is an error. Nothing here imports MLflow.
"""

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog
from pydantic import ValidationError

from headrace.components.errors import ServiceError, StoreError
from headrace.components.files.atomic import replace_file
from headrace.components.schema.settings import Settings

_LONGEST_PATH_BYTES = 504  # SQLite's 512 without "-journal"

# Everywhere MLflow writes the absolute URI of an artifact. A test compares this list with a store's text.
_URI_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

_PASSING_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)
_PASSING_WAY_OUT = "See that the disk has room, that you may write there, and that no other program holds the file"

log = structlog.get_logger()


class Seen(Settings):
    """Which store this is, and the newest version of each of its models."""

    store_id: str
    versions: dict[str, int]


def open_store(database: Path, *, create: Callable[[Path], None], artifacts_uri: str | None = None) -> None:
    """Make sure that the store at `database` is whole and the one that was there before; `create` makes the first one.

    Where `artifacts_uri` is given, artifacts are kept below it: URIs of the place that the project was copied or moved
    from are rewritten. Raises StoreError for a store that is gone, damaged or older than it was, ServiceError for one
    that can't be opened now.
    """
    database = database.resolve()
    if (now := check_store(database)) is None:
        _create_alone(database, create)
        now = check_store(database)
    with _opened(database) as connection:
        store_id, home = _identity(connection)
        if not store_id or (artifacts_uri and home != artifacts_uri):
            store_id = _adopt(connection, artifacts_uri)
        now = Seen(store_id=store_id, versions=_newest_versions(connection))
    if now != _read_note(database):
        write_note(database, now)


def check_store(database: Path, *, thorough: bool = False) -> Seen | None:
    """Read what is in the store; None where there is none and none was seen before.

    Raises as `open_store` does; `thorough` reads the whole file.
    """
    database = database.resolve()
    _check_length(database)
    seen = _read_note(database)  # before the store: another process may be registering, so the store may be ahead
    if not database.exists():
        if seen is not None:
            raise StoreError(f"MLflow's store {database} is gone; {_versions(seen)}. {_way_out(database)}")
        return None
    with _opened(database) as connection:
        connection.execute("SELECT version_num FROM alembic_version")
        if thorough and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        now = Seen(store_id=_identity(connection)[0], versions=_newest_versions(connection))
    if seen is not None and (problem := _difference(seen, now)):
        raise StoreError(
            f"MLflow's store {database} {problem}. To have that back: `headrace restore FILE`. To accept what is here: "
            f"remove {note_file(database).name}"
        )
    return now


def write_note(database: Path, seen: Seen) -> None:
    """Note which store this is."""
    with replace_file(note_file(database)) as file:
        file.write_text(seen.model_dump_json(indent=1) + "\n", encoding="utf-8")


def note_file(database: Path) -> Path:
    """The note of which store was seen, beside the store."""
    return database.with_name(f"{database.name}.registry.json")


def _create_alone(database: Path, create: Callable[[Path], None]) -> None:
    """Under a lock: six clients that open one fresh file together ruin it."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.exists():
            return
        for suffix in ("-journal", "-wal"):  # of a store that was moved away: SQLite would apply it to the new one
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        with replace_file(database) as temporary:
            create(temporary)
        log.info("a new, empty MLflow store: no run and no model is known here yet", store=str(database))


def _identity(connection: sqlite3.Connection) -> tuple[str, str | None]:
    """Id of the store, and URI of its artifacts; an older store has no id yet, but its first experiment says where."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'headrace_store'").fetchone():
        store_id, home = connection.execute("SELECT store_id, artifacts_uri FROM headrace_store").fetchone()
        return str(store_id), home
    first = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
    return "", first[0].removesuffix("/0") if first else None


def _adopt(connection: sqlite3.Connection, artifacts_uri: str | None) -> str:
    """Give the store an id if it has none, and let its artifacts be below `artifacts_uri`, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    store_id, home = _identity(connection)
    if not store_id:
        store_id = str(uuid.uuid4())
        connection.execute("CREATE TABLE headrace_store (store_id TEXT, artifacts_uri TEXT)")
        connection.execute("INSERT INTO headrace_store VALUES (?, ?)", (store_id, home))
    if artifacts_uri and home != artifacts_uri:
        if home and _last(home) == _last(artifacts_uri):  # else it was made without Headrace, and is not touched
            for table, column in _URI_COLUMNS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                    (artifacts_uri, len(home) + 1, len(home) + 1, f"{home}/"),
                )
            log.info("the project was copied or moved: MLflow's store keeps its artifacts here from now on", was=home)
        connection.execute("UPDATE headrace_store SET artifacts_uri = ?", (artifacts_uri,))
    connection.execute("COMMIT")
    return store_id


def _last(uri: str) -> str:
    return uri.rpartition("/")[2]


def _newest_versions(connection: sqlite3.Connection) -> dict[str, int]:
    """Of each model; a version that was deleted counts, because MLflow keeps its row."""
    return dict(connection.execute("SELECT name, max(version) FROM model_versions GROUP BY name ORDER BY name"))


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        if database.stat().st_size == 0:
            raise sqlite3.DatabaseError("it is empty")
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
            yield connection
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError) or (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _PASSING_CODES:
            raise ServiceError(f"can't use MLflow's store {database}: {error}. {_PASSING_WAY_OUT}") from error
        raise StoreError(f"MLflow's store {database} is damaged: {error}. {_way_out(database)}") from error


def _read_note(database: Path) -> Seen | None:
    file = note_file(database)
    try:
        return Seen.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StoreError(
            f"{file} is damaged. It notes which MLflow store this project has; if {database} is that one, remove it"
        ) from error


def _difference(seen: Seen, now: Seen) -> str | None:
    if now.store_id != seen.store_id:
        return f"is another one than this project had; {_versions(seen)}"
    older = [name for name, version in seen.versions.items() if now.versions.get(name, 0) < version]
    if older:
        return f"is older than it was, or models were deleted from it: {', '.join(older)}; {_versions(seen)}"
    return None


def _versions(seen: Seen) -> str:
    known = ", ".join(f"{name} version {version}" for name, version in seen.versions.items())
    return f"it had {known}" if known else "it had no model yet"


def _way_out(database: Path) -> str:
    return (
        "To have it back: `headrace restore FILE`. To continue without it, with no champion to beat: move "
        f"{database.name} and {note_file(database).name} away"
    )


def _check_length(database: Path) -> None:
    if (length := len(os.fsencode(database))) > _LONGEST_PATH_BYTES:
        raise StoreError(
            f"the path of MLflow's store has {length} bytes, and SQLite opens at most {_LONGEST_PATH_BYTES}: "
            f"move the project to a shorter path, or set MLFLOW_TRACKING_URI. It is {database}"
        )
