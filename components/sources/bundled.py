"""Data sets that come with scikit-learn: real data without a download."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.sources.raw_files import FoundFiles, MadeFile, RawFiles
from headrace.components.sources.raw_part import RawPart
from headrace.components.sources.schema_checks import image_and_class, require_known
from headrace.components.sources.source import Source, SourcePart

if TYPE_CHECKING:
    import polars as pl


class BundledSource(Source):
    """A data set that comes with scikit-learn: nothing to fetch."""

    kind: Literal["bundled"] = "bundled"
    dataset: Literal["digits"]
    """Name of the data set."""

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError unless the schema has one image and its class, and nothing else."""
        image, _, label = image_and_class(schema, kind=self.kind)
        require_known(schema, (image, label))

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """The images and labels as Parquet, under the names that the schema has for them."""
        return [MadeFile("part-00000.parquet", partial(_write, schema))]

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """One part with all rows."""
        [file] = found
        return [SourcePart(file.paths, self.kind, partial(_read, schema))]


def _write(schema: ExampleSchema, file: Path) -> None:
    from headrace.components.files.tables import write_file

    write_file(_digits(schema), file)


def _read(schema: ExampleSchema) -> list[RawPart]:
    table = _digits(schema)
    return [RawPart(table, dict.fromkeys(table.columns, "scikit-learn's digits"))]


def _digits(schema: ExampleSchema) -> "pl.DataFrame":
    image, feature, label = image_and_class(schema, kind="bundled")
    return read_digits(image=image, label=label, feature=feature)


def read_digits(*, image: str, label: str, feature: ImageFeature) -> "pl.DataFrame":
    """1797 handwritten digits: `image` as Array(UInt8, 64), pixels 0..16, and `label` as UInt8 0..9.

    Raises DataError if the feature is not 8 x 8 x 1.
    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", 1998.
    """
    if feature.shape != (8, 8, 1):
        raise DataError(f"feature {image!r} is declared as {feature.shape}, but the digits are (8, 8, 1)")
    import numpy as np
    import polars as pl
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    images = pl.Series(image, pixels.astype(np.uint8), dtype=pl.Array(pl.UInt8, feature.size))
    return pl.DataFrame([images, pl.Series(label, digits.astype(np.uint8))])
