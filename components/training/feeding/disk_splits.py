"""Splits as files of raw values, for training on more than fits into memory.

A folder holds, for each block of examples, `features-000000.bin` and `labels-000000.bin`: the values one after
another, little-endian. The last block is filled up with zeros, so that all are of one length. Images kept encoded are
their files' bytes one after another, beside `lengths-000000.bin`: int64, how many bytes each has. A model with several
inputs has `features-NAME-000000.bin` for each. `columns.json` describes it all.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.files.digests import file_digest
from headrace.components.files.tables import scan_files
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.settings import Settings
from headrace.components.tasks.variants import task_of
from headrace.components.training.feeding.split_arrays import Inputs, input_shape, label_array, split_features
from headrace.components.transforms.fitted_table import FittedTable

DESCRIPTION = "columns.json"
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_READ_ROWS = 4096  # of Parquet at a time


class StoredFile(Settings):
    """One file's length and SHA-256 (hex)."""

    bytes: int
    sha256: str


class Description(Settings):
    """What a folder of columns holds (columns.json).

    Decoded images are divided by `image_divisor`; None: the features are float32, not encoded images. `key` is a
    SHA-256 (hex) of all that the files were made from.
    """

    format: Literal[1] = 1
    byte_order: Literal["little"] = "little"
    key: str
    examples: int
    block_examples: int
    shape: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]] | None = None  # of several inputs by name, instead of `shape`
    dtypes: dict[str, str] = Field(default_factory=dict)  # of those of them that are not float32
    label_dtype: str
    label_shape: tuple[int, ...] = ()
    image_divisor: float | None
    files: dict[str, StoredFile]


@dataclass(frozen=True)
class StoredColumns:
    """A split on disk; `weights`, float32[examples], stay in memory and say how much each example counts."""

    folder: Path
    description: Description
    weights: NDArray[np.float32] | None = None

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.description.examples

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's features."""
        return self.description.shape


