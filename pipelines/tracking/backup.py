"""What DVC does not hold, in one file: the project's own MLflow store and artifacts, and Headrace's notes of them.

A backup is a tar archive whose last member, manifest.json, has the digest of every other.
"""

import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError, StoreError
from headrace.components.files.atomic import replace_file
from headrace.components.files.digests import file_digest, stream_digest
from headrace.components.schema.settings import Settings
from headrace.pipelines.tracking.alias_journal import Move, keep_move, move_of, moves
from headrace.pipelines.tracking.packaging import MODEL_FILE
from headrace.pipelines.tracking.server import address_of, database_of, home_of, tracking_uri
from headrace.pipelines.tracking.store import Seen, check_store, note_file, write_note

_MANIFEST, _DATABASE, _ARTIFACTS, _RUNS = "manifest.json", "mlflow.db", "mlartifacts", "runs"

log = structlog.get_logger()


class Member(Settings):
    """One file of a backup."""

    size_bytes: int
    sha256: str


class Manifest(Settings):
    """What a backup holds."""

    made: str
    seen: Seen
    files: dict[str, Member]

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(member.size_bytes for member in self.files.values())


class _Places:
    """Where each part of a backup lies in a project. A workspace's are those of its project."""

    def __init__(self, root: Path) -> None:
        database = database_of(root)
        if database is None:
            raise ParamsError(
                f"MLflow is the server {address_of(tracking_uri(root))}: back up its database (such as pg_dump) first, "
                "then its artifacts (such as a versioned bucket), which the database refers to"
            )
        home = home_of(root)
        self.root = home.root
        self.database = database
        self.artifacts = home.mlflow_artifacts
        self.runs = home.training_runs
        self.state = home.state
        self.journals = {file.name: file for file in (home.alias_journal, home.prediction_journal)}
        self.replaced = home.state / "replaced"

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file but the database, by its name in a backup."""
        yield from ((name, file) for name, file in self.journals.items() if file.is_file())
        for name, folder in ((_RUNS, self.runs), (_ARTIFACTS, self.artifacts)):
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    yield f"{name}/{file.relative_to(folder).as_posix()}", file


def backup(root: Path, file: Path, *, force: bool = False) -> Manifest:
    """Write the backup, also while a run writes: the database first, then the artifacts that it refers to.

    Raises ParamsError where `file` is there (unless `force`) or a server has the registry, StoreError for a store
    that is damaged.
    """
    places = _Places(root)
    if file.exists() and not force:
        raise ParamsError(f"{file} is there already; give another name, or --force to replace it")
    if check_store(places.database, thorough=True) is None:
        raise ParamsError(f"there is nothing to back up yet: {places.database} is made by the first run")
    with replace_file(file) as part, tarfile.open(part, "w") as archive, tempfile.TemporaryDirectory() as temporary:
        snapshot = Path(temporary) / _DATABASE
        with closing(sqlite3.connect(places.database)) as source, closing(sqlite3.connect(snapshot)) as copy:
            source.backup(copy)
        seen = check_store(snapshot, thorough=True)
        if seen is None:
            raise StoreError(f"{places.database} vanished while it was copied")
        files = {_DATABASE: _add(archive, _DATABASE, snapshot)}
        for name, path in places.files():
            try:
                files[name] = _add(archive, name, path)
            except FileNotFoundError:  # another process has renamed or removed it meanwhile
                log.warning("left out, because it vanished meanwhile", file=name)
        for version in _versions_without_file(snapshot, files):
            log.warning("a registered version has no model file: the backup has none either", version=version)
        manifest = Manifest(made=datetime.now(UTC).isoformat(timespec="seconds"), seen=seen, files=files)
        (described := Path(temporary) / _MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        _add(archive, _MANIFEST, described)
    return manifest


def restore(root: Path, file: Path, *, force: bool = False) -> tuple[Manifest, Path | None]:
    """Put what a backup holds in place, once all of it has proved whole; no run may continue meanwhile.

    Returns the folder to which what was there before is moved, if there was any. Raises ParamsError where there is
    some, unless `force`, and DataError for a backup that is damaged: then nothing has changed.
    """
    places = _Places(root)
    present = [place for place in (places.database, places.artifacts, places.runs) if _has_content(place)]
    if present and not force:
        found = ", ".join(str(place.relative_to(places.root)) for place in present)
        raise ParamsError(
            f"there is {found} already; --force replaces it, and keeps what is there in {places.replaced}"
        )
    places.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.state, prefix=".restore-") as temporary:
        staging = Path(temporary)
        manifest = _extracted(file, staging)
        if check_store(staging / _DATABASE, thorough=True) != manifest.seen:
            raise DataError(f"{file}: its store is not the one that its manifest names")
        kept = _put_in_place(places, staging, keep=bool(present))
    _keep_restored_moves(root, places, manifest, file)
    write_note(places.database, manifest.seen)  # last: until then, each command says that the store is not whole
    return manifest, kept


def _put_in_place(places: _Places, staging: Path, *, keep: bool) -> Path | None:
    kept = None
    if keep:
        places.replaced.mkdir(exist_ok=True)
        kept = Path(tempfile.mkdtemp(dir=places.replaced, prefix=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-"))
    note = note_file(places.database)
    if kept and not note.exists():  # so that a restore that is cut short is not taken for a project without a store
        write_note(places.database, Seen(store_id="being restored", versions={}))
    sidecars = [places.database.with_name(places.database.name + suffix) for suffix in ("-journal", "-wal", "-shm")]
    for place in (places.database, *sidecars, places.artifacts, places.runs):
        if place.exists() and kept:
            shutil.move(place, kept / place.name)
    for name, place in ((_ARTIFACTS, places.artifacts), (_RUNS, places.runs), (_DATABASE, places.database)):
        if (staging / name).exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(staging / name, place)
    for name, place in places.journals.items():
        if not place.exists() and (staging / name).exists():  # else ours has all of it, and what came later
            shutil.move(staging / name, place)
    return kept


def _keep_restored_moves(root: Path, places: _Places, manifest: Manifest, file: Path) -> None:
    """A restore may move aliases back: the journal says so."""
    with closing(sqlite3.connect(places.database)) as connection:
        found = connection.execute("SELECT name, alias, version FROM registered_model_aliases").fetchall()
    for model, alias, version in found:
        last: Move | None = next((one for one in reversed(moves(root, model, [])) if one.alias == alias), None)
        if last is not None and last.to_version != version:
            why = f"restored from {file.name} of {manifest.made}"
            keep_move(root, move_of(model, alias, from_version=last.to_version, to_version=int(version), why=why))


def _extracted(file: Path, staging: Path) -> Manifest:
    """Unpack a backup and compare every file with the manifest."""
    with _reading(file) as archive:
        archive.extractall(staging, filter="data")
        names = {member.name for member in archive.getmembers() if member.isfile()}
    try:
        manifest = Manifest.model_validate_json((staging / _MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise DataError(f"{file} is not a whole backup: it does not end with a manifest") from error
    if names != {_MANIFEST, *manifest.files} or _DATABASE not in names:
        differing = sorted(names ^ {_MANIFEST, *manifest.files})[:5]
        raise DataError(f"{file} is not a whole backup: its manifest and its content differ in {', '.join(differing)}")
    for name, expected in manifest.files.items():
        found = Member(size_bytes=(staging / name).stat().st_size, sha256=file_digest(staging / name))
        if found != expected:
            raise DataError(
                f"{file} is damaged: {name} has {found.size_bytes} bytes with SHA-256 {found.sha256[:12]}, expected "
                f"{expected.size_bytes} with {expected.sha256[:12]}; restore another backup"
            )
    return manifest


@contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file) as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{file} is not a whole backup: {error}") from error
    except FileNotFoundError as error:
        raise ParamsError(f"there is no backup {file}") from error


def _add(archive: tarfile.TarFile, name: str, path: Path) -> Member:
    """Add a file as it is at one moment: it may grow or be replaced while it is read."""
    with path.open("rb") as source, tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        size_bytes = copy.tell()
        copy.seek(0)
        member = Member(size_bytes=size_bytes, sha256=stream_digest(copy))
        copy.seek(0)
        entry = tarfile.TarInfo(name)
        entry.size = member.size_bytes
        archive.addfile(entry, copy)
    return member


def _versions_without_file(database: Path, files: dict[str, Member]) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT name, version, source FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        ).fetchall()
    missing = []
    for name, version, source in found:
        _, _, below = unquote(urlsplit(source).path).rpartition(f"/{_ARTIFACTS}/")
        if f"{_ARTIFACTS}/{below}/{MODEL_FILE}" not in files:
            missing.append(f"{name} {version}")
    return missing


def _has_content(place: Path) -> bool:
    return place.is_file() or (place.is_dir() and any(place.iterdir()))
