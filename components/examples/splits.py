"""Which split an example is in: a pure function of its id and the seed, so adding rows never moves a row."""

from collections.abc import Collection
from datetime import datetime

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.mixing import mix
from headrace.components.schema.split_settings import Split

SPLITS = pl.Enum(["train", "validation", "test"])


def assign_split(split: Split, *, columns: Collection[str]) -> pl.Expr:
    """Return an expression for the split of each row (Enum "train", "validation", "test") of a table of `columns`.

    The draw is made from `group_id` where there is one, so that a group stays together, else from `example_id`. A row
    whose `given_split` is "test" stays test. The expression works row by row, so it streams. Raises DataError if
    test_fraction or test_from asks for a second test set beside a given one, or if times are asked for and not there.
    """
    given = "given_split" in columns
    if given and (split.test_fraction or split.test_from):
        asked = f"test_fraction is {split.test_fraction}" if split.test_fraction else f"test_from is {split.test_from}"
        raise DataError(
            f"split.{asked}, but the source gives its own test set: leave it out, or remove given_split from the source"
        )
    if split.is_by_time and "time" not in columns:
        raise DataError("split: examples have no time; name its column in ingest.time")
    assigned = _drawn_split("group_id" if "group_id" in columns else "example_id", split)
    assigned = _from_time(split.validation_from, "validation", assigned)
    assigned = _from_time(split.test_from, "test", assigned)
    if not given:
        return assigned
    return pl.when(pl.col("given_split") == "test").then(pl.lit("test", SPLITS)).otherwise(assigned)


def _from_time(begin: datetime | None, name: str, before: pl.Expr) -> pl.Expr:
    if begin is None:
        return before
    return pl.when(pl.col("time") >= begin).then(pl.lit(name, SPLITS)).otherwise(before)


def _drawn_split(column: str, split: Split) -> pl.Expr:
    begin, end = (min(int((split.test_share + more) * split.test_fraction * 2**64), 2**64) for more in (0, 1))
    test_below = end - begin
    validation_below = int((split.test_fraction + split.validation_fraction) * 2**64)

    def draw(ids: pl.Series) -> pl.Series:
        # Inside when/then/otherwise Polars hands over null for the rows that the other branch decides.
        draws = mix(ids.fill_null(0).to_numpy(), split.seed) - np.uint64(begin)  # modulo 2**64: a circle
        places = (draws < np.uint64(validation_below)).astype(np.uint8)  # 0 train, 1 validation, 2 test
        places += draws < np.uint64(test_below)
        return pl.Series(ids.name, places).cat.to(SPLITS)

    # Elementwise: Polars runs it block by block. Test comes first, so validation_fraction never changes the test set.
    return pl.col(column).map_batches(draw, return_dtype=SPLITS, is_elementwise=True)
