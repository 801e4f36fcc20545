"""The champions of a project's own registry, noted as they were found, so that most readers do not import MLflow.

A note holds size, times and inode of the store's files. Whatever has changed there since, the registry is asked again;
a server always is.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from headrace.components.files.atomic import replace_file
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.server import database_of

_JUST_NOW_SECONDS = 0.02  # a file may change twice within a tick of the clock


def champions(root: Path) -> Mapping[str, int]:
    """Version of the champion of each model that has one.

    Raises StoreError for a store that is damaged, ServiceError for one that can't be reached.
    """
    found = _observed(root)
    if found is not None and (noted := _noted(root, found)) is not None:
        return noted
    return note_champions(root)


def note_champions(root: Path) -> Mapping[str, int]:
    """Ask the registry for all champions, and note them where the store is the project's own."""
    from headrace.pipelines.tracking.registry import all_champions

    time.sleep(_JUST_NOW_SECONDS)
    before = _observed(root)
    found = all_champions(root)
    if before is not None and _observed(root) == before:
        file = ProjectPaths(root).champions
        file.parent.mkdir(exist_ok=True)
        with replace_file(file) as temporary:
            temporary.write_text(json.dumps({"store": before, "champions": found}), encoding="utf-8")
    return found


def _noted(root: Path, found: list[list[int] | None]) -> dict[str, int] | None:
    try:
        notes = json.loads(ProjectPaths(root).champions.read_bytes())
        champions = {str(name): int(version) for name, version in notes["champions"].items()}
        return champions if notes["store"] == found else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _observed(root: Path) -> list[list[int] | None] | None:
    """What the store's files are now, its log of writes among them; None where there is none, or a server has it."""
    database = database_of(root)
    if database is None or not database.is_file():
        return None
    return [_state(database), _state(database.with_name(f"{database.name}-wal"))]


def _state(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
