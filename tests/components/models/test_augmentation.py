"""Layers that change images in training, and in training alone."""

import keras
import numpy as np
import tensorflow as tf

from headrace.components.models.augmentation import Augmentation, ChosenCopy
from headrace.components.transforms.augment import Augment

IMAGES = np.random.default_rng(1).random((3, 9, 9, 2), np.float32)


def test_outside_of_training_images_stay_as_they_are():
    def draw(shape: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, [1, 2])

    layer = Augmentation(Augment(rotation_degrees=30), draw)
    np.testing.assert_array_equal(layer(IMAGES, training=False), IMAGES)
    assert np.abs(layer(IMAGES, training=True) - IMAGES).max() > 0.1


def test_one_copy_is_chosen_by_draw_in_training_and_the_first_one_else():
    copies = tf.reshape(tf.range(24, dtype=tf.float32), (4, 3, 2))
    layer = ChosenCopy(lambda shape: tf.ensure_shape(tf.constant([[0.0], [0.34], [0.67], [0.999]]), (4, shape[1])))
    np.testing.assert_array_equal(layer(copies, training=True), [[0, 1], [8, 9], [16, 17], [22, 23]])
    np.testing.assert_array_equal(layer(copies), copies[:, 0])
    inputs = keras.Input((3, 2))
    assert layer(inputs).shape == (None, 2)
