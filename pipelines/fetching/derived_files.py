"""Files made from others, and made again only if those changed."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter

from headrace.components.errors import DataError
from headrace.components.files.atomic import replace_file
from headrace.components.files.records import read_record
from headrace.components.mapping import map_in_threads

_NOTE = ".copies.json"
_NOTES = TypeAdapter(dict[str, list[Any]])  # what each file was made of, and how it was left

log = structlog.get_logger()


@dataclass(frozen=True)
class Copy:
    """A file to be, what it is made of (another text for other content, None: not known), and how it is written."""

    path: Path
    origin: str | None
    write: Callable[[Path], None]


def write_copies(copies: Sequence[Copy], *, aside: Path, at_once: int = 4) -> list[Path]:
    """Paths of the files, after writing those that a note in `aside` does not know to be as they should.

    `at_once` is how many are written at the same time. Raises DataError, before anything is written, if two files would
    have one path.
    """
    paths = [copy.path for copy in copies]
    if len(set(paths)) < len(paths):
        repeated = next(path for path, number in Counter(paths).items() if number > 1)
        raise DataError(f"two files would both be {repeated.name} in {repeated.parent}; rename one of them")
    note = aside / _NOTE
    known = read_record(note, _NOTES.validate_json, lost="all files are copied again") or {}
    changed = [
        one for one in copies if one.origin is None or known.get(one.path.name) != [one.origin, *_state(one.path)]
    ]
    for _ in map_in_threads(_write, changed, threads=at_once, waiting=0):
        pass
    now = {copy.path.name: [copy.origin, *_state(copy.path)] for copy in copies}
    with replace_file(note) as temporary:
        temporary.write_text(json.dumps(now), encoding="utf-8")
    log.info("copied", files=len(changed), unchanged=len(copies) - len(changed))
    return paths


def _write(copy: Copy) -> None:
    with replace_file(copy.path) as temporary:
        copy.write(temporary)


def _state(path: Path) -> list[int]:
    """Size and time of a file, by which it is seen that another program, such as DVC, has put another in its place."""
    found = path.stat() if path.exists() else None
    return [found.st_size, found.st_mtime_ns] if found else []
