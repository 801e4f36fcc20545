"""Predict the files of a folder or bucket, a part for each: what is there already is not made again."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import structlog

from headrace.components.errors import DataError, ParamsError
from headrace.components.files.digests import file_digest
from headrace.components.mapping import Map
from headrace.components.numerics import NUMERICS
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.any_source import is_table
from headrace.components.sources.file import is_image
from headrace.components.sources.file_set import matching_files
from headrace.components.sources.other_files import OtherFiles, should_report
from headrace.pipelines.artifacts.artifact import text_of
from headrace.pipelines.artifacts.prediction_parts import (
    MANIFEST,
    ORIGIN,
    RECORDS,
    PartRecord,
    PartsManifest,
    PartsOrigin,
    model_key,
    record_key,
)
from headrace.pipelines.commands.inference.prediction_part import (
    Part,
    PartResult,
    PartsJob,
    predict_part,
    read_part_record,
    upload_text,
)
from headrace.pipelines.commands.inference.predictions import require_predictions
from headrace.pipelines.object_store.objects import Storage, open_storage
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import require_version, version_file

IMAGES_A_PART = 1024
_IMAGES = "images-"  # begins the names of parts of images
_SHOWN = 5

log = structlog.get_logger()


def predict_parts(  # noqa: PLR0913 - each by its keyword
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    input_place: str,
    output_place: str,
    alias: str,
    map_: Map,
    share_model: bool,
    submission: bool = False,
    keep_inputs: bool = False,
) -> PartsManifest:
    """Write predictions of every file of a folder or bucket, one Parquet file each, and a manifest of them.

    Of images, a part has those of up to 1,024 files. A part whose record names the same inputs, and which is whole, is
    left as it is. With `share_model` the model goes through the output's storage, for nodes without this disk. Raises
    DataError, after all others are written, where inputs can't be predicted, and ParamsError for an output of another
    version or input.
    """
    require_predictions(pipeline)
    storage, parts = open_storage(output_place), _parts(pipeline, input_place)
    version = require_version(paths.root, pipeline.name, alias)
    model = version_file(paths.root, pipeline.name, version)
    origin = PartsOrigin(
        pipeline=pipeline.name,
        version=version.number,
        model_sha256=file_digest(model),
        input=input_place,
        settings_sha256=_settings_digest(pipeline, submission=submission, keep_inputs=keep_inputs),
    )
    _claim(storage, origin, output_place)
    if share_model:
        storage.upload(model_key(origin.model_sha256), model)
    job = PartsJob(
        pipeline=pipeline,
        root=str(paths.root),
        origin=origin,
        input=input_place,
        output=output_place,
        model=None if share_model else str(model),
        submission=submission,
        keep_inputs=keep_inputs,
    )
    return _predict(job, parts, storage, map_=map_)


def _predict(job: PartsJob, parts: Sequence[Part], storage: Storage, *, map_: Map) -> PartsManifest:
    """Make the parts that are missing, and then the manifest, which there is none of while any is."""
    storage.remove(MANIFEST)
    results = []
    for result in map_(partial(predict_part, job), parts):
        _log(result)
        results.append(result)
    _require_all(results)
    records = sorted([*(one.record for one in results if one.record), *_earlier(storage, parts)], key=_by_name)
    manifest = PartsManifest(**job.origin.model_dump(), rows=sum(one.rows for one in records), parts=tuple(records))
    upload_text(storage, MANIFEST, text_of(manifest))
    storage.remove(model_key(job.origin.model_sha256))
    made = sum(not one.was_there for one in results)
    log.info("predicted", rows=manifest.rows, parts=len(records), made=made, output=job.output)
    return manifest


def _parts(pipeline: Pipeline, place: str) -> list[Part]:
    """The parts that the files of a folder or bucket make; files that are neither tables nor images are reported."""
    versions = open_storage(place).versions("")
    names, others = matching_files(versions, pattern="**/*"), OtherFiles()
    tables = [name for name in names if is_table(name)]
    images = [name for name in names if is_image(name)]
    for name in set(names) - {*tables, *images}:
        others.count(name)
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    if tables and images:
        raise ParamsError(
            f"{place} has tables and images, such as {tables[0]} and {images[0]}; give a folder of either"
        )
    if images and not ImageFeature.among(features):
        raise ParamsError(
            f"{place} has images, and the model takes rows with {', '.join(pipeline.normalize.transforms)}"
        )
    if noted := should_report(others.counts):
        log.warning("files that are neither tables nor images by their names were left out", files=noted)
    if not names or not (tables or images):
        raise DataError(f"no files to predict in {place}; expected .csv, .parquet, .jsonl, .arrow, .tfrecord or images")
    parts = [Part(f"{name}.parquet", {name: versions[name]}) for name in tables]
    for start in range(0, len(images), IMAGES_A_PART):
        some = images[start : start + IMAGES_A_PART]
        parts.append(Part(f"{_IMAGES}{start:09d}.parquet", {name: versions[name] for name in some}))
    return parts


def _settings_digest(pipeline: Pipeline, **options: bool) -> str:
    """Digest of all that predictions depend on besides rows and model."""
    features = {name: pipeline.ingest.features[name].model_dump(mode="json") for name in pipeline.normalize.transforms}
    source = pipeline.ingest.source.model_dump(mode="json")
    how = {name: source.get(name) for name in ("kind", "separator", "null_values")}
    columns = [file.get("columns") for part in source.get("parts", ()) for file in part.get("files", ())]
    label = pipeline.ingest.label.model_dump(mode="json")
    described = [features, list(pipeline.ingest.key), label, how, columns, options, NUMERICS["ingest"]]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _claim(storage: Storage, origin: PartsOrigin, place: str) -> None:
    """Write whose parts these are, or raise ParamsError where they are another's."""
    text = text_of(origin).encode()
    if storage.create(ORIGIN, text) or (found := storage.read(ORIGIN)) == text:
        return
    there = _described(found)
    raise ParamsError(
        f"{place} has parts of {there}, and not of {origin.pipeline} version {origin.version} and {origin.input} with "
        "these settings: every row would not be there once; give another --output, or remove that one"
    )


