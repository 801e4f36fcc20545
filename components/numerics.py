"""Versions of what each stage computes: the part of a result's identity that code decides.

A version is raised where the same data, settings and packages give another output than before. The golden outputs in
tests/golden show when that is so. A comment, a faster loop or a new file raises nothing.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

NUMERICS: Mapping[str, int] = MappingProxyType(
    {"ingest": 1, "normalize": 1, "split": 1, "train": 1, "evaluate": 1, "register": 1}
)

_TABLES = ("numpy", "polars", "pyarrow")
_MODELS = ("keras", "numpy", "tensorflow")
# Packages whose version may decide an output. Images are decoded by Pillow, a backbone of `normalize` by TensorFlow.
PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ingest": (*_TABLES, "pillow"),
        "normalize": (*_TABLES, "pillow", "keras", "tensorflow"),
        "split": _TABLES,
        "train": (*_MODELS, "pillow"),
        "evaluate": (*_MODELS, "pillow", "polars"),
        "register": (),
    }
)


@cache
def mixing_digest() -> str:
    """Digest of the ids, draws and batch orders of a few made-up examples, 12 hexadecimal digits.

    They rest on a handful of constants, and a changed one is a changed result that nothing else would show.
    """
    import hashlib

    import numpy as np
    import polars as pl

    from components.examples.identity import example_ids, mix
    from components.training.batches import Windows, epoch_order

    rows = range(64)
    table = pl.DataFrame({"number": [row / 8 for row in rows], "text": ["x" * (row % 20) for row in rows]})
    ids = example_ids(table.with_columns(pl.when(pl.col("number") > 1).then("number")), columns=table.columns)
    orders = [epoch_order(Windows(64, 8, window), seed=1, epoch=epoch) for window in (None, 16) for epoch in range(2)]
    made = (ids, mix(ids, 1), *orders)
    return hashlib.sha256(b"".join(np.ascontiguousarray(one, "<u8").tobytes() for one in made)).hexdigest()[:12]
