"""One part of predictions: a file, or some images, of a folder or bucket in; a Parquet file beside its record out.

It may run on any node: all that it needs is in its settings, in the storage, or on the disk of the driver's machine.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.files.digests import file_digest
from headrace.components.files.tables import write_parts
from headrace.components.serving_model.saved_model import Model, load_model
from headrace.pipelines.artifacts.artifact import text_of
from headrace.pipelines.artifacts.prediction_parts import InputFile, PartRecord, PartsOrigin, model_key, record_key
from headrace.pipelines.artifacts.predictions_table import write_predictions_table
from headrace.pipelines.commands.inference.prediction_input import open_images, open_input
from headrace.pipelines.commands.inference.predictions import for_submission, predicted
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.object_store.objects import Storage, open_storage
from headrace.pipelines.params import Pipeline
from headrace.pipelines.project.trusted_code import code_of_project


@dataclass(frozen=True)
class PartsJob:
    """What all parts have in common. The model's file is at `model`, or in the output's storage where that is None."""

    pipeline: Pipeline
    root: str
    origin: PartsOrigin
    input: str
    output: str
    model: str | None
    submission: bool = False
    keep_inputs: bool = False


@dataclass(frozen=True)
class Part:
    """A part by its name, and the files that it is of, with the storage's texts for their content."""

    name: str
    inputs: Mapping[str, str | None]


@dataclass(frozen=True)
class PartResult:
    """What became of a part: its record, or the problem of its input. `was_there` if it had nothing to do."""

    part: str
    record: PartRecord | None = None
    was_there: bool = False
    problem: str = ""
    warnings: tuple[str, ...] = ()


def predict_part(job: PartsJob, part: Part) -> PartResult:
    """Predict a part unless it is there; its record is written after it, so what was cut short is made again.

    A problem of its input is returned. Raises ServiceError, and DataError for a model that is not the registered one.
    """
    storage = open_storage(job.output)
    record = read_part_record(storage, part.name)
    if record is not None and not _is_whole(storage, record):
        record = None
    if record is not None and _has_versions(record, part):
        return PartResult(part.name, record, was_there=True)
    with _fetched(job, part) as files:
        states = {name: _state(file) for name, file in files.items()}
        inputs = tuple(
            InputFile(name=name, sha256=file_digest(file), version=part.inputs[name]) for name, file in files.items()
        )
        if record is not None and _contents(record.inputs) == _contents(inputs):
            return PartResult(part.name, record, was_there=True)
        model = _loaded(job.model, job.output, job.origin.model_sha256, job.root)
        warnings: list[str] = []
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            file = Path(folder) / "part.parquet"
            try:
                rows = _write(job, part, files, model, file, warnings)
            except (DataError, ParamsError) as error:
                return PartResult(part.name, problem=_in_one_line(part, error))
            _require_unchanged(files, states)
            record = PartRecord(part=part.name, sha256=file_digest(file), rows=rows, inputs=inputs)
            storage.upload(part.name, file)
            upload_text(storage, record_key(part.name), text_of(record))
    return PartResult(part.name, record, warnings=tuple(warnings))


def upload_text(storage: Storage, key: str, text: str) -> None:
    """Make `key` hold a text."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(folder) / "text"
        file.write_text(text, encoding="utf-8")
        storage.upload(key, file)


def read_part_record(storage: Storage, part: str) -> PartRecord | None:
    """The record of a part; None where there is none, or a damaged one."""
    content = storage.read(record_key(part))
    try:
        return None if content is None else PartRecord.model_validate_json(content)
    except ValidationError:
        return None


def _write(job: PartsJob, part: Part, files: Mapping[str, Path], model: Model, file: Path, warnings: list[str]) -> int:
    """Write the predictions of some files; the number of rows."""
    [first, *_] = files.values()
    is_table = part.name == f"{next(iter(files))}.parquet"
    rows = open_input(job.pipeline, first) if is_table else open_images(job.pipeline, files)
    made = predicted(job.pipeline, rows, model)
    if job.keep_inputs:
        origin = job.origin
        count = write_predictions_table(
            file, made, pipeline=origin.pipeline, version=origin.version, sha256=origin.model_sha256, of=part.name
        )
    else:
        tables = (one.origin for one in made)
        if job.submission:
            tables = (for_submission(job.pipeline, table) for table in tables)
        count = write_parts(tables, file)
    rows.counts.report(warnings.append)
    return count


def _in_one_line(part: Part, error: Exception) -> str:
    """The problem of an input, with its name, which readers call by the last part alone."""
    problem, names = " ".join(str(error).split()), list(part.inputs)
    return problem if len(names) > 1 or names[0] in problem else f"{names[0]}: {problem}"


@contextmanager
def _fetched(job: PartsJob, part: Part) -> Iterator[dict[str, Path]]:
    """The files of a part, where they lie or, of a bucket, in a folder that goes with the block."""
    if not job.input.startswith("s3://"):
        yield {name: Path(job.input) / name for name in part.inputs}
        return
    storage = open_storage(job.input)
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        files = {}
        for place, name in enumerate(part.inputs):
            files[name] = Path(folder) / str(place) / Path(name).name
            files[name].parent.mkdir()
            if not storage.download(name, files[name]):
                raise ServiceError(f"{job.input}: {name} was removed while it was read; run again")
        yield files


def _require_unchanged(files: Mapping[str, Path], states: Mapping[str, tuple[int, int]]) -> None:
    """Raise ServiceError for a file that was changed while it was read: its digest is another one's."""
    if changed := [name for name, file in files.items() if _state(file) != states[name]]:
        raise ServiceError(f"{changed[0]} was changed while it was read; run again")


def _state(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError as error:
        raise ServiceError(f"{file} was removed while it was read; run again") from error
    return found.st_size, found.st_mtime_ns


def _contents(inputs: Sequence[InputFile]) -> list[tuple[str, str]]:
    return [(one.name, one.sha256) for one in inputs]


def _has_versions(record: PartRecord, part: Part) -> bool:
    """Whether the storage says that the inputs are those of the record, so that they need not be read."""
    versions = {one.name: one.version for one in record.inputs}
    return None not in versions.values() and versions == part.inputs


def _is_whole(storage: Storage, record: PartRecord) -> bool:
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(folder) / "part.parquet"
        return storage.download(record.part, file) and file_digest(file) == record.sha256


@cache
def _loaded(local: str | None, storage: str, sha256: str, project: str) -> Model:
    """The model, loaded once in each process, after its file's digest was found to be the registered one's."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(local) if local else Path(folder) / "model.keras"
        if not local and not open_storage(storage).download(model_key(sha256), file):
            raise ServiceError(f"{storage} has no {model_key(sha256)}, which the driver puts there; run again")
        if (found := file_digest(file)) != sha256:
            raise DataError(f"{file.name} is not the model that was registered: expected {sha256}, found {found}")
        import_tensorflow()
        # A node may have the project's code in another folder than the driver.
        root = Path(project) if Path(project).is_dir() else Path.cwd()
        return load_model(file, may_run=code_of_project(root))
