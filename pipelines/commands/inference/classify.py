"""Predict with a network that others have trained: photos in, the names of what is on them out."""

from functools import partial
from pathlib import Path

import structlog

from headrace.components.errors import ParamsError
from headrace.components.models.classifier_settings import Classifier
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.serving_model.images import image_blocks, warn_of_stretched
from headrace.pipelines.commands.inference.prediction_input import image_files
from headrace.pipelines.commands.inference.prediction_output import check_output, deliver
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.fetching.fetch import fetch
from headrace.pipelines.host.usable_cores import usable_cores
from headrace.pipelines.paths import PipelinePaths

log = structlog.get_logger()


def classify(
    classifier: Classifier,
    paths: PipelinePaths,
    *,
    input_file: Path,
    output_file: Path | None,
    top: int,
    escape_formulas: bool,
) -> None:
    """Name the most probable classes of a photo, or of each in a folder, with their scores.

    The result goes to `output_file` (.csv or .parquet) or to standard output. The network and its labels are fetched
    once. Raises ParamsError, DataError and ServiceError.
    """
    check_output(output_file)
    if not input_file.exists():
        raise ParamsError(f"no file {input_file}")
    files = image_files(input_file)
    fetch_pinned = partial(fetch, dataset="weights", root=paths.root, folder=paths.weights, aside=paths.refused)
    weights, labels = fetch_pinned(classifier.network.weights), fetch_pinned(classifier.labels)
    import_tensorflow()
    from headrace.components.models.classifiers import open_network, read_names, top_classes

    network = open_network(classifier.network, weights.read_bytes())
    feature = ImageFeature(height=network.height, width=network.width, channels=3, resize=classifier.resize)
    scores, stretched = [], []
    for block in image_blocks(files, name="photo", feature=feature, threads=usable_cores()):
        stretched += block.stretched
        photos = block.pixels.to_numpy().reshape(-1, *feature.shape).astype("float32")
        scores += [network.scores(photo) for photo in photos]
    warn_of_stretched(stretched, len(files), feature, warn=log.warning)
    names = read_names(labels.read_text(encoding="utf-8"), classes=len(scores[0]))
    named = top_classes([file.name for file in files], scores, names, top=top)
    deliver([named], output_file, escape_formulas=escape_formulas)
