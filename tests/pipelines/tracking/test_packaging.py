import keras
import numpy as np
import polars as pl
import pytest
import yaml

from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.tracking.packaging import package, signature

DIGIT = CategoryLabel(name="digit", classes=("0", "1", "2"))


@pytest.fixture(scope="module")
def image_model(tmp_path_factory):
    inputs = keras.Input((2, 3, 1), name="image")
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(inputs))
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.Model({"image": inputs}, outputs).save(path)
    return path


@pytest.fixture
def packaged(tmp_path, image_model):
    from mlflow.models import Model

    folder = tmp_path / "a model"
    folder.mkdir()
    example = pl.DataFrame({"image": [[0, 1, 2, 3, 4, 5]]}, schema={"image": pl.Array(pl.UInt8, 6)})
    features = {"image": ImageFeature(height=2, width=3)}
    package(folder, model=Model(), model_file=image_model, features=features, label=DIGIT, example=example)
    return folder


def test_the_keras_flavour_is_the_one_that_mlflow_keras_writes(packaged, image_model, tmp_path):
    from mlflow.keras import save_model

    theirs = tmp_path / "theirs"
    save_model(keras.saving.load_model(image_model), str(theirs), pip_requirements=["keras"])

    def flavour(folder):
        return yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["keras"]

    def files(folder):
        return {path.relative_to(folder / "data") for path in (folder / "data").rglob("*")}

    assert flavour(packaged) == flavour(theirs)
    assert files(packaged) == files(theirs)
    assert (packaged / "data/keras_module.txt").read_bytes() == (theirs / "data/keras_module.txt").read_bytes()


def test_code_that_a_model_does_not_need_is_not_run(tmp_path, image_model):
    import mlflow.pyfunc
    from mlflow.models import Model

    file = tmp_path / "model.keras"
    write_keras_file(keras.saving.load_model(image_model), file, sources={"models/net.py": "raise SystemExit"})
    folder = tmp_path / "a model"
    folder.mkdir()
    example = pl.DataFrame({"image": [[0, 1, 2, 3, 4, 5]]}, schema={"image": pl.Array(pl.UInt8, 6)})
    features = {"image": ImageFeature(height=2, width=3)}
    package(folder, model=Model(), model_file=file, features=features, label=DIGIT, example=example)
    assert mlflow.pyfunc.load_model(str(folder)).predict({"image": np.ones((1, 2, 3, 1), np.float32)}).shape == (1, 3)


def test_an_image_model_is_served_from_arrays(packaged, image_model):
    import mlflow.pyfunc

    served = mlflow.pyfunc.load_model(str(packaged))
    images = np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1)
    expected = np.asarray(keras.saving.load_model(image_model)({"image": images}))
    np.testing.assert_array_equal(served.predict({"image": images}), expected)
    named = served.predict({"image": images}, params={"with_version": True})
    np.testing.assert_array_equal(named.pop("outputs"), expected)
    assert named == {"model": "", "version": "", "model_sha256": file_digest(image_model)}
    assert served.input_example["image"].tolist() == [[[[0], [1], [2]], [[3], [4], [5]]]]


def test_a_packaged_file_that_was_changed_is_not_served(packaged):
    import mlflow.pyfunc

    file = packaged / "data" / "model.keras"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="was changed after it was packaged: expected SHA-256"):
        mlflow.pyfunc.load_model(str(packaged))


def test_a_signature_has_a_column_for_each_feature_and_optional_ones_for_nullable(tmp_path):
    features = {"age": NumberFeature(nullable=True), "sex": CategoryFeature()}
    found = signature(features=features, label=NumberLabel(name="distance")).to_dict()
    assert '"double", "name": "age", "required": false' in found["inputs"]
    assert '"string", "name": "sex", "required": true' in found["inputs"]
    assert '"shape": [-1, 1]' in found["outputs"]
