"""Local response normalization against the paper's formula, written out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.models.normalization import local_response_normalization


def written_out(values: np.ndarray, *, radius: int, bias: float, alpha: float, beta: float) -> np.ndarray:
    """Krizhevsky et al. (2012), section 3.3, in float64."""
    normalized, channels = np.empty_like(values), values.shape[-1]
    for channel in range(channels):
        neighbours = values[..., max(0, channel - radius) : min(channels - 1, channel + radius) + 1]
        scale = bias + alpha * np.sum(neighbours**2, axis=-1)
        normalized[..., channel] = values[..., channel] / scale**beta
    return normalized


def normalizing(shape: tuple[int, ...], **arguments: float) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, local_response_normalization(inputs, **arguments, name="norm1"))


ARGUMENTS = st.fixed_dictionaries(
    {
        "radius": st.integers(0, 4),
        "bias": st.floats(0.5, 4),
        "alpha": st.floats(0, 2),
        "beta": st.floats(0, 2),
    }
)


@settings(max_examples=25, deadline=None)
@given(ARGUMENTS, st.sampled_from([(2, 3, 7), (1, 1, 1), (5,)]))
def test_it_is_the_formula_of_the_paper(arguments, shape):
    values = np.random.default_rng(0).normal(scale=3, size=(2, *shape))
    found = normalizing(shape, **arguments)(values.astype(np.float32))
    np.testing.assert_allclose(found, written_out(values, **arguments), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_its_gradient_is_that_of_the_formula(jit_compile):
    arguments = {"radius": 2, "bias": 2.0, "alpha": 0.3, "beta": 0.75}
    generator = np.random.default_rng(0)
    values, factors = generator.normal(size=(2, 1, 1, 9)), generator.normal(size=(2, 1, 1, 9))
    model = normalizing((1, 1, 9), **arguments)

    @tf.function(jit_compile=jit_compile)
    def gradient(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(model(inputs) * tf.constant(factors, tf.float32))
        return tape.gradient(total, inputs)

    expected, step = np.zeros_like(values), 1e-6
    for place in np.ndindex(values.shape):
        moved = np.zeros_like(values)
        moved[place] = step
        higher, lower = (written_out(values + sign * moved, **arguments) for sign in (1, -1))
        expected[place] = np.sum((higher - lower) * factors) / (2 * step)
    np.testing.assert_allclose(gradient(tf.constant(values, tf.float32)), expected, rtol=1e-4, atol=1e-6)


def test_its_defaults_are_those_of_the_paper():
    values = np.random.default_rng(0).normal(scale=100, size=(1, 2, 2, 8))
    expected = written_out(values, radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(normalizing((2, 2, 8))(values.astype(np.float32)), expected, rtol=1e-5)


def test_half_precision_does_not_overflow():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = normalizing((1, 1, 4))(np.full((1, 1, 1, 4), 1000.0))  # its square is beyond float16
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.all(np.asarray(found) > 0)


def test_it_loads_in_safe_mode_without_this_code(tmp_path):
    model = normalizing((2, 2, 6))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    values = np.random.default_rng(0).normal(size=(1, 2, 2, 6)).astype(np.float32)
    np.testing.assert_array_equal(loaded(values), model(values))
    assert {type(part).__module__.partition(".")[0] for part in loaded.get_layer("norm1").operations} == {"keras"}
