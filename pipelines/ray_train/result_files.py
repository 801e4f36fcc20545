"""Files and folders that a finished training writes to its results folder, and where they go from there."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from headrace.components.files.atomic import replace_file, replace_folder
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


def copy_into_place(destinations: Mapping[Path, Path]) -> None:
    """Copy files and folders to their destinations, each of which appears whole."""
    for source, destination in destinations.items():
        if source.is_dir():
            with replace_folder(destination) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            with replace_file(destination) as file:
                shutil.copyfile(source, file)
