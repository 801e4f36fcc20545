"""Normalize: fit the transforms on training examples only, apply them to all."""

import structlog

from components.examples.shards import scan, write
from components.examples.splits import assign_split
from components.transforms.apply import apply
from components.transforms.check import check
from components.transforms.fit import fit
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths
from pipelines.storage.atomic import replace_folder

log = structlog.get_logger()


def normalize(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write data/<pipeline>/normalized: every example, transformed, and statistics.json."""
    check(pipeline.ingest.features, pipeline.normalize.transforms)
    examples = scan(paths.examples)
    given = "given_split" in examples.collect_schema()
    # The split stage assigns rows by the same function, so no row that this fit sees is ever validated or tested on.
    split_of = assign_split(**pipeline.split.model_dump(), given=given)
    fitted = fit(
        examples.filter(split_of == "train"),
        features=pipeline.ingest.features,
        transforms=pipeline.normalize.transforms,
        label=pipeline.ingest.label,
        label_transform=pipeline.normalize.label,
    )
    with replace_folder(paths.normalized) as folder:
        write(apply(examples, fitted), folder)
        (folder / paths.statistics.name).write_text(fitted.model_dump_json(indent=2) + "\n", encoding="utf-8")
    width = sum(feature.width for feature in fitted.features.values())
    log.info("normalized", training_examples=fitted.training_examples, features=len(fitted.features), width=width)
