"""The columns of the example table, as Arrow types."""

import pyarrow as pa

from headrace.components.schema.example_schema import ExampleSchema


def arrow_schema(schema: ExampleSchema, *, given_split: bool) -> pa.Schema:
    """Return the columns of the example table, in order.

    `example_id`; where there is a key `content_id`, where there are groups `group_id`, where there is a time `time`,
    where there are weights `sample_weight`; the features and the label under their names; `given_split` if the source
    has one.
    """
    fields = [pa.field("example_id", pa.uint64(), nullable=False)]
    fields += [pa.field("content_id", pa.uint64(), nullable=False)] if schema.key else []
    fields += [pa.field("group_id", pa.uint64(), nullable=False)] if schema.group else []
    fields += [pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False)] if schema.time else []
    fields += [pa.field("sample_weight", pa.float64(), nullable=False)] if schema.sample_weight else []
    for name, feature in schema.columns.items():
        fields.append(pa.field(name, feature.arrow_type, nullable=feature.is_nullable))
    if given_split:
        fields.append(pa.field("given_split", pa.large_string(), nullable=False))
    return pa.schema(fields)
