"""The weights that a model of a file starts from, on this machine: the right ones, whole, and of a kind Keras reads."""

import shutil
from pathlib import Path

from headrace.components.errors import DataError
from headrace.components.files.atomic import replace_file, replace_folder
from headrace.components.files.digests import content_digest
from headrace.components.models.pretrained_weights import WeightsFile, require_weights
from headrace.components.models.settings import OwnModel
from headrace.pipelines.fetching.fetch import fetch, sha256_of
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths


def fetch_pretrained(pipeline: Pipeline, paths: PipelinePaths) -> Path | None:
    """What `train.model.weights` names, in a folder named by its content; None where it names nothing.

    A training reads it there, whatever becomes of the project's file meanwhile. Raises ServiceError where it can't be
    had, DataError where it is missing or is another one than params.yaml says.
    """
    model = pipeline.train.model
    if not isinstance(model, OwnModel) or model.weights is None:
        return None
    if not isinstance(model.weights, WeightsFile):
        return _kept(paths.root / model.weights, paths)
    folder = paths.weights / model.weights.sha256
    place = fetch(model.weights, dataset="weights", folder=folder, aside=paths.refused, root=paths.root)
    require_weights(place)
    return place


def _kept(given: Path, paths: PipelinePaths) -> Path:
    """A copy of a file or folder of the project, by its content."""
    if not given.exists():
        name = given.relative_to(paths.root)
        raise DataError(f"train.model.weights: no such file or folder in the project: {name}")
    require_weights(given)
    digest = content_digest(given) if given.is_dir() else sha256_of(given)  # of a file, once in a process
    place = paths.weights / digest / given.name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if given.is_dir():
            with replace_folder(place) as folder:
                shutil.copytree(given, folder, dirs_exist_ok=True)
        else:
            with replace_file(place) as file:
                shutil.copyfile(given, file)
    return place
