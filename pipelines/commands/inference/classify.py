"""Predict with a network that others have trained: photos in, the names of what is on them out."""

from functools import partial
from pathlib import Path

import structlog

from headrace.components.errors import ParamsError
from headrace.components.models.classifier_settings import Classifier
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.serving_model.images import read_images
from headrace.pipelines.commands.inference.predictions import check_output, deliver, image_files
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.fetching.fetch import fetch
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
    photos = read_images(files, name="photo", feature=feature, warn=log.warning).to_numpy()
    scores = [network.scores(photo.reshape(feature.shape).astype("float32")) for photo in photos]
    names = read_names(labels.read_text(encoding="utf-8"), classes=len(scores[0]))
    named = top_classes([file.name for file in files], scores, names, top=top)
    deliver(named, output_file, escape_formulas=escape_formulas)
