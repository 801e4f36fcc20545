"""Which version of a model made which file of predictions, of which input: a line each."""

import os
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from headrace.components.files.digests import file_digest
from headrace.components.schema.settings import Settings
from headrace.pipelines.host.private import make_private
from headrace.pipelines.host.user import user_name
from headrace.pipelines.tracking.server import home_of

log = structlog.get_logger()


class PredictionFile(Settings):
    """One file of predictions. An input that is a folder has no digest."""

    time: str
    user: str
    model: str
    version: int
    input: str
    input_sha256: str | None
    output: str
    output_sha256: str
    rows: int


def keep_predictions(root: Path, *, model: str, version: int, input_file: Path, output_file: Path, rows: int) -> None:
    """Add a file of predictions to the project's journal."""
    made = PredictionFile(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        user=user_name(),
        model=model,
        version=version,
        input=str(input_file.resolve()),
        input_sha256=file_digest(input_file) if input_file.is_file() else None,
        output=str(output_file.resolve()),
        output_sha256=file_digest(output_file),
        rows=rows,
    )
    journal = home_of(root).prediction_journal
    make_private(journal.parent)
    with journal.open("ab") as lines:  # a line starts with a line break: one that was cut short does not spoil the next
        lines.write(f"\n{made.model_dump_json()}\n".encode())
        lines.flush()
        os.fsync(lines.fileno())


def predictions_of_version(root: Path, model: str, version: int) -> list[PredictionFile]:
    """Files of predictions that a version made, oldest first; of several at one path the newest."""
    journal = home_of(root).prediction_journal
    lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.is_file() else []
    found = [made for line in filter(None, lines) if (made := _parsed(line))]
    newest = {made.output: made for made in found}  # a path that another version has written to since is that one's
    return [made for made in newest.values() if (made.model, made.version) == (model, version)]


def _parsed(line: str) -> PredictionFile | None:
    try:
        return PredictionFile.model_validate_json(line)
    except ValidationError:
        log.warning("passed over a line of the journal of predictions that is cut short", line=line[:80])
        return None
