"""A transform as a whole: checked, fitted, applied to a table and built into a model that is saved and loaded."""

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from pydantic import TypeAdapter

from headrace.components.own_code.importable_code import NO_CODE
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.feature_types.vector_feature import VectorFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.schema.split_settings import Split
from headrace.components.transforms.apply import apply
from headrace.components.transforms.chain_check import check
from headrace.components.transforms.fit import fit
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.variants import AnyTransform

LABEL = CategoryLabel(name="answer", classes=("no", "yes"))
SCALES = st.sampled_from([(1.0, 0.0), (1e-6, 0.0), (1e6, -1e6), (1.0, 1e5)])  # the last: mean far above deviation
TEXTS = st.sampled_from(["red", "green", "[UNK]", "two\nlines", "é", " "])  # "[UNK]" is a lookup's usual mark for other


def parsed(chain):
    return TypeAdapter(tuple[AnyTransform, ...]).validate_python(chain)


def with_ids(table):
    return table.with_columns(example_id=pl.int_range(pl.len(), dtype=pl.UInt64), answer=pl.lit("no"))


def shard(table):
    """The table as a Parquet file's content."""
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


@pytest.fixture(scope="session")
def check_one() -> Callable:
    """Checks a chain, as params.yaml has it, of a feature."""

    def checked(feature, chain, name="x"):
        check({name: TypeAdapter(Feature).validate_python(feature)}, {name: parsed(chain)})

    return checked


@pytest.fixture(scope="session")
def fit_one() -> Callable:
    """Fits a chain, as params.yaml has it, to the values of a column `x`, all of them training values."""

    def fitted(values, chain, feature, code=NO_CODE) -> FittedFeature:
        content = shard(with_ids(pl.DataFrame({"x": values})))
        split = Split(validation_fraction=0)
        return fit(
            [content], split=split, features={"x": feature}, transforms={"x": parsed(chain)}, label=LABEL, code=code
        ).features["x"]

    return fitted


@pytest.fixture(scope="session")
def applied() -> Callable:
    """The values of a column after fitted transforms, which give so many values for each."""

    def values_after(values, feature, *transforms, width=1, dtype=None) -> pl.Series:
        table = with_ids(pl.DataFrame({"x": pl.Series(values, dtype=dtype)}))
        of = FittedFeature(feature=feature, transforms=transforms, shape=(width,))
        fitted = FittedTable(features={"x": of}, label=LABEL, training_examples=1)
        return apply(table.lazy(), fitted, label=pl.lit(0)).collect()["x"]

    return values_after


def identity_core(fitted):
    """A model that gives back what it is given, so that the transforms can be seen."""
    import keras

    features = list(fitted.features.values())
    shape = features[0].shape if len(features) == 1 else (sum(feature.width for feature in features),)
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Flatten()(inputs))


@pytest.fixture(scope="session")
def reloaded() -> Callable:
    """A model of fitted transforms alone, as it is after it was saved and loaded."""

    import keras  # here, as most tests of a transform need no TensorFlow

    from headrace.components.serving_model.raw_model import raw_model

    def saved_and_loaded(fitted) -> keras.Model:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            raw_model(identity_core(fitted), fitted).save(path)
            return keras.models.load_model(path)

    return saved_and_loaded


def raw_inputs(table, fitted):
    import tensorflow as tf

    inputs = {}
    for name, of in fitted.features.items():
        match of.feature:
            case NumberFeature():
                inputs[name] = table[name].cast(pl.Float32).fill_null(float("nan")).to_numpy().reshape(-1, 1)
            case CategoryFeature():
                inputs[name] = [[text] for text in table[name].fill_null("")]
            case VectorFeature():
                inputs[name] = table[name].to_numpy()
            case ImageFeature():
                inputs[name] = table[name].to_numpy().astype(np.float32).reshape(-1, *of.feature.shape)
    # Keras 3 refuses NumPy arrays of text, and a mix of arrays and tensors.
    return {name: tf.convert_to_tensor(value) for name, value in inputs.items()}


def table_form(table, fitted):
    columns = apply(table.lazy(), fitted, label=pl.lit(0)).collect().select(*fitted.features)
    return np.concatenate([column.to_numpy().reshape(table.height, -1) for column in columns], axis=1)


@pytest.fixture(scope="session")
def assert_forms_agree(reloaded) -> Callable:
    """Asserts that a table and a saved model of it have the same values, after chains fitted to training rows."""

    def agree(table, training, features, chains, code=NO_CODE) -> None:
        transforms = {name: parsed(chain) for name, chain in chains.items()}
        check(features, transforms)
        content, split = shard(with_ids(training)), Split(validation_fraction=0)
        fitted = fit([content], split=split, features=features, transforms=transforms, label=LABEL, code=code)
        model = reloaded(fitted)
        expected, inputs = table_form(with_ids(table), fitted), raw_inputs(table, fitted)
        np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(model.predict(inputs, verbose=0), expected, rtol=1e-6, atol=1e-6)
        one = {name: value[:1] for name, value in inputs.items()}
        np.testing.assert_allclose(model.predict(one, verbose=0), expected[:1], rtol=1e-6, atol=1e-6)

    return agree


@pytest.fixture(scope="session")
def assert_chains_agree(assert_forms_agree) -> Callable:
    """Asserts the same of drawn numbers and categories, some of them missing, by chains of each.

    All chains are in one model, because building, saving and loading one costs a second.
    """

    def agree(
        data: st.DataObject,
        *,
        numbers=(),
        categories=(),
        of_number: st.SearchStrategy[float] | None = None,
        code=NO_CODE,
    ) -> None:
        scale, offset = data.draw(SCALES)
        drawn = st.floats(-1, 1, width=32, allow_subnormal=False).map(lambda one: one * scale + offset)
        number = drawn if of_number is None else of_number
        chains, features, values, schema = {}, {}, {}, {}
        for place, chain in enumerate(numbers):
            name, nullable = f"number {place}", [step["kind"] for step in chain[:1]] == ["impute"]
            chains[name], features[name], schema[name] = chain, NumberFeature(nullable=nullable), pl.Float64
            values[name] = st.none() | number if nullable else number
        for place, chain in enumerate(categories):
            name = f"category {place}"
            chains[name], features[name], schema[name] = chain, CategoryFeature(nullable=True), pl.String
            values[name] = st.none() | TEXTS
        rows = data.draw(st.lists(st.fixed_dictionaries(values), min_size=2, max_size=12))
        table = pl.DataFrame(rows, schema=schema)
        training = table.head(table.height // 2 + 1)  # so that some categories were not seen in training
        assume(all(training[name].null_count() < training.height for name in chains))
        assert_forms_agree(table, training, features, chains, code)

    return agree
