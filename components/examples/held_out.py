"""The raw rows that a split was made of."""

import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.splits import assign_split
from headrace.components.schema.split_settings import Split


def measured_examples(examples: pl.LazyFrame, rows: pl.LazyFrame, *, split: Split) -> pl.DataFrame:
    """Return the examples of `split.measured_on`, whose rows are `rows`, as `examples_of` does."""
    return examples_of(examples, rows, split=split, name=split.measured_on)


def examples_of(examples: pl.LazyFrame, rows: pl.LazyFrame, *, split: Split, name: str) -> pl.DataFrame:
    """Return the examples that rows of the split `name` were made of, sorted by `example_id`.

    Raises DataError if the split was made of other examples.
    """
    ids = rows.select("example_id").collect()
    found = examples.join(ids.lazy().unique(), on="example_id", how="semi").collect()
    if found.height > ids.height:  # rows of one id are in two splits where the source or a time decides
        found = found.filter(assign_split(split, columns=found.columns) == name)
    found = found.sort("example_id", maintain_order=True)
    if found.height != ids.height:
        raise DataError(
            f"the {name} split has {ids.height} rows, but {found.height} rows of the examples have their "
            "ids: they come from different data; run `headrace normalize` and `headrace split` again"
        )
    return found
