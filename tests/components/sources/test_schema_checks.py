import pytest

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import GeneratedLabel, NumberLabel
from headrace.components.sources.schema_checks import image_and_class, only_image

IMAGE = ImageFeature(height=8, width=8)


def test_the_one_image_is_found() -> None:
    assert only_image({"photo": IMAGE}, kind="idx") == ("photo", IMAGE)


@pytest.mark.parametrize(
    "features", [{"x": NumberFeature()}, {"a": IMAGE, "b": IMAGE}, {"a": IMAGE, "x": NumberFeature()}]
)
def test_other_features_are_an_error(features) -> None:
    with pytest.raises(ParamsError, match="'idx' gives exactly one image, found"):
        only_image(features, kind="idx")


def test_the_classes_of_images_are_the_label() -> None:
    schema = ExampleSchema(features={"photo": IMAGE}, label=NumberLabel(name="sort"))
    assert image_and_class(schema, kind="idx") == ("photo", IMAGE, "sort")


def test_the_classes_of_images_that_are_generated_are_the_category_beside_them() -> None:
    label = GeneratedLabel(name="photo")
    schema = ExampleSchema(features={"sort": CategoryFeature(), "photo": IMAGE}, label=label)
    assert image_and_class(schema, kind="idx") == ("photo", IMAGE, "sort")
    for features in ({"photo": IMAGE}, {"photo": IMAGE, "a": CategoryFeature(), "b": CategoryFeature()}):
        with pytest.raises(ParamsError, match=r"expected one category beside the image, found (none|a, b)"):
            image_and_class(ExampleSchema(features=features, label=label), kind="idx")
