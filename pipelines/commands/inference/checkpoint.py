"""What a checkpoint's model says, without training: for `headrace predict` and `headrace evaluate`."""

import json
from pathlib import Path

import typer

from headrace.components.errors import DataError, ParamsError
from headrace.components.serving_model.saved_model import Model
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.artifacts.run_record import read_run, require_same_data
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.code_digests import own_code


def evaluate_checkpoint(pipeline: Pipeline, paths: PipelinePaths, *, named: str) -> None:
    """Print a checkpoint's metrics as JSON, on the rows that `evaluate` measures on; nothing is written anywhere."""
    checkpoint = read_checkpoint(paths, named)
    from headrace.pipelines.stages.evaluate import measured, outcome_of

    examples = measured(pipeline, paths)
    outcome = outcome_of(examples, checkpoint_model(pipeline, paths, checkpoint), pipeline, paths)
    state, split = checkpoint.state, {"split": pipeline.split.measured_on, "examples": examples.height}
    typer.echo(json.dumps({"step": state.step, "epoch": state.epoch, **split, **outcome.metrics}, indent=2))


def read_checkpoint(paths: PipelinePaths, named: str) -> Checkpoint:
    """Read the last training's checkpoint of step `named`, or the checkpoint in the folder of this name.

    Raises ParamsError where there is none, DataError where it is damaged, or of other data than there is now.
    """
    folder = checkpoints.step_folder(paths.checkpoints, int(named)) if named.isdecimal() else Path(named)
    if not folder.is_dir():
        there_are = [str(int(one.name.partition("-")[2])) for one in sorted(paths.checkpoints.glob("step-*"))]
        steps = f"steps there: {', '.join(there_are)}" if there_are else f"run `headrace train {paths.pipeline}` first"
        raise ParamsError(
            f"--checkpoint {named}: expected a checkpoint's folder or a step of {paths.checkpoints}; {steps}"
        )
    if folder.resolve().is_relative_to(paths.checkpoints.parent.resolve()):
        require_same_data(paths, read_run(paths))  # it has no normalization inside
    try:
        return checkpoints.load(folder)
    except ValueError as error:
        raise DataError(str(error)) from error


def checkpoint_model(pipeline: Pipeline, paths: PipelinePaths, checkpoint: Checkpoint) -> Model:
    """A model that takes raw rows, with the weights of the checkpoint's own step, not of the best epoch."""
    from headrace.components.training.restored_model import restored_model
    from headrace.pipelines.fetching.pretrained import fetch_pretrained

    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    code = own_code(paths.root, pipeline)
    with code.importable():
        model: Model = restored_model(
            checkpoint.weights,
            model=pipeline.train.model,
            fitted=fitted,
            statistics=paths.statistics,
            code=code,
            pretrained=fetch_pretrained(pipeline, paths),
        )[0]
    return model
