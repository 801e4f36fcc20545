"""Each private name of Keras still is there, and does what the module says."""

import keras
import numpy as np
import pytest

from headrace.components.compatibility import keras_internals

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """One that is built and compiled, with a layer within a layer and two outputs."""
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization(synchronized=True)])
    hidden = inner(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(1)(hidden), keras.layers.Dense(2)(hidden)])
    optimizer = keras.optimizers.SGD(use_ema=True, gradient_accumulation_steps=2)
    model.compile(optimizer, loss=[keras.losses.MeanSquaredError(), keras.losses.MeanAbsoluteError()])
    batch = np.ones((4, 3), np.float32), (np.ones((4, 1), np.float32), np.ones((4, 2), np.float32))
    keras_internals.build_from_batch(model, batch)
    optimizer.build(model.trainable_variables)
    return model


def test_layers_within_layers_are_found(model):
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in keras_internals.flat_layers(model))


def test_losses_and_their_trackers_are_one_for_each_output(model):
    assert [loss.reduction for loss in keras_internals.compiled_losses(model)] == ["sum_over_batch_size"] * 2
    assert len(keras_internals.loss_trackers(model)) == 2


def test_a_model_without_a_loss_has_neither():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd")
    assert keras_internals.compiled_losses(model) == keras_internals.loss_trackers(model) == []


def test_a_mask_is_seen():
    ids = np.array([[1, 0]])
    masked = keras.layers.Embedding(3, 2, mask_zero=True)(ids)
    np.testing.assert_array_equal(keras_internals.mask_of(masked), [[True, False]])
    assert keras_internals.mask_of(keras.ops.convert_to_tensor(ids)) is None


def test_moments_are_taken_over_all_axes_but_the_channels(model):
    [layer] = [one for one in keras_internals.flat_layers(model) if isinstance(one, keras.layers.BatchNormalization)]
    assert tuple(keras_internals.reduction_axes(layer)) == (0,)


def test_each_weight_has_its_moving_average(model):
    averages = keras_internals.moving_averages(model.optimizer)
    assert [weight.shape for weight, _ in averages] == [average.shape for _, average in averages]
    assert len(averages) == len(model.trainable_variables)


def test_steps_are_counted_where_gradients_are_accumulated(model):
    assert int(keras_internals.step_count(model.optimizer).numpy()) == 0


def test_attributes_that_are_overridden_exist(model):
    [layer] = [one for one in keras_internals.flat_layers(model) if isinstance(one, keras.layers.BatchNormalization)]
    for owner, name in (
        (model, keras_internals.MAYBE_SYMBOLIC_BUILD),
        (model, keras_internals.DISTRIBUTE_STRATEGY),
        (layer, keras_internals.MOMENTS),
        (model.optimizer, keras_internals.ALL_REDUCE_SUM_GRADIENTS),
        (keras_internals.step_count(model.optimizer), keras_internals.DIRECT_ASSIGN),
    ):
        assert hasattr(owner, name), name
