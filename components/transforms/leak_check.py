"""Whether what transforms are fitted to changes with rows that are held out: tried by changing all of those."""

import polars as pl

from headrace.components.examples.splits import assign_split
from headrace.components.schema.split_settings import Split
from headrace.components.transforms.fitted_table import FittedTable


def with_other_held_out_rows(examples: pl.DataFrame, *, split: Split, columns: list[str]) -> pl.DataFrame:
    """The examples, with other values of `columns` in every row that `split` does not send to training.

    Numbers, texts and pixels change; encoded images stay, since nothing is fitted to their bytes.
    """
    is_held_out = assign_split(split, columns=examples.columns) != "train"
    return examples.with_columns(
        pl.when(is_held_out).then(_other(name, examples.schema[name])).otherwise(pl.col(name)).alias(name)
        for name in columns
    )


def _other(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype.is_numeric():
        return (1000 - 3 * column.cast(pl.Float64)).cast(dtype, strict=False).fill_null(column)
    match dtype:
        case pl.String():
            return pl.concat_str(column, pl.lit(" held out"))
        case pl.Array() | pl.List():
            return column.reverse()
    return column


def leaking_columns(fitted: FittedTable, other: FittedTable) -> list[str]:
    """Columns, and `label`, whose transforms were fitted otherwise."""
    columns = [name for name, feature in fitted.features.items() if feature != other.features[name]]
    is_label = (fitted.label_transform, fitted.label_transforms) != (other.label_transform, other.label_transforms)
    return [*columns, "label"] if is_label else columns
