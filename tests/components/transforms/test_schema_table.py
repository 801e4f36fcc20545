"""What follows from the schema is what fitting to data gives."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from headrace.components.models.named_inputs import input_groups
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.transforms.schema_table import table_of_schema
from headrace.components.transforms.variants import TRANSFORMS, AnyTransform
from headrace.pipelines.params import list_pipelines, load_pipeline

NUMBER, NULLABLE = {"type": "number", "minimum": 50}, {"type": "number", "nullable": True}
PHOTO = {"type": "image", "height": 2, "width": 3, "channels": 3}
VECTOR, VECTORS = {"type": "vector", "length": 2}, pl.Series([[1, 2], [3, 5]], dtype=pl.Array(pl.Float32, 2))
WEIGHTS = {"name": "w.h5", "url": "https://example.org/w.h5"}
KNOWN = [
    (NUMBER, [], [60.0, 61.0]),
    (NUMBER, [{"kind": "standardize"}], [60.0, 61.0]),
    (NUMBER, [{"kind": "min_max"}, {"kind": "polynomial", "degree": 4}], [60.0, 61.0]),
    (NULLABLE, [{"kind": "impute", "strategy": "median", "indicator": True}, {"kind": "standardize"}], [1.0, 3.0]),
    ({"type": "category"}, [{"kind": "ordinal"}, {"kind": "min_max"}], ["x", "y"]),
    ({"type": "text", "length": 5}, [{"kind": "vocabulary"}], ["one", "two"]),
    (PHOTO, [{"kind": "scale_pixels"}], [np.zeros(18, np.uint8)] * 2),
    (VECTOR, [{"kind": "standardize_elements"}, {"kind": "min_max_elements"}], VECTORS),
]
UNKNOWN = [
    ({"type": "category", "classes": ["x", "y"]}, [{"kind": "one_hot"}]),
    (PHOTO, [{"kind": "backbone", "name": "mobilenet", "weights": WEIGHTS}]),
]


OWN = {"kind": "python", "file": "own.py", "class": "Cycle", "columns": 2}
CODE = OwnCode(
    {
        "own.py": """\
from keras import ops


class Cycle:
    def transform(self, values):
        return ops.concatenate([ops.sin(values), ops.cos(values)], axis=-1)


class Root:
    def transform(self, values):
        return ops.sqrt(values - 50)
"""
    }
)
KNOWN.append((NUMBER, [{"kind": "standardize"}, OWN], [60.0, 61.0]))


def table(feature, chain, label=None):
    return table_of_schema(
        {"x": TypeAdapter(Feature).validate_python(feature), "unused": TypeAdapter(Feature).validate_python(NUMBER)},
        transforms={"x": TypeAdapter(tuple[AnyTransform, ...]).validate_python(chain)},
        label=TypeAdapter(Label).validate_python(label or {"type": "category", "name": "y", "classes": ["a", "b"]}),
        code=CODE,
    )


@pytest.mark.parametrize(("feature", "chain", "values"), KNOWN)
def test_the_shape_is_the_one_that_data_gives(fit_one, feature, chain, values):
    real = fit_one(values, chain, TypeAdapter(Feature).validate_python(feature), CODE)
    found = table(feature, chain).features["x"]
    assert found.shape == real.shape
    assert [one.kind for one in found.transforms] == [one.kind for one in real.transforms]


@pytest.mark.parametrize(("feature", "chain"), UNKNOWN)
def test_a_shape_that_follows_from_data_is_not_guessed(feature, chain):
    assert table(feature, chain) is None


def test_a_transform_of_ones_own_that_made_up_numbers_do_not_suit_is_not_guessed():
    assert table(NUMBER, [{**OWN, "class": "Root", "columns": 1}]) is None


def test_how_many_tokens_a_text_has_is_not_guessed():
    text = {"type": "text", "length": 5}
    assert table(text, [{"kind": "vocabulary"}], {"type": "next_token", "name": "x"}) is None


def test_every_kind_of_transform_is_here():
    used = {step["kind"] for _, chain, *_ in [*KNOWN, *UNKNOWN] for step in chain}
    assert used == {one.model_fields["kind"].default for one in TRANSFORMS}
    for one in TRANSFORMS:
        is_unknown = any(step["kind"] == one.model_fields["kind"].default for _, chain in UNKNOWN for step in chain)
        assert one.shape_follows_from_data == is_unknown


def test_pipelines_of_several_numbers_and_images_have_their_inputs_before_data(repository: Path):
    params, found = repository / "params.yaml", {}
    for name in list_pipelines(params):
        one = load_pipeline(params, name)
        features, transforms = one.ingest.features, one.normalize.transforms
        fitted = table_of_schema(
            features, transforms=transforms, label=one.ingest.label, label_transform=one.normalize.label
        )
        if fitted is not None:
            found[name] = {key: group.shape for key, group in input_groups(fitted, None).items()}
    assert found["takeoff"] == {"features": (2,)}
    assert found["titanic_logistic"] == {"features": (5,)}
    assert found["polynomial"] == {"features": (4,)}
    assert found["googlenet"] == {"photo": (96, 96, 3)}
    assert not {"titanic", "hello_rnn", "shakespeare", "flowers"} & found.keys()
