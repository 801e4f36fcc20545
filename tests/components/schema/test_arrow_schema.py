import pyarrow as pa

from headrace.components.schema.arrow_schema import arrow_schema
from headrace.components.schema.example_schema import ExampleSchema, TimeColumn
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel


def test_schema_has_id_features_label_and_given_split_in_order() -> None:
    features = {
        "photo": ImageFeature(height=2, width=3, channels=3),
        "age": NumberFeature(nullable=True),
        "sex": CategoryFeature(),
    }
    schema = arrow_schema(ExampleSchema(features=features, label=NumberLabel(name="distance")), given_split=True)
    assert schema.names == ["example_id", "photo", "age", "sex", "distance", "given_split"]
    assert schema.field("photo").type == pa.list_(pa.uint8(), 18)
    assert [field.nullable for field in schema] == [False, False, True, False, False, False]


def test_a_category_label_is_text_and_given_split_is_left_out() -> None:
    schema = arrow_schema(
        ExampleSchema(features={"x": NumberFeature()}, label=CategoryLabel(name="y", classes=("a", "b"))),
        given_split=False,
    )
    assert schema.names == ["example_id", "x", "y"]
    assert schema.field("y").type == pa.large_string()


def test_a_key_a_group_and_a_time_add_their_columns() -> None:
    schema = ExampleSchema(
        features={"x": NumberFeature()},
        label=NumberLabel(name="y"),
        key=("id",),
        group=("patient",),
        time=TimeColumn(column="when"),
    )
    assert arrow_schema(schema, given_split=False).names == ["example_id", "content_id", "group_id", "time", "x", "y"]
