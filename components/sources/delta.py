"""Delta Lake tables (https://delta.io), by a version, through the reader of delta-rs (Rust)."""

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.sources.delta_reader import DeltaJob, DeltaOutcome
from headrace.components.sources.s3_access import FindAccess, S3Access, is_s3, place_of
from headrace.components.sources.table_versions import TablePath, TableVersionSource
from headrace.components.sources.written_rows import require_rows

_ERRORS = {one.__name__: one for one in (DataError, ParamsError, ServiceError, MemoryError)}


class DeltaSource(TableVersionSource):
    """All rows of one version of a Delta Lake table, also one with deletion vectors or column mapping."""

    kind: Literal["delta"] = "delta"
    path: TablePath
    """Folder of the table, that of `_delta_log`: absolute, or relative to the project's root; or `s3://BUCKET/PREFIX`,
    with `?endpoint_url=https://...` where the bucket is not Amazon's.
    """

    version: Annotated[int, Field(ge=0)] | None = None
    """Version to read; `null` reads the newest one, which `ingest.json` names."""

    def write(self, root: Path, find_access: FindAccess, file: Path, *, columns: Sequence[str]) -> str:
        """Write the rows of the version as one Parquet file; returns the version with the table's id.

        Raises ParamsError for a table, version or column that is not there, DataError for a damaged table and for rows
        that are not those of `sha256`, ServiceError for a bucket that can't be reached.
        """
        if importlib.util.find_spec("deltalake") is None:
            raise ParamsError("kind: delta needs a reader that is not installed: pip install 'headrace[delta]'")
        is_remote = is_s3(self.path)
        job = DeltaJob(
            table=place_of(self.path) if is_remote else str(root / self.path),
            name=self.path,
            version=self.version,
            options=_storage_options(find_access(self.path)) if is_remote else None,
            columns=tuple(columns),
            file=str(file.absolute()),
            max_bytes=self.max_bytes,
        )
        found = _read_apart(job)
        require_rows(file, self.sha256, place=self.path)
        return found


def _read_apart(job: DeltaJob) -> str:
    """Read in a process of its own: what delta-rs can't decode may end the whole process that it is in.

    Returns the version with the table's id.
    """
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "headrace.components.sources.delta_reader"],
        input=job.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGILL):
        raise DataError(f"{job.name} can't be read: its reader ended with {signal.Signals(-ended.returncode).name}")
    if ended.returncode < 0:
        killed = signal.Signals(-ended.returncode).name
        raise ServiceError(f"{job.name}: its reader was killed by {killed}: out of memory, or somebody killed it")
    if ended.returncode != 0:
        raise RuntimeError(f"the reader of {job.name} failed:\n{ended.stderr}")
    outcome = DeltaOutcome.model_validate(json.loads(ended.stdout.splitlines()[-1]))
    if outcome.errno is not None:
        raise OSError(outcome.errno, outcome.message, outcome.file)
    if outcome.error is not None:
        raise _ERRORS[outcome.error](outcome.message)
    return outcome.message


def _storage_options(access: S3Access) -> dict[str, str]:
    """Options of delta-rs, whose names are those of the crate object_store."""
    keys = {
        "aws_access_key_id": access.access_key,
        "aws_secret_access_key": access.secret_key,
        "aws_session_token": access.session_token or "",
        "aws_region": access.region,
        "aws_endpoint": access.endpoint_url,
        "aws_virtual_hosted_style_request": "false",
        "allow_http": str(access.endpoint_url.startswith("http://")).lower(),
        "max_retries": "3",
        "retry_timeout": "60s",
    }
    return {name: value for name, value in keys.items() if value}
