"""Columns on disk: whole or not there, and served like those in memory, with memory for a few windows."""

import io
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from PIL import Image

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.schema.decoding import decode_image
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.disk_splits import open_columns, write_columns
from headrace.components.training.feeding.example_tensors import decode_images
from headrace.components.training.feeding.feed import serve_evaluation, serve_training
from headrace.components.training.feeding.split_arrays import Columns, load_split
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.scale_pixels import FittedScalePixels

IMAGE = FittedFeature(
    feature=ImageFeature(height=4, width=6, channels=3), transforms=(FittedScalePixels(maximum=255),), shape=(4, 6, 3)
)
IMAGES = FittedTable(
    features={"image": IMAGE}, label=CategoryLabel(name="kind", classes=("a", "b")), training_examples=1
)
NUMBER = FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))
SPREAD = FittedFeature(feature=NumberFeature(), transforms=(), shape=(3,))
NUMBERS = FittedTable(features={"x": NUMBER, "y": SPREAD}, label=NumberLabel(name="z"), training_examples=1)
PLACE = {"rank": 1, "num_workers": 2}


def write_numbers(folder: Path, examples: int) -> Path:
    """A split of several files whose ends are not those of blocks."""
    values = np.random.default_rng(examples).normal(size=(examples, 5)).astype(np.float32)
    y = pl.Series("y", values[:, 1:4], dtype=pl.Array(pl.Float32, 3))
    shards.write(pl.DataFrame({"x": values[:, 0], "y": y, "label": values[:, 4]}), folder, rows_per_file=70)
    return folder


def encoded_images(count: int) -> list[bytes]:
    """JPEG and PNG files in turn, of several sizes."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (3 + index % 4, 6, 3), dtype=np.uint8) for index in range(count)]
    encoders = itertools.cycle([tf.io.encode_jpeg, tf.io.encode_png])
    return [encode(image).numpy() for encode, image in zip(encoders, images, strict=False)]


def write_images(folder: Path, images: list[bytes]) -> Path:
    labels = pl.Series("label", np.arange(len(images)) % 2, dtype=pl.Int32)
    shards.write(
        pl.DataFrame([pl.Series("example_id", range(len(images)), pl.UInt64), pl.Series("image", images), labels]),
        folder,
    )
    return folder


@pytest.mark.parametrize("window_examples", [None, 32])
def test_on_disk_and_in_memory_serve_the_same_batches(tmp_path, window_examples):
    split, windows = write_numbers(tmp_path / "split", 201), Windows(201, 12, window_examples)
    memory = replace(load_split(split, fitted=NUMBERS), weights=np.arange(201, dtype=np.float32))
    written = write_columns(split, tmp_path / "columns", fitted=NUMBERS, block_examples=windows.block_examples)
    stored = type(written)(written.folder, written.description, memory.weights)
    assert (stored.examples, stored.shape) == (memory.examples, memory.shape) == (201, (4,))
    for serve, place in (
        (serve_training, {"seed": 4, "first_epoch": 1, "first_step": 5, **PLACE}),
        (serve_evaluation, PLACE),
    ):
        pairs = zip(serve(memory, windows, **place), serve(stored, windows, **place), strict=False)
        for one, other in itertools.islice(pairs, 2 * windows.steps):
            for left, right in zip(one, other, strict=True):
                np.testing.assert_array_equal(left, right)


def test_what_was_written_from_the_same_split_is_kept_and_anything_else_is_replaced(tmp_path):
    split, target = write_numbers(tmp_path / "split", 50), tmp_path / "columns"
    first = write_columns(split, target, fitted=NUMBERS, block_examples=8)
    before = (target / "columns.json").stat().st_mtime_ns
    assert write_columns(split, target, fitted=NUMBERS, block_examples=8) == first == open_columns(target)
    assert (target / "columns.json").stat().st_mtime_ns == before
    write_numbers(split, 60)
    assert write_columns(split, target, fitted=NUMBERS, block_examples=8).examples == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["columns", "split"]


def test_damaged_columns_are_refused_and_say_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="no columns in"):
        open_columns(tmp_path)
    target = tmp_path / "columns"
    write_columns(write_numbers(tmp_path / "split", 50), target, fitted=NUMBERS, block_examples=8)
    block = target / "labels-000002.bin"
    content = block.read_bytes()
    block.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    open_columns(target)
    with pytest.raises(DataError, match=r"labels-000002\.bin is not what was written"):
        open_columns(target, check_content=True)
    block.write_bytes(content[:-4])
    with pytest.raises(DataError, match=r"labels-000002\.bin: expected 32 bytes, found 28; remove"):
        open_columns(target)
    write_columns(tmp_path / "split", target, fitted=NUMBERS, block_examples=8)
    open_columns(target, check_content=True)


def test_blocks_of_another_length_than_the_windows_need_are_refused(tmp_path):
    split = write_numbers(tmp_path / "split", 50)
    stored = write_columns(split, tmp_path / "columns", fitted=NUMBERS, block_examples=8)
    with pytest.raises(DataError, match="has blocks of 8 examples, and windows of 16 need blocks of 1"):
        serve_training(stored, Windows(50, 8, window_examples=16), seed=0, **PLACE)


@pytest.mark.parametrize("window_examples", [None, 32])
def test_encoded_images_are_served_as_decoding_them_one_by_one_gives_them(tmp_path, window_examples):
    images, windows = encoded_images(75), Windows(75, 10, window_examples)
    stored = write_columns(
        write_images(tmp_path / "split", images),
        tmp_path / "columns",
        fitted=IMAGES,
        block_examples=windows.block_examples,
    )
    decoded = [decode_images(tf.stack([image]), shape=(4, 6, 3), divisor=255.0)[0] for image in images]
    memory = Columns(np.stack(decoded), np.arange(75, dtype=np.int32) % 2)
    pairs = zip(
        serve_training(memory, windows, seed=2, **PLACE), serve_training(stored, windows, seed=2, **PLACE), strict=False
    )
    for one, other in itertools.islice(pairs, windows.steps + 3):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_an_image_of_the_model_s_size_keeps_its_pixels():
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    [decoded] = decode_images(tf.stack([tf.io.encode_png(pixels)]), shape=(4, 6, 3), divisor=255.0)
    np.testing.assert_array_equal(decoded, pixels.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_decoded_to_the_pixels_that_the_model_is_tested_on(channels):
    feature = ImageFeature(height=19, width=23, channels=channels)
    pixels = np.random.default_rng(1).integers(0, 256, (19, 23, channels), dtype=np.uint8).squeeze()
    for kind in ("PNG", *(("JPEG",) if channels < 4 else ())):
        Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
        [decoded] = decode_images(tf.stack([buffer.getvalue()]), shape=feature.shape, divisor=1.0)
        np.testing.assert_array_equal(decoded, decode_image(buffer.getvalue(), feature).reshape(feature.shape))


def test_bytes_that_are_no_image_are_refused_with_their_example(tmp_path):
    split = write_images(tmp_path / "split", [*encoded_images(3), b"GIF89a..."])
    with pytest.raises(DataError, match=r"column 'image', example_id 3: expected the bytes of a JPEG or PNG.*47 49 46"):
        write_columns(split, tmp_path / "columns", fitted=IMAGES, block_examples=2)
    assert not (tmp_path / "columns").exists()


WORKER = """
import json, os, re, sys
from pathlib import Path
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.feed import serve_training
from headrace.components.training.feeding.disk_splits import write_columns
from headrace.components.transforms.fitted_table import FittedTable

