"""The raw rows that a model is tested on."""

import polars as pl

from components.errors import DataError


def held_out_examples(examples: pl.LazyFrame, split: pl.LazyFrame) -> pl.DataFrame:
    """Return the examples whose `example_id` is in the split, sorted by it.

    Raises DataError if the split was made of other examples. Rows that share an id are either all in a split or none,
    so ids are enough.
    """
    ids = split.select("example_id").collect()
    rows = examples.join(ids.lazy().unique(), on="example_id", how="semi")
    found = rows.sort("example_id", maintain_order=True).collect()
    if found.height != ids.height:
        raise DataError(
            f"the test split has {ids.height} rows, but {found.height} rows of the examples have their ids: "
            "they come from different data; run `headrace normalize` and `headrace split` again"
        )
    return found
