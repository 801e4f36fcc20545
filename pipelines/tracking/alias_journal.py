"""Who moved an alias, when, why, from which version to which: a line each, which outlives the registry."""

import os
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from headrace.components.schema.settings import Settings
from headrace.pipelines.host.user import user_name
from headrace.pipelines.tracking.server import home_of

_TAG = "headrace.alias."  # and the time: of the version that the alias moved to
_MAX_WHY = 1000  # a tag of MLflow has 8000 characters

log = structlog.get_logger()


class Move(Settings):
    """One move of an alias; a version is None where it points to none."""

    time: str
    who: str
    why: str
    model: str
    alias: str
    from_version: int | None
    to_version: int | None

    @property
    def tag(self) -> tuple[str, str]:
        """Name and value of the tag by which the registry itself keeps the move."""
        return f"{_TAG}{self.alias}.{self.time}", self.model_dump_json()


def move_of(model: str, alias: str, *, from_version: int | None, to_version: int | None, why: str) -> Move:
    """A move that is made now, by this process."""
    return Move(
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        who=_who(),
        why=why[:_MAX_WHY],
        model=model,
        alias=alias,
        from_version=from_version,
        to_version=to_version,
    )


def keep_move(root: Path, move: Move) -> None:
    """Add a move to the project's journal, and wait until the disk has it."""
    file = journal_file(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as journal:  # a line starts with a line break: one that was cut short does not spoil the next
        journal.write(f"\n{move.model_dump_json()}\n".encode())
        journal.flush()
        os.fsync(journal.fileno())


def moves(root: Path, model: str, version_tags: Iterable[Mapping[str, str]]) -> list[Move]:
    """All moves of a model's aliases, oldest first: from the journal, and from the tags of its versions.

    Either may know some that the other does not: a server has moves of other machines, a registry may be restored.
    """
    tags = [value for one in version_tags for name, value in one.items() if name.startswith(_TAG)]
    file = journal_file(root)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    found = {move for line in (*tags, *filter(None, lines)) if (move := _parsed(line)) and move.model == model}
    return sorted(found, key=lambda move: move.time)


def journal_file(root: Path) -> Path:
    """The project's journal, which its workspaces share."""
    return home_of(root).alias_journal


def _parsed(line: str) -> Move | None:
    try:
        return Move.model_validate_json(line)
    except ValidationError:
        log.warning("passed over a line of the journal of aliases that is cut short", line=line[:80])
        return None


def _who() -> str:
    run = os.environ.get("HEADRACE_OWNER")  # Airflow's DAG run
    return f"{user_name()}@{socket.gethostname()}" + (f" for {run}" if run else "")