folder, examples = Path(sys.argv[1]), int(sys.argv[2])
windows = Windows(examples, 256, window_examples=8192)
fitted = FittedTable.model_validate_json(sys.argv[3])
stored = write_columns(folder / "split", folder / "columns", fitted=fitted, block_examples=windows.block_examples)
total = 0.0
for features, labels in serve_training(stored, windows, seed=1, rank=0, num_workers=1).take(windows.steps):
    total += float(features[:, 0].numpy().sum(dtype=float))
status = Path("/proc/self/status").read_text()
print(json.dumps({"total": total, "peak_mib": int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from Linux")
def test_memory_does_not_grow_with_the_set(tmp_path, repository):
    # Windows of 8 MiB; sets of 64 and 320 MiB. Beside other processes the peaks of two equal runs were 40 MiB apart,
    # because the kernel maps more or fewer pages of TensorFlow's libraries; a set kept in memory would add 256.
    of = FittedFeature(feature=NumberFeature(), transforms=(), shape=(256,))
    fitted = FittedTable(features={"x": of}, label=NumberLabel(name="z"), training_examples=1)
    peaks = []
    for examples in (65_536, 327_680):
        folder = tmp_path / str(examples)
        rows = pl.select(pl.int_range(examples, dtype=pl.Int32).cast(pl.Float32).alias("label")).lazy()
        one = (pl.col("label") % 1024).cast(pl.Float32)
        shards.write(rows.select(pl.concat_arr([one] * 256).alias("x"), "label"), folder / "split")
        command = [sys.executable, "-c", WORKER, str(folder), str(examples), fitted.model_dump_json()]
        process = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=100, check=False)
        assert process.returncode == 0, process.stderr
        result = json.loads(process.stdout)
        assert result["total"] == examples / 1024 * 1023 * 512
        peaks.append(result["peak_mib"])
    assert peaks[1] - peaks[0] < 100, peaks
