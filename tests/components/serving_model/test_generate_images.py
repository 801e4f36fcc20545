"""Noise that is the same everywhere."""

import numpy as np

from headrace.components.serving_model.generate_images import normal_noise


def test_noise_is_normal_and_follows_from_the_seed():
    noise = normal_noise(1000, 100, seed=7)
    assert (noise.shape, noise.dtype) == ((1000, 100), np.float32)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((np.abs(noise) < 1.96).mean() - 0.95) < 0.005
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.1
    np.testing.assert_array_equal(noise, normal_noise(1000, 100, seed=7))
    assert (noise != normal_noise(1000, 100, seed=8)).mean() > 0.99
    # Written out once: these numbers must never change, or a seed makes other images.
    np.testing.assert_allclose(normal_noise(1, 3, seed=0)[0], [-0.80978966, -0.55722266, 0.65354717], rtol=1e-6)
