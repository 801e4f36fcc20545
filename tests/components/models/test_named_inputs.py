import pytest

from headrace.components.errors import ParamsError
from headrace.components.models.named_inputs import input_groups
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.vocabulary import FittedVocabulary

FITTED = FittedTable(
    features={
        "age": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,)),
        "photo": FittedFeature(feature=ImageFeature(height=4, width=5), transforms=(), shape=(4, 5, 1)),
        "colors": FittedFeature(feature=NumberFeature(), transforms=(), shape=(3,)),
        "note": FittedFeature(
            feature=TextFeature(length=7), transforms=(FittedVocabulary(tokens=("a", "b")),), shape=(7,)
        ),
    },
    label=NumberLabel(name="y"),
    training_examples=1,
)


def test_images_and_texts_are_inputs_of_their_own_and_all_other_features_are_one():
    found = input_groups(FITTED, None)
    assert {name: (group.features, group.shape) for name, group in found.items()} == {
        "photo": (("photo",), (4, 5, 1)),
        "note": (("note",), (7,)),
        "features": (("age", "colors"), (4,)),
    }


def test_inputs_may_be_grouped_otherwise():
    found = input_groups(FITTED, {"wide": ("colors",), "deep": ("age",), "image": ("photo",), "words": ("note",)})
    assert {name: group.shape for name, group in found.items()} == {
        "wide": (3,), "deep": (1,), "image": (4, 5, 1), "words": (7,)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"a": ("ages",)}, "no feature 'ages'; did you mean 'age'"),
        ({"a": ("age", "age")}, "'age' is there twice"),
        ({"a": ("age", "colors", "note")}, "'photo' is in no input"),
        ({"a": ("age", "photo"), "b": ("colors",), "c": ("note",)}, r"inputs.a: 'photo' can't be beside others"),
    ],
)
def test_groups_that_do_not_cover_the_features_once_are_refused(wanted, said):
    with pytest.raises(ParamsError, match=said):
        input_groups(FITTED, wanted)
