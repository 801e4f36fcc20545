"""Noise that is the same everywhere, and sheets of images."""

import numpy as np
import pytest

from headrace.components.models.generate_images import normal_noise, sheet, square_columns


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


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (12, 4), (100, 10), (101, 11)])
def test_a_sheet_is_about_as_high_as_wide(count, columns):
    assert square_columns(count) == columns


def test_a_sheet_has_its_images_in_rows_with_black_between_and_after_them():
    images = np.arange(1, 4).reshape(3, 1, 1, 1) * np.full((3, 2, 2, 1), 50.0)
    found = sheet(images, columns=2)
    assert found.tolist() == [
        [50, 50, 0, 100, 100],
        [50, 50, 0, 100, 100],
        [0, 0, 0, 0, 0],
        [150, 150, 0, 0, 0],
        [150, 150, 0, 0, 0],
    ]


def test_a_sheet_keeps_colours_and_limits_values():
    found = sheet(np.array([[[[300.0, -5.0, 127.6]]]]), columns=1)
    assert found.tolist() == [[[255, 0, 128]]]
