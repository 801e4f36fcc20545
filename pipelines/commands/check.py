"""`headrace check`: what would end a run later, tried now."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.components.files.digests import content_digest
from headrace.components.models.settings import OwnModel
from headrace.components.sources.own_rows.source import PythonSource
from headrace.components.sources.sql.source import SqlSource
from headrace.components.transforms.own_transform import Python
from headrace.components.transforms.transform import Transform
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.fetching.databases import database_address
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.code_digests import own_code, source_code, transform_code

if TYPE_CHECKING:
    from headrace.components.transforms.fitted_table import FittedTable


Leaks = Annotated[
    bool,
    typer.Option(
        "--leaks", help="Also fit the transforms to the data twice, with other held-out rows the second time."
    ),
]


def check(pipeline: PipelineName, leaks: Leaks = False) -> None:
    """Read a pipeline's settings and own code; build its model of a file, save it and load it again.

    The file of its source is imported, but gives no rows; of a query, the address of its database must be known.
    Classes of its transforms are fitted to made-up numbers.
    """
    settings, paths = load(pipeline)
    typer.echo(f"params.yaml: {pipeline} fits together")
    if isinstance(settings.ingest.source, PythonSource):
        _check_own_source(settings, settings.ingest.source, paths)
    if isinstance(settings.ingest.source, SqlSource):
        database_address(settings.ingest.source.connection)
        typer.echo(f"source: {settings.ingest.source.query}")
    if transforms := transform_code(paths.root, settings).sources:
        own = {
            name: steps
            for name, steps in settings.normalize.transforms.items()
            if any(isinstance(step, Python) for step in steps)
        }
        _table_of_schema(settings, paths, transforms=own)
        typer.echo(f"transforms: {', '.join(transforms)}")
    if leaks:
        from headrace.pipelines.stages.normalize import require_no_leak

        examples = require_no_leak(settings, paths)
        typer.echo(f"leaks: none, {examples:,} training examples fit the same whatever is held out")
    if isinstance(settings.train.model, OwnModel):
        typer.echo(f"code: {', '.join(own_code(paths.root, settings).sources)}")
        weights = build_own_model_early(settings, settings.train.model, paths)
        if weights is None:
            typer.echo(f"model: not built, its inputs are known after `headrace normalize {pipeline}`")
        else:
            typer.echo(f"model: {weights:,} weights, gives the same after it was saved and loaded again")


def _check_own_source(pipeline: Pipeline, source: PythonSource, paths: PipelinePaths) -> None:
    code = source_code(paths.root, pipeline)
    typer.echo(f"source: {', '.join(code.sources)}")
    if reason := source.missing_interval(code):
        typer.echo(f"source: not called, {reason}")
        return
    with code.importable():
        source.checked_call(code)


def require_own_model(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Build a model of a file before any work, if it was not trained before and its inputs are known already.

    Raises ParamsError as `require_saveable` does.
    """
    model = pipeline.train.model
    if isinstance(model, OwnModel) and not _was_trained(pipeline, paths):
        typer.echo(f"{model.file}: the model is built, saved and loaded before any work", err=True)
        build_own_model_early(pipeline, model, paths)


def build_own_model_early(pipeline: Pipeline, model: OwnModel, paths: PipelinePaths) -> int | None:
    """Number of weights of the model, which was built, saved and loaded; None where its inputs are not known yet.

    The shapes of its inputs are those of `headrace normalize`, if that has run with these settings, else those that
    follow from the schema. Pretrained weights are fetched in any case. Raises as `require_saveable` and
    `fetch_pretrained` do.
    """
    from headrace.pipelines.fetching.pretrained import fetch_pretrained

    pretrained, optimizer = fetch_pretrained(pipeline, paths), pipeline.train.optimizer
    transforms = pipeline.normalize.transforms
    fitted = _fitted_before(pipeline, paths) or _table_of_schema(pipeline, paths, transforms=transforms)
    if fitted is None:
        return None
    import_tensorflow()  # takes seconds, which a mistake above should not cost
    from headrace.components.models.build import parameter_count
    from headrace.components.training.own_model_check import require_saveable

    code = own_code(paths.root, pipeline)
    with code.importable():
        checked = require_saveable(
            model,
            code,
            fitted=fitted,
            statistics=paths.statistics,
            pretrained=pretrained,
            rates=optimizer.rates if optimizer else (),
            epochs=pipeline.train.epochs,
        )
        return parameter_count(checked)


def _table_of_schema(
    pipeline: Pipeline, paths: PipelinePaths, *, transforms: Mapping[str, Sequence[Transform]]
) -> "FittedTable | None":
    from headrace.components.transforms.schema_table import table_of_schema

    return table_of_schema(
        pipeline.ingest.features,
        transforms=transforms,
        label=pipeline.ingest.label,
        label_transform=pipeline.normalize.label,
        code=transform_code(paths.root, pipeline),
    )


def _fitted_before(pipeline: Pipeline, paths: PipelinePaths) -> "FittedTable | None":
    """What `headrace normalize` has fitted, if it was of these features, transforms and label."""
    from headrace.components.transforms.fitted_table import FittedTable

    if not paths.statistics.is_file():
        return None
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    transforms = pipeline.normalize.transforms
    wanted = {
        name: (pipeline.ingest.features[name], [step.kind for step in steps]) for name, steps in transforms.items()
    }
    if transform_code(paths.root, pipeline).sources:
        return None  # the classes may be others now
    found = {name: (one.feature, [step.kind for step in one.transforms]) for name, one in fitted.features.items()}
    return fitted if found == wanted and fitted.label == pipeline.ingest.label else None


def _was_trained(pipeline: Pipeline, paths: PipelinePaths) -> bool:
    """Whether the last training was of this model, code and inputs; it checked them before its first step."""
    if not paths.run.is_file() or _fitted_before(pipeline, paths) is None:
        return False
    from headrace.pipelines.fetching.pretrained import fetch_pretrained
    from headrace.pipelines.remote_training.provenance import deciding_settings

    identity = read_run(paths).identity
    settings = deciding_settings(pipeline.train)
    code = own_code(paths.root, pipeline)
    found = (identity["train"]["model"], identity["code"], identity["statistics"], identity.get("weights"))
    pretrained = fetch_pretrained(pipeline, paths)
    weights = content_digest(pretrained) if pretrained else None
    return found == (settings["model"], code.digests, file_digest(paths.statistics), weights)
