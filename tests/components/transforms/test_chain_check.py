"""Which transforms may follow which."""

import pytest
from pydantic import TypeAdapter

from headrace.components.errors import ParamsError
from headrace.components.examples.settings import Feature
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.settings import Transform

NUMBER = {"type": "number"}
NULLABLE_NUMBER = {"type": "number", "nullable": True}
CATEGORY = {"type": "category"}
IMAGE = {"type": "image", "height": 2, "width": 2}
MEDIAN = {"kind": "impute", "strategy": "median"}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}


def kinds(*names):
    return [{"kind": name} for name in names]


def checked(feature, transforms, name="x"):
    features = {name: TypeAdapter(Feature).validate_python(feature)}
    check(features, {name: TypeAdapter(tuple[Transform, ...]).validate_python(transforms)})


@pytest.mark.parametrize(
    ("feature", "transforms"),
    [
        (NUMBER, []),
        (NUMBER, kinds("min_max", "standardize")),
        (NUMBER, [MEDIAN, *kinds("standardize")]),  # not nullable in training, yet may be missing when it is served
        (NULLABLE_NUMBER, [MOST_FREQUENT, *kinds("min_max")]),
        (CATEGORY, kinds("one_hot")),
        (CATEGORY, kinds("ordinal", "standardize")),
        (CATEGORY, [MOST_FREQUENT, *kinds("one_hot")]),
        (IMAGE, []),
        (IMAGE, kinds("scale_pixels")),
    ],
)
def test_sensible_chains_pass(feature, transforms):
    checked(feature, transforms)


@pytest.mark.parametrize(
    ("feature", "transforms", "message"),
    [
        (
            NUMBER,
            kinds("scale_pixels"),
            "scale_pixels can't be applied to a number; possible are: standardize, min_max",
        ),
        (NUMBER, kinds("one_hot"), "one_hot can't be applied to a number"),
        (NUMBER, [*kinds("standardize"), MEDIAN], "impute must be the first"),
        (NUMBER, [MEDIAN, MEDIAN], "impute must be the first"),
        (NULLABLE_NUMBER, kinds("standardize"), "nullable, so its first transform must be impute"),
        (NULLABLE_NUMBER, [], "nullable"),
        (CATEGORY, kinds("standardize"), "standardize can't be applied to a category; possible are: ordinal, one_hot"),
        (CATEGORY, kinds("one_hot", "standardize"), "standardize can't be applied to one_hot's columns"),
        (CATEGORY, kinds("ordinal", "one_hot"), "one_hot can't be applied to a number"),
        (CATEGORY, [], "add one_hot or ordinal"),
        (CATEGORY, [MOST_FREQUENT], "add one_hot or ordinal"),
        (CATEGORY, [MEDIAN, *kinds("one_hot")], "a category has no median"),
        (IMAGE, kinds("standardize"), "standardize can't be applied to an image; possible are: scale_pixels"),
        (IMAGE, kinds("scale_pixels", "scale_pixels"), "it must be the last transform"),
        (IMAGE, [MEDIAN], "not images"),
    ],
)
def test_a_chain_that_makes_no_sense_is_named_with_its_fix(feature, transforms, message):
    with pytest.raises(ParamsError, match=r"normalize\.transforms\.x: ") as raised:
        checked(feature, transforms)
    assert message in str(raised.value)


def test_a_name_that_keras_refuses_is_an_error():
    with pytest.raises(ParamsError, match="can't contain '/'"):
        checked(NUMBER, kinds("standardize"), name="km/h")


def test_a_name_of_our_own_columns_is_an_error():
    with pytest.raises(ParamsError, match="own tables have a column of that name"):
        checked(NUMBER, kinds("standardize"), name="label")
