"""What a generator makes of the same noise, epoch by epoch."""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.serving_model.generate_images import normal_noise

COUNT = 64
KEPT_EPOCHS = 10
_FILE = "samples-{:06d}.npz"


def sample_images(generator: keras.Model, *, seed: int) -> NDArray[np.uint8]:
    """Return uint8[COUNT, height, width, channels] from 0 to 255, of noise that the seed decides."""
    noise = normal_noise(COUNT, generator.input_shape[-1], seed=seed)
    images = np.asarray(generator(noise, training=False))
    pixels: NDArray[np.uint8] = np.rint(images * 255).astype(np.uint8)
    return pixels


def write_samples(folder: Path, images: NDArray[np.uint8], *, epoch: int) -> None:
    """Write images of after `epoch` to a file of its own: a redone epoch replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / _FILE.format(epoch), allow_pickle=False, images=images)


def read_samples(folder: Path, epoch: int) -> NDArray[np.uint8] | None:
    """Return uint8[COUNT, height, width, channels] from 0 to 255; None where none were written after this epoch."""
    if not (file := folder / _FILE.format(epoch)).is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["images"]
        return images


def keep_samples(source: Path, destination: Path) -> None:
    """Copy the samples of a few epochs, evenly spread, the first and the last among them."""
    files = sorted(source.glob("samples-*.npz"))
    kept = {round(place) for place in np.linspace(0, len(files) - 1, min(KEPT_EPOCHS, len(files)))}
    for place in kept:
        (destination / files[place].name).write_bytes(files[place].read_bytes())


def kept_samples(folder: Path) -> dict[int, NDArray[np.uint8]]:
    """Return uint8[COUNT, height, width, channels] by epoch, of all that are in the folder."""
    epochs = sorted(int(file.stem.removeprefix("samples-")) for file in folder.glob("samples-*.npz"))
    return {epoch: images for epoch in epochs if (images := read_samples(folder, epoch)) is not None}
