"""`headrace check`: what would end a run later, tried now."""

import typer

from headrace.components.models.settings import OwnModel
from headrace.components.sources.own_rows.source import PythonSource
from headrace.pipelines.commands.arguments import PipelineName, load
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.code_digests import own_code, source_code


def check(pipeline: PipelineName) -> None:
    """Read a pipeline's settings and own code; build its model of a file, save it and load it again.

    The file of its source is imported, but gives no rows.
    """
    settings, paths = load(pipeline)
    typer.echo(f"params.yaml: {pipeline} fits together")
    if isinstance(settings.ingest.source, PythonSource):
        _check_own_source(settings, settings.ingest.source, paths)
    if isinstance(settings.train.model, OwnModel):
        _check_own_model(settings, settings.train.model, paths)


def _check_own_source(pipeline: Pipeline, source: PythonSource, paths: PipelinePaths) -> None:
    code = source_code(paths.root, pipeline)
    typer.echo(f"source: {', '.join(code.sources)}")
    if reason := source.missing_interval(code):
        typer.echo(f"source: not called, {reason}")
        return
    with code.importable():
        source.checked_call(code)


def _check_own_model(pipeline: Pipeline, model: OwnModel, paths: PipelinePaths) -> None:
    code = own_code(paths.root, pipeline)
    typer.echo(f"code: {', '.join(code.sources)}")
    if not paths.statistics.is_file():
        typer.echo(f"model: not built, its inputs are known after `headrace normalize {pipeline.name}`")
        return
    import_tensorflow()  # takes seconds, which a mistake above should not cost
    from headrace.components.models.build import parameter_count
    from headrace.components.training.own_model_check import require_saveable
    from headrace.components.transforms.fitted_table import FittedTable

    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    with code.importable():
        built = require_saveable(model, code, fitted=fitted, statistics=paths.statistics)
    typer.echo(f"model: {parameter_count(built):,} weights, gives the same after it was saved and loaded again")
