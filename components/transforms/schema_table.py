"""The transforms as they are before there is data: fitted to made-up rows, where all shapes follow from the schema."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress

import polars as pl

from headrace.components.errors import DataError
from headrace.components.own_code.importable_code import NO_CODE, OwnCode
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label, NextTokenLabel
from headrace.components.schema.split_settings import Split
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedTable
from headrace.components.transforms.transform import Transform


def table_of_schema(
    features: Mapping[str, Feature],
    *,
    transforms: Mapping[str, Sequence[Transform]],
    label: Label,
    label_transform: Transform | None = None,
    code: OwnCode = NO_CODE,
) -> FittedTable | None:
    """A table of the shapes that the data will give, whose means, categories and tokens are made up.

    None where a shape follows from the data: columns of one-hot, a backbone's features, the tokens to predict. None too
    where a transform of one's own does not take the made-up numbers. Raises ParamsError where it is none.
    """
    follow = any(step.shape_follows_from_data for steps in transforms.values() for step in steps)
    if follow or isinstance(label, NextTokenLabel):
        return None
    used = {name: features[name] for name in transforms} | label.columns
    columns = {name: feature.made_up for name, feature in used.items() if feature.made_up is not None}
    shard = io.BytesIO()
    pl.DataFrame({"example_id": pl.Series([1, 2], dtype=pl.UInt64), **columns}).write_parquet(shard)
    with suppress(DataError):
        return fit(
            [shard.getvalue()],
            split=Split(held_out="none"),
            features=features,
            transforms=transforms,
            label=label,
            label_transform=label_transform,
            code=code,
        )
    return None
