"""The idx format of MNIST (http://yann.lecun.com/exdb/mnist), plain or compressed.

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the values.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from pydantic import Field

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.settings import Settings
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.file import FileName, SourceFile
from headrace.components.sources.raw_files import FoundFiles, PinnedFiles, RawFiles
from headrace.components.sources.raw_part import GivenSplit, RawPart
from headrace.components.sources.schema_checks import image_and_class, require_known
from headrace.components.sources.source import Source, SourcePart

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_UNSIGNED_BYTE = 0x08
_MOST_DIMENSIONS = 4  # images, rows, columns, channels; NumPy can't hold all 255 that a header may announce
_CHUNK_BYTES = 1 << 24


class IdxPart(Settings):
    """A pair of idx files (images and labels of equal count), and the split that the source gives them."""

    images: SourceFile
    """File of the images."""

    labels: SourceFile
    """File of as many labels, 0 to 255."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class IdxSource(Source):
    """Images in the idx format of MNIST (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

    kind: Literal["idx"] = "idx"
    dataset: FileName
    """Folder of the files in `$HEADRACE_MIRROR`."""

    parts: Annotated[tuple[IdxPart, ...], Field(min_length=1)]
    """Pairs of files, one after the other."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError unless the schema has one image and its class, and nothing else."""
        image, _, label = image_and_class(schema, kind=self.kind)
        require_known(schema, (image, label))

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """The pair of files of each part."""
        return [PinnedFiles((part.images, part.labels), self.dataset) for part in self.parts]

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """One part for each pair of files, read whole."""
        parts = []
        for files, part in zip(found, self.parts, strict=True):
            read = partial(_read_pair, files.paths, schema, part.given_split)
            parts.append(SourcePart(files.paths, f"idx {part.given_split}", read))
        return parts


def _read_pair(files: Sequence[Path], schema: ExampleSchema, given_split: GivenSplit | None) -> Iterator[RawPart]:
    image, feature, label = image_and_class(schema, kind="idx")
    yield read_idx_part(*files, image=image, label=label, feature=feature, given_split=given_split)


def read_idx_part(
    images_file: Path,
    labels_file: Path,
    *,
    image: str,
    label: str,
    feature: ImageFeature,
    given_split: GivenSplit | None,
) -> RawPart:
    """`image` as Array(UInt8, height * width * channels) and `label` as UInt8 from a pair of files.

    Raises DataError if the files are damaged, of unequal count, empty, or of another shape than the feature's.
    """
    import polars as pl

    images, labels = read_idx(images_file), read_idx(labels_file)
    if labels.ndim != 1:
        raise DataError(f"{labels_file.name}: expected one label a row, found values of shape {labels.shape[1:]}")
    if (*images.shape[1:], 1)[:3] != feature.shape:
        raise DataError(
            f"{images_file.name}: feature {image!r} is declared as {feature.shape} (height, width, channels), "
            f"found images of shape {images.shape[1:]}"
        )
    if len(images) != len(labels):
        raise DataError(f"{images_file.name} has {len(images)} images, but {labels_file.name} has {len(labels)} labels")
    pixels = pl.Series(image, images.reshape(len(images), -1), dtype=pl.Array(pl.UInt8, feature.size))
    table = pl.DataFrame([pixels, pl.Series(label, labels)])
    return RawPart(table, {image: images_file.name, label: labels_file.name}, given_split)


def read_idx(path: Path) -> "npt.NDArray[np.uint8]":
    """Values of one idx file, uint8 in the shape that its header gives; raise DataError if it is damaged."""
    with open_plain(path) as stream:
        return _read_values(stream, path.name)


def read_idx_shape(path: Path) -> tuple[int, ...]:
    """Shape that an idx file's header gives; no more is read. Raise DataError for another file."""
    with open_plain(path) as stream:
        return _read_shape(stream, path.name)


def _read_values(stream: BinaryIO, name: str) -> "npt.NDArray[np.uint8]":
    import numpy as np

    shape = _read_shape(stream, name)
    expected = math.prod(shape)
    values = _read_at_most(stream, expected + 1)  # one more, to see whether something follows
    if len(values) != expected:
        found = f"only {len(values)}" if len(values) < expected else "more"
        raise DataError(f"{name}: the header announces {expected} values of shape {shape}, found {found}")
    if not expected:
        raise DataError(f"{name}: no values; its shape is {shape}")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _read_shape(stream: BinaryIO, name: str) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{name} is not an idx file: it must begin with two zero bytes, found {magic.hex(' ') or 'nothing'}"
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise DataError(f"{name}: expected type code 0x08 (unsigned byte), found 0x{magic[2]:02x}")
    if magic[3] > _MOST_DIMENSIONS:
        raise DataError(f"{name}: expected at most {_MOST_DIMENSIONS} dimensions in the header, found {magic[3]}")
    header = stream.read(4 * magic[3])
    if not magic[3] or len(header) < 4 * magic[3]:
        raise DataError(
            f"{name}: expected {magic[3] or 'at least 1'} dimensions in the header, found {len(header) // 4}"
        )
    return struct.unpack(f">{magic[3]}I", header)


def _read_at_most(stream: BinaryIO, count: int) -> bytearray:
    """Read up to `count` bytes, chunk by chunk: a false header can't make it reserve memory that is never filled."""
    values = bytearray()
    while chunk := stream.read(min(_CHUNK_BYTES, count - len(values))):
        values += chunk
    return values
