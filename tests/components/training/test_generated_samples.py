"""Samples by epoch: of one noise, kept for the report, and an image for each epoch in TensorBoard."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from headrace.components.training.generated_samples import (
    COUNT,
    KEPT_EPOCHS,
    keep_samples,
    kept_samples,
    read_samples,
    sample_images,
    write_samples,
)
from headrace.components.training.tensorboard import write_tensorboard


@pytest.fixture
def generator() -> keras.Model:
    keras.utils.set_random_seed(1)
    noise = keras.Input((3,))
    return keras.Model(noise, keras.layers.Reshape((2, 2, 1))(keras.layers.Dense(4, "sigmoid")(noise)))


def test_every_epoch_has_the_same_noise_and_redoing_one_replaces_it(tmp_path, generator):
    for epoch in (1, 2):
        write_samples(tmp_path, sample_images(generator, seed=5), epoch=epoch)
    one, other = (read_samples(tmp_path, epoch) for epoch in (1, 2))
    assert (one.shape, one.dtype) == ((COUNT, 2, 2, 1), np.uint8)
    np.testing.assert_array_equal(one, other)
    write_samples(tmp_path, sample_images(generator, seed=6), epoch=2)
    assert (read_samples(tmp_path, 2) != one).any()
    assert read_samples(tmp_path, 3) is None


def test_a_few_epochs_are_kept_the_first_and_the_last_among_them(tmp_path, generator):
    source, kept = tmp_path / "source", tmp_path / "kept"
    kept.mkdir()
    for epoch in range(1, 31):
        write_samples(source, sample_images(generator, seed=1), epoch=epoch)
    keep_samples(source, kept)
    epochs = list(kept_samples(kept))
    assert (len(epochs), epochs[0], epochs[-1]) == (KEPT_EPOCHS, 1, 30)


def test_of_other_models_nothing_is_kept(tmp_path):
    keep_samples(tmp_path, tmp_path)
    assert kept_samples(tmp_path) == {}


def test_tensorboard_has_a_sheet_for_each_epoch(tmp_path, generator):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_samples(tmp_path / "states", sample_images(generator, seed=1), epoch=1)
    write_samples(
        tmp_path / "states", sample_images(generator, seed=1), epoch=3
    )  # where there was no room for the second
    history = [{"epoch": float(epoch), "loss": 1.0} for epoch in (1, 2, 3)]
    board = tmp_path / "board"
    write_tensorboard(board, history, histograms=tmp_path / "states", model=generator, pictures={})
    found = EventAccumulator(str(board / "train")).Reload().Tensors("samples")
    assert [event.step for event in found] == [1, 3]
    width, height, png = found[0].tensor_proto.string_val
    assert (int(width), int(height)) == (8 * 3 - 1, 8 * 3 - 1)
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (8 * 3 - 1, 8 * 3 - 1)
