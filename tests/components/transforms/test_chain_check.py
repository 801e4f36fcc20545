"""Which transforms may follow which."""

import pytest

from headrace.components.errors import ParamsError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.scale_pixels import ScalePixels

NUMBER = {"type": "number"}
CATEGORY = {"type": "category"}
IMAGE = {"type": "image", "height": 2, "width": 2}


def kinds(*names):
    return [{"kind": name} for name in names]


@pytest.mark.parametrize(
    ("feature", "transforms"),
    [
        (NUMBER, []),
        (NUMBER, kinds("min_max", "standardize")),
        (CATEGORY, kinds("one_hot")),
        (CATEGORY, kinds("ordinal", "standardize")),
        (IMAGE, []),
        (IMAGE, kinds("scale_pixels")),
    ],
)
def test_sensible_chains_pass(feature, transforms, check_one):
    check_one(feature, transforms)


@pytest.mark.parametrize(
    ("feature", "transforms", "message"),
    [
        (
            NUMBER,
            kinds("scale_pixels"),
            "scale_pixels can't be applied to a number; possible are: standardize, min_max",
        ),
        (NUMBER, kinds("one_hot"), "one_hot can't be applied to a number"),
        (CATEGORY, kinds("standardize"), "standardize can't be applied to a category; possible are: ordinal, one_hot"),
        (CATEGORY, kinds("one_hot", "standardize"), "standardize can't be applied to one_hot's columns"),
        (CATEGORY, kinds("ordinal", "one_hot"), "one_hot can't be applied to a number"),
        (CATEGORY, [], "add one_hot or ordinal"),
        (IMAGE, kinds("standardize"), "standardize can't be applied to an image; possible are: scale_pixels"),
    ],
)
def test_a_chain_that_makes_no_sense_is_named_with_its_fix(feature, transforms, message, check_one):
    with pytest.raises(ParamsError, match=r"normalize\.transforms\.x: ") as raised:
        check_one(feature, transforms)
    assert message in str(raised.value)


def test_a_name_that_keras_refuses_is_an_error(check_one):
    with pytest.raises(ParamsError, match="can't contain '/'"):
        check_one(NUMBER, kinds("standardize"), name="km/h")


def test_a_name_of_our_own_columns_is_an_error(check_one):
    with pytest.raises(ParamsError, match="own tables have a column of that name"):
        check_one(NUMBER, kinds("standardize"), name="label")


def test_what_is_stored_encoded_takes_only_what_training_does_where_it_decodes():
    class Inverted(ScalePixels):
        takes_encoded = False

    check({"x": ImageFeature(height=2, width=2, encoding="tensor")}, {"x": [Inverted()]})
    with pytest.raises(ParamsError, match="scale_pixels can't be applied to encoded images; set encoding: tensor"):
        check({"x": ImageFeature(height=2, width=2, encoding="encoded")}, {"x": [Inverted()]})