def write_columns(
    split_folder: Path, destination: Path, *, fitted: FittedTable, block_examples: int, inputs: Inputs | None = None
) -> StoredColumns:
    """Return the split in a folder of Parquet files as raw values in `destination`, where it appears whole or not.

    Memory is needed for one block and some rows of Parquet. What is there already is kept if it was made from the same
    split, `fitted` and block length (`Windows.block_examples`). Raises DataError for a split without files, and for
    encoded images that are neither JPEG nor PNG.
    """
    several = inputs if inputs is not None and len(inputs) > 1 else None
    source = {"split": shards.digest(split_folder), "fitted": fitted.model_dump_json(), "block": block_examples}
    if several:
        source["inputs"] = repr(several)
    key = hashlib.sha256(repr(source).encode()).hexdigest()
    with suppress(DataError):  # nothing there, or damaged: written again
        stored = open_columns(destination)
        if stored.description.key == key:
            return stored
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        description = _write(
            split_folder, temporary, fitted=fitted, inputs=several, block_examples=block_examples, key=key
        )
        (temporary / DESCRIPTION).write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(destination, ignore_errors=True)
        temporary.rename(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return StoredColumns(destination, description)


def open_columns(folder: Path, *, check_content: bool = False) -> StoredColumns:
    """Return the columns in `folder`; raise DataError if a file is missing or of another length than was written.

    With `check_content` all is read, and compared with the SHA-256 of what was written.
    """
    fix = "remove the folder, to have it written again"
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise DataError(f"no columns in {folder}: {error}; {fix}") from error
    for name, expected in description.files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != expected.bytes:
            raise DataError(
                f"{path}: expected {expected.bytes} bytes, found {'no file' if found is None else found}; {fix}"
            )
        if check_content and file_digest(path) != expected.sha256:
            raise DataError(f"{path} is not what was written: its SHA-256 differs; {fix}")
    return StoredColumns(folder, description)


def _write(
    split_folder: Path, folder: Path, *, fitted: FittedTable, inputs: Inputs | None, block_examples: int, key: str
) -> Description:
    files = sorted(split_folder.glob("*.parquet"))
    divisor = image_divisor(scan_files(files[0]).collect_schema(), fitted, place=str(files[0]))
    examples, label_shape = 0, ()
    for number, block in enumerate(parquet_blocks(files, block_examples)):
        examples += len(block)
        columns: dict[str, Any] = {"labels": label_array(block, fitted=fitted)}
        label_shape = columns["labels"].shape[1:]
        if divisor is None:
            features = split_features(block, fitted=fitted, inputs=inputs)
            by_input = features if isinstance(features, dict) else {"": features}
            columns |= {features_file(name): values for name, values in by_input.items()}
        else:
            images = checked_images(block, *fitted.features)
            columns["lengths"] = images.bin.size().to_numpy().astype(np.int64)
            (folder / f"features-{number:06d}.bin").write_bytes(b"".join(images))
        for name, values in columns.items():
            write_block(values, folder, name, number, block_examples=block_examples)
    return Description(
        key=key,
        examples=examples,
        block_examples=block_examples,
        shape=() if inputs else input_shape(fitted),
        shapes={name: group.shape for name, group in inputs.items()} if inputs else None,
        label_dtype=task_of(fitted.label).label_dtype,
        label_shape=label_shape,
        image_divisor=divisor,
        files=stored_files(folder),
    )


def features_file(name: str) -> str:
    """What the files of an input are called, before the number of their block."""
    return f"features-{quote(name, safe='')}".removesuffix("-")


def stored_files(folder: Path) -> dict[str, StoredFile]:
    """All files of a folder."""
    return {
        path.name: StoredFile(bytes=path.stat().st_size, sha256=file_digest(path)) for path in sorted(folder.iterdir())
    }


def write_block(values: NDArray[Any], folder: Path, name: str, number: int, *, block_examples: int) -> None:
    """Write one column of a block: little-endian, with zeros after the last value of a short one."""
    filled = np.zeros((block_examples, *values.shape[1:]), values.dtype.newbyteorder("<"))
    filled[: len(values)] = values
    filled.tofile(folder / f"{name}-{number:06d}.bin")


def parquet_blocks(files: Sequence[Path], block_examples: int) -> Iterator[pl.DataFrame]:
    """The rows of all files, in blocks of one length; the last may be shorter."""
    waiting: list[pl.DataFrame] = []
    count = 0
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(min(_READ_ROWS, block_examples)):
            rows = pl.DataFrame(pa.Table.from_batches([batch]))
            missing = block_examples - count
            waiting.append(rows[:missing])
            count += len(waiting[-1])
            if count == block_examples:
                yield pl.concat(waiting)
                waiting = [rows[missing:]]
                count = len(waiting[0])
    if count:
        yield pl.concat(waiting)


def image_divisor(columns: pl.Schema, fitted: FittedTable, *, place: str) -> float | None:
    """What a decoded image, 0 to 255, is divided by to be what the model takes; None if images are not encoded.

    Raises DataError, naming the `place` of the columns, where there are other features beside encoded images.
    """
    encoded = [name for name in fitted.features if columns[name] == pl.Binary]
    if not encoded:
        return None
    fitted_feature = fitted.features[encoded[0]]
    if len(fitted.features) > 1:
        raise DataError(
            f"{place}: column {encoded[0]!r} holds encoded images, which must be the only feature; found "
            f"{', '.join(fitted.features)}"
        )
    return 255.0 if fitted_feature.transforms else 255.0 / ImageFeature.require(fitted_feature.feature).maximum


def checked_images(block: pl.DataFrame, name: str) -> pl.Series:
    """The encoded images of a column; raises DataError for one that is neither JPEG nor PNG."""
    known = pl.col(name).bin.starts_with(_JPEG) | pl.col(name).bin.starts_with(_PNG)
    wrong = block.filter(~known.fill_null(False))
    if len(wrong):
        begin = (wrong[name][0] or b"")[:8].hex(" ") or "nothing"
        raise DataError(
            f"column {name!r}, example_id {wrong['example_id'][0]}: expected the bytes of a JPEG or PNG file, which "
            f"begin with ff d8 ff or 89 50 4e 47; found {begin}"
        )
    return block[name]
