"""Names of the files and folders that a finished training writes to its results folder."""

from pathlib import Path

from headrace.pipelines.paths import PipelinePaths

MODEL = "model.keras"
CHECKPOINT = "checkpoint"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
HISTORY = "history.csv"


def destinations(results: Path, paths: PipelinePaths) -> dict[Path, Path]:
    """The place in the artifact tree of each file and folder of a results folder."""
    return {
        results / CHECKPOINT: paths.checkpoint,
        results / CHECKPOINTS: paths.checkpoints,
        results / TENSORBOARD: paths.tensorboard,
        results / HISTORY: paths.history,
        results / MODEL: paths.model,
    }
