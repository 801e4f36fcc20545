"""The names of what a finished training leaves in its results folder."""

from pathlib import Path

from headrace.pipelines.paths import PipelinePaths

MODEL = "model.keras"
CHECKPOINT = "checkpoint"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
HISTORY = "history.csv"


def destinations(results: Path, paths: PipelinePaths) -> dict[Path, Path]:
    """Return, for each thing in a results folder, its place in the artifact tree."""
    return {
        results / CHECKPOINT: paths.checkpoint,
        results / CHECKPOINTS: paths.checkpoints,
        results / TENSORBOARD: paths.tensorboard,
        results / HISTORY: paths.history,
        results / MODEL: paths.model,
    }
