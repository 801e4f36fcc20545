"""Which split an example is in: a pure function of its id and the seed, so adding rows never moves a row."""

import numpy as np
import polars as pl

from components.errors import DataError
from components.examples.identity import mix

SPLITS = pl.Enum(["train", "validation", "test"])


def assign_split(*, seed: int, validation_fraction: float, test_fraction: float, given: bool) -> pl.Expr:
    """Return an expression for the split of each row (Enum "train", "validation", "test"), from `example_id`.

    With `given`, a row whose `given_split` is "test" stays test, and the others are train or validation. The expression
    works row by row, so it streams. Raises DataError if test_fraction asks for a second test set beside a given one.
    """
    if not given:
        return _drawn_split(seed, validation_fraction, test_fraction)
    if test_fraction:
        raise DataError(
            f"split.test_fraction is {test_fraction}, but the source gives its own test set: "
            "set it to 0, or remove given_split from the source"
        )
    given_test = pl.col("given_split") == "test"
    return pl.when(given_test).then(pl.lit("test", SPLITS)).otherwise(_drawn_split(seed, validation_fraction, 0.0))


def _drawn_split(seed: int, validation_fraction: float, test_fraction: float) -> pl.Expr:
    test_below = int(test_fraction * 2**64)
    validation_below = int((test_fraction + validation_fraction) * 2**64)

    def draw(ids: pl.Series) -> pl.Series:
        # Inside when/then/otherwise Polars hands over null for the rows that the other branch decides.
        draws = mix(ids.fill_null(0).to_numpy(), seed)
        places = (draws < np.uint64(validation_below)).astype(np.uint8)  # 0 train, 1 validation, 2 test
        places += draws < np.uint64(test_below)
        return pl.Series(ids.name, places).cat.to(SPLITS)

    # Elementwise: Polars runs it block by block. Test comes first, so validation_fraction never changes the test set.
    return pl.col("example_id").map_batches(draw, return_dtype=SPLITS, is_elementwise=True)
