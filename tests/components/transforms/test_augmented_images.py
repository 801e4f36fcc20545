"""Images that are moved: exactly where a move is exact, and each by its own draws."""

from math import pi

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.transforms.augment import Augment
from headrace.components.transforms.augmented_images import DRAWS, affine, augmented, warped

IMAGES = np.random.default_rng(1).random((3, 9, 9, 2), np.float32)
WIDE = np.random.default_rng(2).random((2, 6, 11, 1), np.float32)
MIDDLE = np.full((3, DRAWS), 0.5, np.float32)


def moved(images: np.ndarray, *, fill: str = "zero", **changes: object) -> np.ndarray:
    """All images by the same parameters, given as to `affine`; angle and shear in degrees."""
    every = {"angle": 0.0, "shear": 0.0, "scales": (1.0, 1.0), "shifts": (0.0, 0.0), **changes}
    each = {
        "angle": each_image(images, every["angle"] * pi / 180),
        "shear": each_image(images, every["shear"] * pi / 180),
        "scales": tuple(each_image(images, scale) for scale in every["scales"]),
        "shifts": tuple(each_image(images, shift) for shift in every["shifts"]),
    }
    size = (tf.constant(images.shape[1], tf.float32), tf.constant(images.shape[2], tf.float32))
    return warped(tf.constant(images), affine(**each, size=size), fill=fill).numpy()


def each_image(images: np.ndarray, value: float) -> tf.Tensor:
    return tf.fill([len(images)], tf.constant(value, tf.float32))


def draws(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, DRAWS), np.float32)


@pytest.mark.parametrize("images", [IMAGES, WIDE])
def test_no_move_gives_the_same_image(images):
    np.testing.assert_array_equal(moved(images), images)


@pytest.mark.parametrize("images", [IMAGES, WIDE])
@pytest.mark.parametrize(("scales", "axes"), [((1.0, -1.0), 2), ((-1.0, 1.0), 1), ((-1.0, -1.0), (1, 2))])
def test_a_flip_is_exact_and_twice_it_is_the_identity(images, scales, axes):
    flipped = moved(images, scales=scales)
    np.testing.assert_array_equal(flipped, np.flip(images, axes))
    np.testing.assert_array_equal(moved(flipped, scales=scales), images)


@settings(max_examples=30, deadline=None)
@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_shift_by_whole_pixels_moves_them_exactly_and_fills_with_zero(down, right):
    expected = np.zeros_like(IMAGES)
    target = (slice(max(0, down), 9 + min(0, down)), slice(max(0, right), 9 + min(0, right)))
    source = (slice(max(0, -down), 9 + min(0, -down)), slice(max(0, -right), 9 + min(0, -right)))
    expected[:, *target] = IMAGES[:, *source]
    np.testing.assert_array_equal(moved(IMAGES, shifts=(float(down), float(right))), expected)