def _described(content: bytes | None) -> str:
    try:
        found = json.loads(content or b"")
        return f"{found['pipeline']} version {found['version']} and {found['input']}"
    except (ValueError, KeyError, TypeError):
        return "another prediction"


def _log(result: PartResult) -> None:
    for warning in result.warnings:
        log.warning(warning, part=result.part)
    if result.record is not None:
        log.info("kept" if result.was_there else "predicted", part=result.part, rows=result.record.rows)


def _require_all(results: Sequence[PartResult]) -> None:
    problems = [one.problem for one in results if one.problem]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{len(problems)} of {len(results)} parts can't be predicted, the others are written and kept; fix or "
            f"remove these inputs, and run again: {'; '.join(problems[:_SHOWN])}{more}"
        )


def _earlier(storage: Storage, parts: Sequence[Part]) -> Iterator[PartRecord]:
    """Records of parts whose input is no longer there. Those of images go: their rows are in other parts now."""
    present = {record_key(part.name) for part in parts}
    for key in storage.keys(RECORDS):
        if key in present:
            continue
        part = key.removeprefix(RECORDS).removesuffix(".json")
        if part.startswith(_IMAGES):
            storage.remove(part)
            storage.remove(key)
        elif (record := read_part_record(storage, part)) is not None:
            log.warning("the input of a part is no longer there; its predictions stay", part=part)
            yield record


def _by_name(record: PartRecord) -> str:
    return record.part


def place_of(text: str) -> str:
    """The address of a folder or bucket: a path becomes a full one."""
    return text if text.startswith("s3://") else str(Path(text).resolve())


def require_apart(input_place: str, output_place: str) -> None:
    """Raise ParamsError where parts would be among the files that are read, or the other way round."""
    ours, theirs = (place.partition("?")[0].rstrip("/") + "/" for place in (output_place, input_place))
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise ParamsError(f"--output {output_place} and --input {input_place} lie in each other: give one beside it")
