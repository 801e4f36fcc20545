"""A table in Parquet files that a program gives, as blocks on disk: for training on more than fits into memory."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headrace.components.errors import DataError
from headrace.components.files.digests import file_digest
from headrace.components.files.tables import scan_files
from headrace.components.training.feeding.disk_splits import (
    DESCRIPTION,
    Description,
    StoredColumns,
    features_file,
    open_columns,
    parquet_blocks,
    stored_files,
    write_block,
)
from headrace.components.training.feeding.given_data import given_columns, parquet_files
from headrace.components.training.feeding.split_arrays import Columns

WEIGHTS = "weights.bin"  # float32, of all examples: they stay in memory
_DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32")  # of tf.io.decode_raw


@dataclass(frozen=True)
class GivenParquet:
    """A Parquet file or a folder of such files whose columns are numbers, the label and weights among them."""

    files: tuple[Path, ...]
    label: str | None
    weight: str | None
    name: str

    @classmethod
    def at(cls, path: Path, *, label: str | None, weight: str | None, name: str) -> "GivenParquet":
        """The table at a path; raises DataError for columns that can't be read by blocks, as the first rows show."""
        table = cls(tuple(parquet_files(path, name)), label, weight, name)
        table._numbers(table.first_examples(1))
        return table

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all files and of what their columns are, in hexadecimal digits."""
        described = [[file_digest(file) for file in self.files], self.label, self.weight]
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def first_examples(self, count: int) -> Columns:
        """At most `count` examples."""
        return self._columns(scan_files(list(self.files)).head(count).collect())

    def write(self, folder: Path, *, block_examples: int) -> None:
        """Write all rows into an empty folder as `open_given` reads them; memory is needed for one block.

        Raises DataError for missing values, and for files whose columns differ.
        """
        examples, form = 0, None
        with (folder / WEIGHTS).open("wb") as weights:
            for number, rows in enumerate(self._blocks(block_examples)):
                columns = self._columns(rows)
                arrays = self._numbers(columns)
                found = {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()}
                if form is not None and found != form:
                    differing = next(name for name in found | form if found.get(name) != form.get(name))
                    raise DataError(f"{self.name}: {_called(differing)} is not of one type and shape in all rows")
                form = found
                for name, array in arrays.items():
                    write_block(
                        array,
                        folder,
                        "labels" if name is None else features_file(name),
                        number,
                        block_examples=block_examples,
                    )
                if columns.weights is not None:
                    columns.weights.tofile(weights)
                examples += columns.examples
        description = _description(form or {}, examples, block_examples, self.digest, folder)
        (folder / DESCRIPTION).write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _blocks(self, block_examples: int) -> Iterator[pl.DataFrame]:
        try:
            yield from parquet_blocks(self.files, block_examples)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"{self.name}: the Parquet files differ in their columns: {' '.join(str(error).split())[:300]}"
            ) from error

    def _columns(self, rows: Any) -> Columns:
        return given_columns(rows, label=self.label, weight=self.weight, name=self.name)

    def _numbers(self, columns: Columns) -> dict[str | None, NDArray[Any]]:
        """The features by name, and the labels by None."""
        arrays = {**columns.features, None: columns.labels}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.name not in _DTYPES:
                kind = array.dtype.name if isinstance(array, np.ndarray) else "lists of several lengths"
                raise DataError(
                    f"{self.name}: {_called(name)} holds {'texts' if kind == 'object' else kind}, and by windows only "
                    "numbers and arrays of one length are read; convert it, or leave out window_examples= to read all "
                    "into memory"
                )
        return arrays


def open_given(folder: Path) -> StoredColumns:
    """The columns that `GivenParquet.write` wrote; raises DataError where a file is missing or damaged."""
    stored = open_columns(folder)
    weights = np.fromfile(folder / WEIGHTS, np.float32)
    return StoredColumns(folder, stored.description, weights if len(weights) else None)


def _called(name: str | None) -> str:
    return "the label" if name is None else f"column {name!r}"


def _description(
    form: Mapping[str | None, tuple[str, tuple[int, ...]]], examples: int, block_examples: int, key: str, folder: Path
) -> Description:
    features = {name: one for name, one in form.items() if name is not None}
    label_dtype, label_shape = form[None]
    return Description(
        key=key,
        examples=examples,
        block_examples=block_examples,
        shape=(),
        shapes={name: shape for name, (_, shape) in features.items()},
        dtypes={name: dtype for name, (dtype, _) in features.items()},
        label_dtype=label_dtype,
        label_shape=label_shape,
        image_divisor=None,
        files=stored_files(folder),
    )
