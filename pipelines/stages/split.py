"""Split: write train, validation and test by example id."""

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import structlog

from components.errors import DataError
from components.examples.settings import CategoryLabel, Label
from components.examples.shards import digest, scan, sink
from components.examples.splits import SPLITS, assign_split
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths
from pipelines.storage.atomic import replace_folder

log = structlog.get_logger()


def split(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write data/<pipeline>/splits: a folder each for train, validation and test, and manifest.json.

    Raises DataError for an empty split, and for a class that no training example has.
    """
    examples = scan(paths.normalized)
    columns = examples.collect_schema().names()
    given = "given_split" in columns
    assigned = examples.with_columns(assigned_split=assign_split(**pipeline.split.model_dump(), given=given))
    kept = [column for column in columns if column != "given_split"]
    with replace_folder(paths.splits) as folder:
        sinks = [sink(assigned.filter(assigned_split=name).select(kept), folder / name) for name in SPLITS.categories]
        pl.collect_all(sinks, engine="streaming")  # together, so that the table is read and assigned only once
        manifest = _manifest(folder, pipeline)
        (folder / paths.manifest.name).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    log.info("split", **{name: summary["examples"] for name, summary in manifest["splits"].items()})


def _manifest(folder: Path, pipeline: Pipeline) -> dict[str, Any]:
    label = pipeline.ingest.label
    splits = {name: _summary(folder / name, label) for name in SPLITS.categories}
    _check(splits, label)
    digests = "".join(f"{summary['digest']} {name}\n" for name, summary in splits.items())
    return {
        "pipeline": pipeline.name,
        "seed": pipeline.split.seed,
        "digest": hashlib.sha256(digests.encode()).hexdigest(),
        "splits": splits,
    }


def _summary(folder: Path, label: Label) -> dict[str, Any]:
    labels = scan(folder).select("label")
    summary = {"examples": labels.select(pl.len()).collect().item(), "digest": digest(folder)}
    if isinstance(label, CategoryLabel):
        counts = dict(labels.group_by("label").len().collect(engine="streaming").iter_rows())
        summary["classes"] = {str(index): counts.get(index, 0) for index in range(len(label.classes))}
    return summary


def _check(splits: dict[str, dict[str, Any]], label: Label) -> None:
    for name, summary in splits.items():
        if summary["examples"] == 0:
            raise DataError(f"the {name} split is empty; {_MEND[name]}, or bring more data")
    if isinstance(label, CategoryLabel):
        counts = splits["train"]["classes"]
        missing = [name for index, name in enumerate(label.classes) if counts[str(index)] == 0]
        if missing:
            raise DataError(
                f"no training example has {label.name} {', '.join(map(repr, missing))}; bring more data, "
                "try another split.seed, hold out a smaller share, or take the class out of ingest.label.classes"
            )


_MEND = {
    "train": "lower split.validation_fraction or split.test_fraction",
    "validation": "raise split.validation_fraction",
    "test": "raise split.test_fraction",
}
