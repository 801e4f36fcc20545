"""Images moved, turned and stretched, in one resampling."""

from math import pi

import tensorflow as tf

from headrace.components.transforms.augment import Augment

DRAWS = 10  # for each image: shift 2, rotation, shear, zoom 2, flip 2, brightness, contrast
_FILL_MODES = {"zero": "CONSTANT", "nearest": "NEAREST"}


def augmented(images: tf.Tensor, drawn: tf.Tensor, settings: Augment) -> tf.Tensor:
    """float32[batch, height, width, channels], each image changed by its row of `drawn`.

    `drawn` is float32[batch, DRAWS] in [0, 1); 0.5 throughout is the image itself where nothing is flipped.
    """
    columns = tf.unstack(drawn, num=DRAWS, axis=1)
    if settings.moves:
        images = warped(images, _matrices(columns, settings, tf.shape(images)), fill=settings.fill)
    if settings.contrast:
        mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
        images = mean + (images - mean) * _each_image(1 + _signed(columns[9], settings.contrast))
    if settings.brightness:
        images += _each_image(_signed(columns[8], settings.brightness))
    return images


def affine(
    *,
    angle: tf.Tensor,
    shear: tf.Tensor,
    scales: tuple[tf.Tensor, tf.Tensor],
    shifts: tuple[tf.Tensor, tf.Tensor],
    size: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """float32[images, 8]: for each image where each pixel of the output comes from: what `warped` takes.

    An image of `size` (height, width) is scaled about its middle by `scales` (of height and width; -1 flips it),
    slanted to the right by `shear` and turned counter-clockwise by `angle`, both in radians, and then moved by `shifts`
    (down and right, in pixels). All but `size` are float32[images].
    """
    height, width = size
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    cosine, sine, slant = tf.cos(angle), tf.sin(angle), tf.tan(shear)
    # From an offset to the middle of the output back to one of the input: move, turn, slant, scale, each undone.
    xx, xy = (cosine + slant * sine) / scales[1], (slant * cosine - sine) / scales[1]
    yx, yy = sine / scales[0], cosine / scales[0]
    back_x, back_y = middle_x + shifts[1], middle_y + shifts[0]
    first_x, first_y = middle_x - xx * back_x - xy * back_y, middle_y - yx * back_x - yy * back_y
    none = tf.zeros_like(angle)
    return tf.stack([xx, xy, first_x, yx, yy, first_y, none, none], axis=1)


def warped(images: tf.Tensor, matrices: tf.Tensor, *, fill: str = "zero") -> tf.Tensor:
    """The images, float32[batch, height, width, channels], resampled bilinearly, each by its row of `matrices`.

    A pixel that comes from outside of the image is 0, or like the nearest one: `fill`.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode=_FILL_MODES[fill],
        fill_value=0.0,
    )


def _matrices(columns: list[tf.Tensor], settings: Augment, shape: tf.Tensor) -> tf.Tensor:
    size = (tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32))
    scales = [1 + _signed(column, settings.zoom) for column in columns[4:6]]
    for axis, flips in enumerate((settings.flip in ("vertical", "both"), settings.flip in ("horizontal", "both"))):
        if flips:
            scales[axis] *= tf.where(columns[6 + axis] < 0.5, -1.0, 1.0)
    return affine(
        angle=_signed(columns[2], settings.rotation_degrees * pi / 180),
        shear=_signed(columns[3], settings.shear_degrees * pi / 180),
        scales=(scales[0], scales[1]),
        shifts=(_signed(columns[0], settings.shift) * size[0], _signed(columns[1], settings.shift) * size[1]),
        size=size,
    )


def _signed(drawn: tf.Tensor, most: float) -> tf.Tensor:
    """From [0, 1) to [-most, most)."""
    return (2 * drawn - 1) * most


def _each_image(values: tf.Tensor) -> tf.Tensor:
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]
