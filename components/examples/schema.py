"""The columns of the example table, as Arrow types."""

from collections.abc import Mapping

import pyarrow as pa

from components.examples.settings import CategoryFeature, Feature, ImageFeature, Label, NumberFeature


def arrow_schema(features: Mapping[str, Feature], label: Label, *, given_split: bool) -> pa.Schema:
    """Return the schema: `example_id`, the features and the label under their names, `given_split` if there is one."""
    fields = [pa.field("example_id", pa.uint64(), nullable=False)]
    for name, feature in value_columns(features, label).items():
        nullable = not isinstance(feature, ImageFeature) and feature.nullable
        fields.append(pa.field(name, _arrow_type(feature), nullable=nullable))
    if given_split:
        fields.append(pa.field("given_split", pa.large_string(), nullable=False))
    return pa.schema(fields)


def value_columns(features: Mapping[str, Feature], label: Label) -> dict[str, Feature]:
    """Return the features and, last, the label as a feature that is never missing: all that one example holds."""
    return {**features, label.name: _as_feature(label)}


def _as_feature(label: Label) -> Feature:
    if label.type == "number":
        return NumberFeature(minimum=label.minimum, maximum=label.maximum)
    return CategoryFeature(classes=label.classes)


def _arrow_type(feature: Feature) -> pa.DataType:
    match feature:
        case ImageFeature():
            inner = pa.field(
                "item", pa.uint8(), nullable=True
            )  # Parquet's reader gives the values of a list as nullable
            return pa.list_(inner, feature.size)
        case NumberFeature():
            return pa.float64()
        case CategoryFeature():
            return pa.large_string()
