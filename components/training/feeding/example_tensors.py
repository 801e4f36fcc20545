"""Examples as tensors: columns in memory, blocks of columns on disk, and images that are kept encoded."""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from headrace.components.training.feeding.disk_splits import StoredColumns, features_file
from headrace.components.training.feeding.split_arrays import Columns


class EncodedImages(NamedTuple):
    """Images' files one after another: string[], and int64[images], where each begins and how many bytes it has."""

    bytes: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor


class Examples(NamedTuple):
    """Some examples in memory: features [examples, ...] or EncodedImages, and labels [examples, ...].

    Of several inputs or outputs, they are tensors in a dict or tuple.
    """

    features: Any
    labels: Any


def all_examples(columns: Columns | StoredColumns) -> Examples:
    """Return a whole set in the host's memory."""
    with tf.device("CPU"):  # batches go to the GPU, not the set
        if isinstance(columns, Columns):
            return Examples(*(_tensors(values) for values in (columns.features, columns.labels)))
        blocks = -(-columns.examples // columns.description.block_examples)
        return read_blocks(columns, tf.range(blocks, dtype=tf.int64))


def read_blocks(stored: StoredColumns, blocks: tf.Tensor) -> Examples:
    """Return the examples of `blocks`, int64[blocks], one block after another; a short block is filled up."""
    described = stored.description
    label_type = tf.as_dtype(described.label_dtype)
    labels = _read_values(stored, "labels", blocks, shape=described.label_shape, dtype=label_type)
    if described.shapes is not None:
        features = {
            name: _read_values(
                stored,
                features_file(name),
                blocks,
                shape=shape,
                dtype=tf.as_dtype(described.dtypes.get(name, "float32")),
            )
            for name, shape in described.shapes.items()
        }
        return Examples(features, labels)
    if described.image_divisor is None:
        return Examples(_read_values(stored, "features", blocks, shape=stored.shape, dtype=tf.float32), labels)
    lengths = _read_values(stored, "lengths", blocks, shape=(), dtype=tf.int64)
    files = tf.map_fn(lambda block: _read_file(stored, "features", block), blocks, fn_output_signature=tf.string)
    return Examples(EncodedImages(tf.strings.reduce_join(files), tf.cumsum(lengths, exclusive=True), lengths), labels)


def _tensors(values: Any) -> Any:
    return tf.nest.map_structure(lambda one: one if isinstance(one, tf.RaggedTensor) else tf.constant(one), values)


def take(examples: Examples, places: tf.Tensor) -> tuple[Any, Any]:
    """Features [places, ...], or images still encoded as string[places], and labels."""
    features, labels = examples.features, _gathered(examples.labels, places)
    if not isinstance(features, EncodedImages):
        return _gathered(features, places), labels
    # One by one: with many places at once, TensorFlow first copies all bytes for every place.
    images = tf.map_fn(
        lambda place: tf.strings.substr(features.bytes, features.starts[place], features.lengths[place]),
        places,
        fn_output_signature=tf.string,
    )
    return images, labels


def _gathered(values: Any, places: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, places), values)


def decode_images(images: tf.Tensor, *, shape: tuple[int, ...], divisor: float) -> tf.Tensor:
    """Return float32[images, height, width, channels] from the bytes of JPEG or PNG files of any size, string[images].

    Another size is resized bilinearly, with antialiasing; then the pixels, 0 to 255, are divided by `divisor`.
    """
    height, width, channels = shape

    def decode(image: tf.Tensor) -> tf.Tensor:
        if channels == 4:  # no JPEG has as many
            pixels = tf.io.decode_png(image, channels=channels)
        else:  # PNG, too; the default method differs from Pillow's, as the model is tested and served, by up to 16
            pixels = tf.io.decode_jpeg(image, channels=channels, dct_method="INTEGER_ACCURATE")
        resized = tf.image.resize(pixels, (height, width), antialias=True)
        return tf.ensure_shape(resized / divisor, shape)

    return tf.map_fn(decode, images, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _read_values(
    stored: StoredColumns, name: str, blocks: tf.Tensor, *, shape: tuple[int, ...], dtype: tf.DType
) -> tf.Tensor:
    """One column of the blocks: dtype[blocks * block_examples, *shape]."""
    block_shape = (stored.description.block_examples, *shape)

    def read(block: tf.Tensor) -> tf.Tensor:
        values = tf.io.decode_raw(_read_file(stored, name, block), dtype, little_endian=True)
        return tf.ensure_shape(values, math.prod(block_shape))

    # Each block's bytes are freed before the next are read.
    flat = tf.map_fn(
        read, blocks, parallel_iterations=1, fn_output_signature=tf.TensorSpec(math.prod(block_shape), dtype)
    )
    return tf.reshape(flat, (-1, *shape))


def _read_file(stored: StoredColumns, name: str, block: tf.Tensor) -> tf.Tensor:
    number = tf.strings.as_string(block, width=6, fill="0")
    return tf.io.read_file(tf.strings.join([f"{stored.folder}/{name}-", number, ".bin"]))
