"""Event files are whole, or there are none."""

import errno
import resource

import numpy as np
import pytest


def test_a_file_that_is_cut_short_for_want_of_room_is_an_error(tmp_path) -> None:
    """TensorFlow says nothing of it."""
    import keras

    from headrace.components.training.tensorboard import write_tensorboard

    history = [{"epoch": float(epoch), "loss": 1.0 / epoch} for epoch in (1, 2)]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    pictures = {"digit": np.random.default_rng(0).random((8, 32, 32, 1), np.float32)}
    what = {"histograms": tmp_path, "model": model, "pictures": pictures}
    write_tensorboard(tmp_path / "whole", history, **what)
    [whole] = (tmp_path / "whole" / "train").iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="no room for all of the events") as raised:
            write_tensorboard(tmp_path / "cut", history, **what)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.ENOSPC


def test_the_graph_of_a_sequential_model_is_written(tmp_path) -> None:
    import keras
    import tensorflow as tf
    from tensorflow.core.util import event_pb2

    from headrace.components.training.tensorboard import write_tensorboard

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    write_tensorboard(tmp_path / "events", [{"epoch": 1.0, "loss": 1.0}], histograms=tmp_path, model=model, pictures={})

    [file] = (tmp_path / "events" / "train").iterdir()
    events = [event_pb2.Event.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(file))]
    assert any(event.graph_def for event in events)
