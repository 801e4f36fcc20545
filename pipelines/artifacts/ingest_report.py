"""ingest.json: what was read of the source, what was kept, and what was left out and why."""

from typing import ClassVar, Literal

from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.artifact import Artifact, Omittable


class FileRecord(Settings):
    """One file of the source as it was read; `version` is of the table that its rows are of."""

    name: str
    bytes: int
    sha256: str
    version: Omittable[str] = None


class IngestReport(Artifact):
    """One ingest. `train_rows` and `test_rows` are of a source that gives the split itself."""

    unversioned: ClassVar[int] = 1  # files written before there were versions

    format_version: Literal[1] = 1
    rows_read: int
    rows_rejected: int
    rows_kept: int
    rows_left_out: int
    duplicate_rows: int
    train_rows: Omittable[int] = None
    test_rows: Omittable[int] = None
    rejected_by_reason: dict[str, int]
    files_left_out: Omittable[dict[str, int]] = None
    files: tuple[FileRecord, ...]  # a list, because DVC shows what is in a dict as metrics
