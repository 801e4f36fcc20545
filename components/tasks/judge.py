"""A judge of generated images: a network that was trained to classify real ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.errors import DataError, TrainingError
from headrace.components.examples.held_out import examples_of
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.split_settings import Split
from headrace.components.serving_model.generate_images import generate_images, require_generator
from headrace.components.serving_model.model_inputs import model_inputs
from headrace.components.tasks.judge_settings import JudgeSettings

_BATCH, _LEARNING_RATE = 128, 0.003
_SHOWN_AT_ONCE = 1000


@dataclass(frozen=True)
class Judge:
    """A trained judge of the image feature `image`; `classes` are those of the category feature that it predicts."""

    model: Any
    classes: tuple[str, ...]
    settings: JudgeSettings
    image: tuple[str, ImageFeature]

    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32[images, classes] for raw pixels, float32[images, height, width, channels]."""
        parts = [images[begin : begin + _SHOWN_AT_ONCE] for begin in range(0, len(images), _SHOWN_AT_ONCE)]
        return np.concatenate([np.asarray(self.model(part, training=False)) for part in parts])

    def accuracy(self, examples: pl.DataFrame) -> float:
        """Return the share of rows whose class it names; they have the image and the category."""
        images, labels = _arrays(examples, self.image, by=self.settings.by, classes=self.classes)
        return float((self.probabilities(images).argmax(axis=1) == labels).mean())


def train_judge(
    examples: pl.LazyFrame,
    rows: pl.LazyFrame,
    *,
    split: Split,
    features: Mapping[str, Feature],
    image: str,
    settings: JudgeSettings | None,
) -> Judge:
    """Return a judge trained on `rows` of the examples, those of the training split: the same for the same rows.

    Raises DataError where a class has no row. It changes the seed of Keras, NumPy and Python.
    """
    import keras

    if settings is None:
        raise TypeError("no judge, which a pipeline's checks refuse")
    of_image = ImageFeature.require(features[image])
    classes = CategoryFeature.require(features[settings.by]).classes or ()
    few = rows.select("example_id").sort("example_id").head(settings.examples)  # ids are random: so are these rows
    found = examples_of(examples, few, split=split, name="train")
    images, labels = _arrays(found, (image, of_image), by=settings.by, classes=classes)
    if missing := sorted(set(range(len(classes))) - set(labels.tolist())):
        raise DataError(f"evaluate.judge: no training row has {settings.by} {classes[missing[0]]!r}")
    keras.utils.set_random_seed(settings.seed)
    model = _network(of_image, classes=len(classes))
    steps = -(-len(images) // _BATCH) * settings.epochs
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)  # one that has not settled is sure of little
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy())
    model.fit(images, labels, batch_size=_BATCH, epochs=settings.epochs, verbose=0)
    return Judge(model, classes, settings, (image, of_image))


@dataclass(frozen=True)
class Judgement:
    """Images that a model generated, float32[samples, height, width, channels] of raw pixels, and what a judge says.

    `probabilities` is float32[samples, classes].
    """

    samples: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    confidence: float

    @property
    def confidences(self) -> NDArray[np.float32]:
        """float32[samples]: the probability of the class that is the most probable one."""
        highest: NDArray[np.float32] = self.probabilities.max(axis=1)
        return highest

    @property
    def named(self) -> NDArray[np.int64]:
        """int64[images that are named]: the class of each."""
        classes: NDArray[np.int64] = self.probabilities.argmax(axis=1)[self.confidences >= self.confidence]
        return classes


def judgement(model: Any, judge: Judge) -> Judgement:
    """Judgement of images that a saved model makes of noise from the judge's seed.

    Raises DataError for a model that makes no images, TrainingError for pixels that are no finite numbers.
    """
    require_generator(model)
    settings = judge.settings
    samples = generate_images(model, count=settings.samples, seed=settings.seed)
    if bad := np.count_nonzero(~np.isfinite(samples)):
        raise TrainingError(f"{bad} of {samples.size} generated pixels are not finite numbers; lower the learning rate")
    return Judgement(samples, judge.probabilities(samples), settings.confidence)


def judged_metrics(found: Judgement, judge: Judge, examples: pl.DataFrame) -> dict[str, float]:
    """Return the metrics of generated images; `examples` are the rows on which the judge itself is measured."""
    return {
        "named": len(found.named) / len(found.samples),
        "classes_named": float(len(np.unique(found.named))),
        "mean_confidence": float(found.confidences.mean(dtype=np.float64)),
        "judge_accuracy": judge.accuracy(examples),
    }


def _arrays(
    examples: pl.DataFrame, image: tuple[str, ImageFeature], *, by: str, classes: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Raw pixels, float32[rows, height, width, channels], and class indices, int64[rows]."""
    name, feature = image
    indices = {text: index for index, text in enumerate(classes)}
    labels: NDArray[np.int64] = examples[by].replace_strict(indices, return_dtype=pl.Int64).to_numpy()
    return model_inputs(examples, features={name: feature})[name], labels


def _network(image: ImageFeature, *, classes: int) -> Any:
    """A convolutional network from raw pixels to probabilities, no larger than it takes to classify digits well."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input(image.shape),
            layers.Rescaling(1 / image.maximum),
            layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ]
    )
