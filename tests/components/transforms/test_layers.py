"""The Keras form of fitted transforms equals the table form, and survives being saved."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.components.examples.settings import (
    CategoryFeature,
    CategoryLabel,
    ImageFeature,
    NumberFeature,
    NumberLabel,
)
from headrace.components.examples.split_settings import Split
from headrace.components.transforms.apply import apply
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_transforms import (
    FittedFeature,
    FittedScalePixels,
    FittedStandardize,
    FittedTable,
)
from headrace.components.transforms.layers import raw_model
from headrace.components.transforms.settings import Transform

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))
MEDIAN = {"kind": "impute", "strategy": "median", "indicator": True}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}
STANDARDIZE, MIN_MAX, ONE_HOT, ORDINAL = ({"kind": kind} for kind in ("standardize", "min_max", "one_hot", "ordinal"))

NUMBER_CHAINS = [
    [],
    [STANDARDIZE],
    [MIN_MAX],
    [MIN_MAX, STANDARDIZE],
    [MEDIAN],
    [MEDIAN, STANDARDIZE],
    [MOST_FREQUENT, MIN_MAX],
    [MIN_MAX, {"kind": "polynomial", "degree": 1}],
    [MEDIAN, MIN_MAX, {"kind": "polynomial", "degree": 2}],
]
CATEGORY_CHAINS = [
    [ONE_HOT],
    [ORDINAL],
    [ORDINAL, STANDARDIZE],
    [{**ORDINAL, "categories": ["b", "a", "never"]}, STANDARDIZE],
    [MOST_FREQUENT, ONE_HOT],
    [{**MOST_FREQUENT, "indicator": True}, ONE_HOT],
    [{**MOST_FREQUENT, "indicator": True}, ORDINAL, MIN_MAX],
]


def identity_core(fitted):
    """A model that gives back what it is given, so that the transforms can be seen."""
    features = list(fitted.features.values())
    shape = features[0].shape if len(features) == 1 else (sum(feature.width for feature in features),)
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Flatten()(inputs))


def reloaded(model):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.models.load_model(path)


def raw_inputs(table, fitted):
    inputs = {}
    for name, of in fitted.features.items():
        match of.feature:
            case NumberFeature():
                inputs[name] = table[name].cast(pl.Float32).fill_null(float("nan")).to_numpy().reshape(-1, 1)
            case CategoryFeature():
                inputs[name] = [[text] for text in table[name].fill_null("")]
            case ImageFeature():
                inputs[name] = table[name].to_numpy().astype(np.float32).reshape(-1, *of.feature.shape)
    # Keras 3 refuses NumPy arrays of text, and a mix of arrays and tensors.
    return {name: tf.convert_to_tensor(value) for name, value in inputs.items()}


def table_form(table, fitted):
    columns = apply(table.lazy(), fitted).collect().select(*fitted.features)
    return np.concatenate([column.to_numpy().reshape(table.height, -1) for column in columns], axis=1)


def assert_forms_agree(table, training, features, chains):
    transforms = TypeAdapter(dict[str, tuple[Transform, ...]]).validate_python(chains)
    check(features, transforms)
    shard = io.BytesIO()
    training.cast({"example_id": pl.UInt64}).write_parquet(shard)
    split = Split(validation_fraction=0)
    fitted = fit([shard.getvalue()], split=split, features=features, transforms=transforms, label=LABEL)
    model = reloaded(raw_model(identity_core(fitted), fitted))
    expected, inputs = table_form(table, fitted), raw_inputs(table, fitted)
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, rtol=1e-6, atol=1e-6)
    one = {name: value[:1] for name, value in inputs.items()}
    np.testing.assert_allclose(model.predict(one, verbose=0), expected[:1], rtol=1e-6, atol=1e-6)


# Every chain in one model, because building, saving and loading one costs a second.
CHAINS = {f"number {place}": chain for place, chain in enumerate(NUMBER_CHAINS)} | {
    f"category {place}": chain for place, chain in enumerate(CATEGORY_CHAINS)
}
FEATURES = {
    name: NumberFeature(nullable=chain[:1] in ([MEDIAN], [MOST_FREQUENT]))
    if name.startswith("number")
    else CategoryFeature(nullable=True)
    for name, chain in CHAINS.items()
}
SCALES = st.sampled_from([(1.0, 0.0), (1e-6, 0.0), (1e6, -1e6), (1.0, 1e5)])  # the last: mean far above deviation
TEXTS = st.sampled_from(["red", "green", "[UNK]", "two\nlines", "é", " "])  # "[UNK]" is a lookup's usual mark for other


@st.composite
def tables(draw):
    scale, offset = draw(SCALES)
    number = st.floats(-1, 1, width=32, allow_subnormal=False).map(lambda value: value * scale + offset)
    values = {
        NumberFeature(): number,
        NumberFeature(nullable=True): st.none() | number,
        CategoryFeature(nullable=True): st.none() | TEXTS,
    }
    row = st.fixed_dictionaries({name: values[feature] for name, feature in FEATURES.items()})
    rows = draw(st.lists(row, min_size=2, max_size=12))
    schema = {name: pl.String if feature.type == "category" else pl.Float64 for name, feature in FEATURES.items()}
    return pl.DataFrame(rows, schema=schema).with_columns(example_id=pl.int_range(pl.len()), answer=pl.lit("no"))


@settings(deadline=None, max_examples=6)
@given(table=tables())
def test_both_forms_agree_on_every_chain(table):
    training = table.head(table.height // 2 + 1)  # so that some categories were not seen in training
    assume(all(training[name].null_count() < training.height for name in FEATURES))
    assert_forms_agree(table, training, FEATURES, CHAINS)


def test_both_forms_agree_on_images():
    pixels = np.random.default_rng(1).integers(0, 17, (5, 3 * 2 * 3), dtype=np.uint8)
    table = pl.DataFrame({"image": pixels}).with_columns(example_id=pl.int_range(pl.len()), answer=pl.lit("no"))
    features = {"image": ImageFeature(height=3, width=2, channels=3, maximum=16)}
    assert_forms_agree(table, table, features, {"image": [{"kind": "scale_pixels"}]})


@pytest.mark.parametrize("deviation", [4.0, 0.0])
def test_a_number_comes_out_in_the_labels_own_unit(deviation):
    fitted = FittedTable(
        features={"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
        label=NumberLabel(name="distance"),
        label_transform=FittedStandardize(mean=100, standard_deviation=deviation),
        training_examples=1,
    )
    model = reloaded(raw_model(identity_core(fitted), fitted))
    values = np.array([[0.0], [2.5]], dtype=np.float32)
    np.testing.assert_allclose(model.predict({"x": values}, verbose=0), 100 + deviation * values)


def test_the_core_keeps_its_weights_and_an_image_its_shape():
    of = FittedFeature(
        feature=ImageFeature(height=4, width=4), transforms=(FittedScalePixels(maximum=255),), shape=(4, 4, 1)
    )
    fitted = FittedTable(features={"image": of}, label=LABEL, training_examples=1)
    core = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    model = raw_model(core, fitted)
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in core.weights]
    image = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 1)).astype(np.float32)
    expected = core.predict(image / 255, verbose=0)
    np.testing.assert_allclose(reloaded(model).predict({"image": image}, verbose=0), expected, rtol=1e-5)
