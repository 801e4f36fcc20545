"""A generator and a discriminator: each updated by the gradient of its own loss, in one step, by one optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from headrace.components.models.build import build, build_networks
from headrace.components.models.gan import AdversarialNetworks, classes_of
from headrace.components.models.output import Output
from headrace.components.models.settings import Model
from headrace.components.models.shapes import check_input
from headrace.components.serving_model.generate_images import normal_noise

RATE, SMOOTHING = 0.1, 0.2
DENSE = {"kind": "dense", "units": 8, "activation": "relu"}
NOISE = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
IMAGES = np.random.default_rng(2).uniform(size=(6, 3, 3, 1)).astype(np.float32)


def model(**changes) -> Model:
    gan = {"kind": "gan", "noise": 4, "generator": [DENSE], "discriminator": [DENSE]}
    return Model.model_validate({"architecture": {**gan, **changes}})


PLAIN, OF_CLASSES = 0, 3


def networks(classes: int = PLAIN, **changes) -> AdversarialNetworks:
    keras.utils.set_random_seed(1)
    made = build_networks(
        model(**changes).architecture,
        image_shape=(3, 3, 1),
        classes=classes,
        dropout=keras.layers.Dropout,
        drop_connect=lambda layer: keras.layers.Dense(layer.units),
        noise=lambda _: tf.constant(NOISE),
        label_smoothing=SMOOTHING,
    )
    made.compile(keras.optimizers.SGD(RATE))
    return made


def entropy(label: float, logits: tf.Tensor) -> tf.Tensor:
    probability = tf.sigmoid(logits)
    return tf.reduce_mean(-label * tf.math.log(probability) - (1 - label) * tf.math.log(1 - probability))


def test_each_network_follows_the_gradient_of_its_own_loss():
    made = networks()
    of_core, of_other = made.core.trainable_variables, made.discriminator.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        taken = made.discriminator(made.core(NOISE))
        core_loss = entropy(1.0, taken)  # which does not saturate: not that of the discriminator, turned round
        # One-sided: what is taken from the label 1 of real images is not given to generated ones.
        other_loss = entropy(1.0 - SMOOTHING, made.discriminator(IMAGES)) + entropy(0.0, taken)
    expected = [
        np.asarray(variable - RATE * gradient)
        for loss, variables in ((core_loss, of_core), (other_loss, of_other))
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
    ]
    metrics = made.train_on_batch(IMAGES, np.zeros(6), return_dict=True)
    for found, wanted in zip(made.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5, atol=1e-6)
    assert metrics["generator_loss"] == pytest.approx(float(core_loss), rel=1e-5)
    assert metrics["discriminator_loss"] == pytest.approx(float(other_loss), rel=1e-5)
    assert metrics["loss"] == pytest.approx(float(core_loss + other_loss), rel=1e-5)


def test_the_penalty_is_of_the_gradient_by_each_real_image():
    made, plain = networks(gradient_penalty=3.0), networks()
    plain.set_weights(made.get_weights())
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = plain.discriminator(images)
    squares = tf.reduce_sum(tape.gradient(logits, images) ** 2, axis=(1, 2, 3))
    found, without = (one.train_on_batch(IMAGES, np.zeros(6), return_dict=True) for one in (made, plain))
    penalty = 1.5 * float(tf.reduce_mean(squares))
    assert found["discriminator_loss"] == pytest.approx(without["discriminator_loss"] + penalty, rel=1e-5)
    assert found["generator_loss"] == pytest.approx(without["generator_loss"], rel=1e-5)
    for one, other in zip(made.core.trainable_variables, plain.core.trainable_variables, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-6)
    kernels = (np.asarray(one.discriminator.trainable_variables[0]) for one in (made, plain))
    assert np.abs(np.subtract(*kernels)).max() > 1e-4


def test_a_penalty_with_batch_normalization_in_the_discriminator_is_refused():
    with pytest.raises(ValidationError, match="leave one of them out"):
        model(gradient_penalty=1.0, discriminator=[DENSE, {"kind": "batch_normalization"}])


def test_weight_decay_of_a_layer_is_in_the_loss_of_its_network_alone():
    plain, decayed = networks(), networks(generator=[{**DENSE, "l2": 0.5}])
    decayed.set_weights(plain.get_weights())
    penalty = 0.5 * float(tf.reduce_sum(decayed.core.trainable_variables[0] ** 2))
    of_plain, of_decayed = (one.train_on_batch(IMAGES, np.zeros(6), return_dict=True) for one in (plain, decayed))
    assert of_decayed["generator_loss"] == pytest.approx(of_plain["generator_loss"] + penalty, rel=1e-5)
    assert of_decayed["discriminator_loss"] == pytest.approx(of_plain["discriminator_loss"], rel=1e-5)


def test_the_first_number_of_the_noise_decides_on_a_class_and_all_are_equally_likely():
    found = np.asarray(classes_of(tf.constant([[-9.0, 5.0], [-0.4, 5.0], [0.4, -5.0], [0.5, -5.0]]), 3))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    shares = np.asarray(classes_of(tf.constant(normal_noise(30_000, 1, seed=1)), 10)).mean(axis=0)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_both_networks_receive_the_class():
    made = networks(OF_CLASSES)
    noise = np.array([[-2.0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]], np.float32)
    assert len({np.asarray(image).tobytes() for image in made.core(noise)}) == 3
    logits = [float(made.discriminator([IMAGES[:1], row[None]])[0, 0]) for row in np.eye(3, dtype=np.float32)]
    assert len(set(logits)) == 3


def test_real_images_are_shown_with_their_labels_and_generated_ones_with_the_class_of_their_noise():
    made, labels = networks(OF_CLASSES), np.array([0, 1, 2, 2, 1, 0], np.int32)
    taken = made.discriminator([made.core(NOISE), classes_of(tf.constant(NOISE), 3)])
    real = made.discriminator([IMAGES, np.eye(3, dtype=np.float32)[labels]])
    wanted = float(entropy(1.0 - SMOOTHING, real) + entropy(0.0, taken))
    metrics = made.train_on_batch(IMAGES, labels, return_dict=True)
    assert metrics["discriminator_loss"] == pytest.approx(wanted, rel=1e-5)
    assert metrics["generator_loss"] == pytest.approx(float(entropy(1.0, taken)), rel=1e-5)


@pytest.mark.parametrize("classes", [PLAIN, OF_CLASSES])
def test_weights_begin_with_those_of_the_generator_that_is_saved(classes):
    made, saved = networks(classes), build(model(), input_shape=(3, 3, 1), output=Output(classes))
    saved.set_weights(made.get_weights()[: len(saved.weights)])
    np.testing.assert_allclose(np.asarray(saved(NOISE)), np.asarray(made.core(NOISE)), rtol=1e-6)
    assert {path.partition("/")[0] for path in (one.path for one in made.core.weights)} == {"generator"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generator": [{"kind": "conv2d", "filters": 2, "kernel_size": 3}]},
            r"generator\.0 \(conv2d\): needs an image",
        ),
        ({"discriminator": [DENSE, {"kind": "max_pooling2d"}]}, r"discriminator\.1 \(max_pooling2d\): needs an image"),
        ({"discriminator": [{"kind": "embedding", "units": 3}]}, r"discriminator\.0 \(embedding\): takes the tokens"),
    ],
)
def test_layers_that_do_not_fit_noise_or_images_are_named(changes, message):
    with pytest.raises(ValueError, match=rf"train\.model\.architecture\.{message}"):
        check_input(model(**changes), input_shape=(3, 3, 1))
