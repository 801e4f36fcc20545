"""A training's figures, the spread of its weights, its graph and some of its images, for TensorBoard."""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.plugins.histogram import metadata

from headrace.components.plots.sheet import sheet, square_columns
from headrace.components.training.first_images import COLORS
from headrace.components.training.generated_samples import read_samples
from headrace.components.training.histograms import histogram_file, read_histograms


def write_tensorboard(
    folder: Path,
    history: Sequence[Mapping[str, float]],
    *,
    histograms: Path,
    model: keras.Model,
    pictures: Mapping[str, NDArray[Any]],
) -> None:
    """Write event files: `folder`/train and `folder`/validation, where TensorBoard lays their curves over each other.

    Where nothing was held out there is no `validation`. `history` has the figures of each epoch, `histograms` is the
    folder that `write_histograms`, and `write_samples` of a generator, wrote to; an epoch that could not be written is
    left out of them. Raises OSError where there is no room for all of it.
    `pictures` are float32[images, height, width, channels] from 0 to 1, by name.
    """
    for split, prefix in (("train", ""), ("validation", "validation_")):
        if not any(name.startswith(prefix) for figures in history for name in figures):
            continue
        with tf.summary.create_file_writer(str(folder / split)).as_default():
            for figures in history:
                _write_scalars(figures, prefix=prefix)
                if split == "train":
                    _write_histograms(histogram_file(histograms, int(figures["epoch"])), epoch=int(figures["epoch"]))
                    _write_samples(read_samples(histograms, int(figures["epoch"])), epoch=int(figures["epoch"]))
            if split == "train":
                _write_graph(model)
                for name, images in pictures.items():
                    tf.summary.image(name, images, step=0, max_outputs=len(images))
        _require_whole(folder / split)


def _require_whole(folder: Path) -> None:
    """Raise OSError if a file is cut short: on a full disk TensorFlow writes what fits, and says nothing."""
    for file in folder.iterdir():
        try:
            for _ in tf.data.TFRecordDataset(str(file)):
                pass
        except tf.errors.DataLossError as error:
            raise OSError(errno.ENOSPC, "no room for all of the events", str(file)) from error


def _write_scalars(figures: Mapping[str, float], *, prefix: str) -> None:
    for name, value in figures.items():
        if name != "epoch" and name.startswith("validation_") == bool(prefix):
            tf.summary.scalar(f"epoch_{name.removeprefix(prefix)}", value, step=int(figures["epoch"]))


def _write_histograms(file: Path, *, epoch: int) -> None:
    if not file.is_file():
        return
    for name, histogram in read_histograms(file).items():
        _write_histogram(name, histogram, epoch=epoch)


def _write_samples(images: NDArray[Any] | None, *, epoch: int) -> None:
    if images is not None and images.shape[-1] in COLORS:
        whole = sheet(images, columns=square_columns(len(images)))
        tf.summary.image("samples", whole.reshape(1, *whole.shape[:2], images.shape[-1]), step=epoch)


def _write_histogram(name: str, histogram: NDArray[Any], *, epoch: int) -> None:
    # tf.summary.histogram would count the weights again, which are gone by now.
    content = metadata.create_summary_metadata(display_name=None, description=None)
    tf.summary.write(name, histogram, step=epoch, metadata=content)


def _write_graph(model: keras.Model) -> None:
    """Nothing is written for a model that was not made of inputs: what it takes is known to it alone."""
    if not getattr(model, "inputs", None):
        return
    taken = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    inputs = keras.tree.map_structure(
        lambda one: tf.TensorSpec([None, *one.shape[1:]], one.dtype, name=one.name), taken
    )
    tf.summary.graph(tf.function(model).get_concrete_function(inputs).graph)