def test_what_comes_from_outside_may_be_like_the_nearest_pixel():
    shifted = moved(IMAGES, shifts=(0.0, 3.0), fill="nearest")
    np.testing.assert_array_equal(shifted[:, :, 3:], IMAGES[:, :, :-3])
    np.testing.assert_array_equal(shifted[:, :, :3], np.repeat(IMAGES[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("turns", [-1, 1, 2, 3])
def test_a_rotation_by_quarter_turns_is_that_of_numpy(turns):
    rotated = moved(IMAGES, angle=90.0 * turns)
    np.testing.assert_allclose(rotated, np.rot90(IMAGES, turns, axes=(1, 2)), atol=1e-5)


def test_zoom_is_about_the_middle_and_resamples_bilinearly():
    doubled = moved(IMAGES, scales=(2.0, 2.0))
    np.testing.assert_allclose(doubled[:, 0::2, 0::2], IMAGES[:, 2:7, 2:7], atol=1e-6)
    between = (IMAGES[:, 2:7, 2:6] + IMAGES[:, 2:7, 3:7]) / 2
    np.testing.assert_allclose(doubled[:, 0::2, 1::2], between, atol=1e-6)
    np.testing.assert_allclose(moved(IMAGES, scales=(0.5, 0.5))[:, 4, 2:7], IMAGES[:, 4, 0::2], atol=1e-6)


def test_shear_leans_to_the_right_and_leaves_the_middle_row():
    images = np.zeros((1, 9, 9, 1), np.float32)
    images[:, :, 4] = 1
    places = moved(images, shear=45.0)[0, :, :, 0].argmax(axis=1)
    np.testing.assert_array_equal(places, np.arange(8, -1, -1))


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(-30, 30),
    st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_a_plane_stays_a_plane_whatever_the_move(angle, shear, scales, shifts):
    """Of a linear function of the place, bilinear resampling gives that of the place that a pixel comes from."""
    y, x = np.mgrid[0:9, 0:9].astype(np.float32)
    plane = (2 * x - 3 * y)[np.newaxis, ..., np.newaxis]
    ones = np.ones_like(plane)
    move = {"angle": angle, "shear": shear, "scales": scales, "shifts": shifts}
    whole = moved(ones, **move)[0, ..., 0] > 0.9999  # where nothing is from outside
    turn, slant = np.deg2rad(angle), np.tan(np.deg2rad(shear))
    forward = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    forward = forward @ np.array([[1, -slant], [0, 1]]) @ np.diag([scales[1], scales[0]])
    offsets = np.stack([x - 4 - shifts[1], y - 4 - shifts[0]]).reshape(2, -1)
    from_x, from_y = np.linalg.inv(forward) @ offsets + 4
    expected = (2 * from_x - 3 * from_y).reshape(9, 9)
    np.testing.assert_allclose(moved(plane, **move)[0, ..., 0][whole], expected[whole], atol=2e-3)


def test_draws_in_the_middle_leave_images_as_they_are():
    every = Augment(shift=0.2, rotation_degrees=30, shear_degrees=20, zoom=0.3, brightness=0.2, contrast=0.3)
    np.testing.assert_allclose(augmented(tf.constant(IMAGES), tf.constant(MIDDLE), every), IMAGES, atol=1e-6)


def test_draws_reach_to_what_is_asked_for_and_no_further():
    low, high = np.zeros_like(MIDDLE), np.ones_like(MIDDLE)
    shift = Augment(shift=1 / 9)
    np.testing.assert_allclose(
        augmented(tf.constant(IMAGES), tf.constant(low), shift), moved(IMAGES, shifts=(-1.0, -1.0)), atol=1e-5
    )
    turn = Augment(rotation_degrees=90)
    np.testing.assert_allclose(
        augmented(tf.constant(IMAGES), tf.constant(high), turn), np.rot90(IMAGES, axes=(1, 2)), atol=1e-5
    )
    brighter = augmented(tf.constant(IMAGES), tf.constant(high), Augment(brightness=0.25))
    np.testing.assert_allclose(brighter, IMAGES + 0.25, atol=1e-6)
    flat = augmented(tf.constant(IMAGES), tf.constant(low), Augment(contrast=1))
    np.testing.assert_allclose(flat, np.broadcast_to(IMAGES.mean(axis=(1, 2), keepdims=True), IMAGES.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("flip", "kinds"),
    [
        ("horizontal", [IMAGES[0], np.flip(IMAGES[0], 1)]),
        ("vertical", [IMAGES[0], np.flip(IMAGES[0], 0)]),
        ("both", [np.flip(IMAGES[0], axes) for axes in ((), 0, 1, (0, 1))]),
    ],
)
def test_flips_are_drawn_as_often_as_not(flip, kinds):
    images = tf.constant(np.repeat(IMAGES[:1], 400, axis=0))
    flipped = augmented(images, tf.constant(draws(400, seed=3)), Augment(flip=flip)).numpy()
    shares = [np.mean([np.array_equal(image, kind) for image in flipped]) for kind in kinds]
    assert sum(shares) == 1
    np.testing.assert_allclose(shares, 1 / len(kinds), atol=0.08)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2))
def test_each_image_depends_on_its_own_draws_alone(seed, first):
    every = Augment(shift=0.2, rotation_degrees=30, zoom=0.3, flip="both", brightness=0.2, contrast=0.3, fill="nearest")
    drawn = draws(3, seed)
    together = augmented(tf.constant(IMAGES), tf.constant(drawn), every).numpy()
    alone = augmented(tf.constant(IMAGES[first:]), tf.constant(drawn[first:]), every).numpy()
    np.testing.assert_array_equal(together[first:], alone)
